# Archives -> packed data sets.

for _study, _record in STUDIES.items():
    if "synthetic" in _record:

        rule:
            name:
                f"synthesize_{_study}"
            output:
                generated(_study),
            log:
                f"{RESULTS}/logs/{_study}/synthesize.log",
            threads: workflow.cores
            params:
                out=f"{RESULTS}/{_study}/archives",
                flags=flags(_record["synthetic"]),
            shell:
                "python -m alexnet synthesize --out {params.out} {params.flags}"
                " --workers {threads} > {log} 2>&1"

    for _set, _data in _record["sets"].items():

        rule:
            name:
                f"pack_{_study}_{_set}"
            input:
                archives_of(_study, _set),
            output:
                packed(_study, _set),
            log:
                f"{RESULTS}/logs/{_study}/pack_{_set}.log",
            threads: workflow.cores
            params:
                out=f"{RESULTS}/{_study}/data/{_set}",
                source=_data["source"],
                splits=" ".join(_data["splits"]),
                archives=(
                    f"--stand-ins --archive-order --archives {RESULTS}/{_study}/archives"
                    if "synthetic" in _record
                    else ""
                ),
                size=_record["image_size"],
                store=store_flags(_record),
            shell:
                "python -m alexnet pack --source {params.source} --splits {params.splits} {params.archives}"
                " --image-size {params.size} {params.store} --workers {threads} --out {params.out} > {log} 2>&1"


for _study, _record in STUDIES.items():
    if "synthetic" in _record:
        workflow.get_rule(f"synthesize_{_study}").docstring = f"Archives of the generated study {_study}"
    for _set in _record["sets"]:
        workflow.get_rule(f"pack_{_study}_{_set}").docstring = f"Packed data set {_set} of study {_study}"
