# Evidence -> verdicts -> executed notebooks -> one HTML file; and the named targets.

SPEED = f"{RESULTS}/bench/bench.csv"


rule check:
    """The verdict table, reports/claims.csv"""
    input:
        plan.evidence(),
        claims=f"{ROOM}/claims.csv",
        code=plan.analysis,
    output:
        report(CLAIMS_OUT, category="Verdicts", labels={"file": "claims.csv"}),
    log:
        f"{RESULTS}/logs/check.log",
    params:
        results=RESULTS,
    shell:
        "python -m analysis check --claims {input.claims:q} --results {params.results:q} --out {output:q} 2> {log:q}"


rule notebook:
    input:
        plan.evidence(),
        lambda wildcards: [SPEED] if wildcards.page == "70_speed" and Path(SPEED).exists() else [],  # if it was ever measured here
        notebook=f"{ROOM}/notebooks/{{page}}.ipynb",
        claims=CLAIMS_OUT,
        code=plan.analysis,
    output:
        report(f"{RESULTS}/notebooks/{{page}}.ipynb", category="Pages", labels={"page": "{page}"}),
    log:
        f"{RESULTS}/logs/notebooks/{{page}}.log",
    params:
        results=RESULTS,
    shell:
        "python -m analysis notebook {input.notebook:q} --results {params.results:q} --claims {input.claims:q}"
        " --out {output:q} > {log:q} 2>&1"


rule report:
    """The HTML report, from all that the chosen studies ask for"""
    input:
        notebooks=expand(f"{RESULTS}/notebooks/{{page}}.ipynb", page=plan.pages),
        claims=CLAIMS_OUT,
        code=plan.analysis,
    output:
        report(
            str(Path(config["report"]).with_name("claims.json")),
            category="Verdicts",
            labels={"file": "claims.json"},
        ),
        str(Path(config["report"]).with_name("ro-crate-metadata.json")),
        str(Path(config["report"]).with_name("workflow.smk")),
        html=report(config["report"], category="Report", labels={"file": "all pages, one offline file"}),
    log:
        f"{RESULTS}/logs/report.log",
    params:
        results=RESULTS,
    shell:
        "python -m analysis report {input.notebooks:q} --claims {input.claims:q} --results {params.results:q}"
        " --out {output.html:q} 2> {log:q}"


rule draft:
    """The report as far as results exist: reports/draft/, nothing is trained"""
    input:
        plan.descriptions(),
        expand(f"{RESULTS}/{{study}}/study.json", study=STUDIES),
        claims=f"{ROOM}/claims.csv",
        notebooks=expand(f"{ROOM}/notebooks/{{page}}.ipynb", page=plan.pages),
    log:
        f"{RESULTS}/logs/draft.log",
    threads: 2
    params:
        results=RESULTS,
        executed=f"{RESULTS}/draft",
        out=str(Path(config["report"]).parent / "draft" / Path(config["report"]).name),
    shell:
        "python -m analysis rebuild --results {params.results:q} --out {params.out:q}"
        " --pages {params.executed:q} --jobs {threads} > {log:q} 2>&1"


rule preflight:
    """What each study finds, needs and takes on this machine, on one screen; nothing is trained"""
    log:
        f"{RESULTS}/logs/preflight.log",
    params:
        results=RESULTS,
        definitions=DEFINITIONS,
        studies=list(STUDIES),
    shell:
        "( worst=0; for study in {params.studies:q}; do python -m alexnet preflight $study --results {params.results:q}"
        " --definitions {params.definitions:q} || worst=$(( $? > worst ? $? : worst )); done; exit $worst ) 2>&1 | tee {log:q}"


rule bench:
    """Speed of ingest, loader and training step beside the usual programs, for the report's page on speed"""
    output:
        SPEED,
    log:
        f"{RESULTS}/logs/bench.log",
    threads: workflow.cores
    shell:
        "python -m alexnet bench --out {output:q} 2>&1 | tee {log:q}"


# A target for each experiment and each other group of claims: the verdicts, and the numbers of the experiment.
for _name, _about in plan.targets().items():

    rule:
        name:
            _name
        input:
            plan.experiment_files(_name) if _name in KNOWN else plan.group_files(_name),
            claims=f"{ROOM}/claims.csv",
        log:
            f"{RESULTS}/logs/verdicts/{_name}.log",
        params:
            results=RESULTS,
            groups=[KNOWN[_name]["claims"]] if _name in KNOWN and KNOWN[_name]["claims"] else [],
            measured=plan.measured(_name),
        shell:
            "( for group in {params.groups:q}; do python -m analysis verdicts --claims {input.claims:q}"
            ' --results {params.results:q} --group "$group"; done &&'
            " python -m analysis {params.measured:q} --results {params.results:q} ) 2> {log:q}"

    internals.explain(workflow, _name, _about)
