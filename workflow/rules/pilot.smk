# Learning rates: pilot runs -> errors by rate -> rates.csv among the definitions. Only target `pilot` comes here.


# Whether the search goes on is known when the first factors were trained.
checkpoint search_rate:
    input:
        plan.pilot_runs,
    output:
        f"{RESULTS}/{{study}}/pilot/{{experiment}}-{{wider}}.json",
    log:
        f"{RESULTS}/logs/{{study}}/pilot/{{experiment}}-{{wider}}.log",
    params:
        results=RESULTS,
        definitions=DEFINITIONS,
        factors=plan.pilot_factors,
    shell:
        "python -m alexnet search-rate --study {wildcards.study:q} --experiment {wildcards.experiment:q}"
        " --results {params.results:q} --definitions {params.definitions:q} --factors {params.factors:q}"
        " --out {output:q} 2> {log:q}"


# rates.csv is not an output: Snakemake would delete the choices of all other studies.
rule choose_rates:
    input:
        lambda wildcards: plan.searches(wildcards, last=False),  # all at once, where the last ones are asked for one after the other
        last=plan.searches,
    output:
        touch(f"{RESULTS}/{{study}}/pilot/chosen"),
    log:
        f"{RESULTS}/logs/{{study}}/pilot/choose.log",
    params:
        definitions=DEFINITIONS,
    shell:
        "python -m alexnet choose-rates {input.last:q} --study {wildcards.study:q}"
        " --definitions {params.definitions:q} 2> {log:q}"


rule pilot:
    """The learning rate of each experiment, searched anew: config/rates.csv"""
    input:
        [f"{RESULTS}/{study}/pilot/chosen" for study in STUDIES if "pilot" in STUDIES[study]],


# A campaign that is cut off keeps whole blocks: `snakemake results/<study>/blocks/2` makes everything with seed 2.
rule block:
    input:
        plan.block,
    output:
        touch(f"{RESULTS}/{{study}}/blocks/{{seed}}"),
    log:
        f"{RESULTS}/logs/{{study}}/blocks/{{seed}}.log",
