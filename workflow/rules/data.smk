# Archives -> packed data sets.

for _study, _record in STUDIES.items():
    if "synthetic" in _record:

        rule:
            name:
                f"synthesize_{_study}"
            output:
                plan.generated(_study),
            log:
                f"{RESULTS}/logs/{_study}/synthesize.log",
            threads: workflow.cores
            params:
                out=f"{RESULTS}/{_study}/archives",
                flags=words(*plan.synthesize_flags(_study)),
            shell:
                "python -m alexnet synthesize --out {params.out:q} {params.flags}"
                " --workers {threads} > {log:q} 2>&1"

    for _set, _data in _record["sets"].items():

        rule:
            name:
                f"pack_{_study}_{_set}"
            input:
                plan.archives_of(_study, _set),
            output:
                plan.packed(_study, _set),
            log:
                f"{RESULTS}/logs/{_study}/pack_{_set}.log",
            threads: workflow.cores
            params:
                out=f"{RESULTS}/{_study}/data/{_set}",
                source=_data["source"],
                splits=words(*_data["splits"]),
                archives=words(*plan.archive_flags(_study)),
                size=_record["image_size"],
                store=words(*plan.store_flags(_study)),
            shell:
                "python -m alexnet pack --source {params.source:q} --splits {params.splits} {params.archives}"
                " --image-size {params.size:q} {params.store} --workers {threads} --out {params.out:q} > {log:q} 2>&1"


for _study, _record in STUDIES.items():
    if "synthetic" in _record:
        internals.explain(workflow, f"synthesize_{_study}", f"Archives of the generated study {_study}")
    for _set in _record["sets"]:
        internals.explain(workflow, f"pack_{_study}_{_set}", f"Packed data set {_set} of study {_study}")
