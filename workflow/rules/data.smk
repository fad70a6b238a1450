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
                flags=words(*flags(_record["synthetic"])),
            shell:
                "python -m alexnet synthesize --out {params.out:q} {params.flags}"
                " --workers {threads} > {log:q} 2>&1"

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
                splits=words(*_data["splits"]),
                archives=words(*stand_ins(_study)),
                size=_record["image_size"],
                store=words(*store_flags(_record)),
            shell:
                "python -m alexnet pack --source {params.source:q} --splits {params.splits} {params.archives}"
                " --image-size {params.size:q} {params.store} --workers {threads} --out {params.out:q} > {log:q} 2>&1"


for _study, _record in STUDIES.items():
    if "synthetic" in _record:
        workflow.get_rule(f"synthesize_{_study}").docstring = f"Archives of the generated study {_study}"
    for _set in _record["sets"]:
        workflow.get_rule(f"pack_{_study}_{_set}").docstring = f"Packed data set {_set} of study {_study}"
