# Configurations -> trained runs -> evaluations.


rule configure:
    output:
        f"{RESULTS}/{{study}}/runs/{{experiment}}/{{seed}}/config.json",
    log:
        f"{RESULTS}/logs/{{study}}/{{experiment}}/{{seed}}/configure.log",
    params:
        fingerprint=plan.run_fingerprint,
        definitions=DEFINITIONS,
    shell:
        "python -m alexnet configure --study {wildcards.study:q} --experiment {wildcards.experiment:q}"
        " --seed {wildcards.seed:q} --definitions {params.definitions:q} --out {output:q} 2> {log:q}"


rule describe:
    output:
        f"{RESULTS}/describe/{{experiment}}.json",
    log:
        f"{RESULTS}/logs/describe/{{experiment}}.log",
    params:
        fingerprint=lambda wildcards: fingerprint(
            plan.description(plan.full_study(wildcards), wildcards.experiment)
        ),
        definitions=DEFINITIONS,
        study=plan.full_study,
    shell:
        "python -m alexnet describe --study {params.study:q} --experiment {wildcards.experiment:q}"
        " --definitions {params.definitions:q} --out {output:q} 2> {log:q}"


rule study:
    output:
        f"{RESULTS}/{{study}}/study.json",
    log:
        f"{RESULTS}/logs/{{study}}/study.log",
    params:
        fingerprint=lambda wildcards: fingerprint(plan.study_record(wildcards.study)),
        definitions=DEFINITIONS,
    shell:
        "python -m alexnet study --study {wildcards.study:q} --definitions {params.definitions:q}"
        " --out {output:q} 2> {log:q}"


rule departures:
    """Where the program of 2012 departs from the text, and the recipes side by side, as JSON"""
    output:
        f"{RESULTS}/departures.json",
    log:
        f"{RESULTS}/logs/departures.log",
    params:
        fingerprint=lambda wildcards: fingerprint(plan.departures()),
        definitions=DEFINITIONS,
    shell:
        "python -m alexnet departures --definitions {params.definitions:q} --out {output:q} 2> {log:q}"


# The checkpoint from which an interrupted run resumes is not an output: Snakemake would delete it.
rule train:
    input:
        plan.training_data,
        start=plan.start_weights,
        config=f"{RESULTS}/{{study}}/runs/{{experiment}}/{{seed}}/config.json",
    output:
        f"{RESULTS}/{{study}}/runs/{{experiment}}/{{seed}}/metrics.csv",
        f"{RESULTS}/{{study}}/runs/{{experiment}}/{{seed}}/run.json",
        weights=f"{RESULTS}/{{study}}/runs/{{experiment}}/{{seed}}/model.pt",
    log:
        f"{RESULTS}/logs/{{study}}/{{experiment}}/{{seed}}/train.log",
    benchmark:
        f"{RESULTS}/logs/{{study}}/{{experiment}}/{{seed}}/train.benchmark.tsv"
    threads: lambda wildcards: STUDIES[wildcards.study]["threads"]
    resources:
        gpu=plan.gpus_of_training,
    params:
        data=lambda wildcards, input: Path(input[0]).parent,
        out=lambda wildcards, output: Path(output.weights).parent,
        start=lambda wildcards, input: ["--start", str(input.start)] if input.start else [],
    shell:
        "python -m alexnet train {input.config:q} --data {params.data:q} --out {params.out:q} {params.start:q}"
        " --devices {resources.gpu} --threads {threads} 2> {log:q}"


rule evaluate:
    input:
        lambda wildcards: plan.packed(wildcards.study, wildcards.set, [wildcards.split]),
        config=f"{RESULTS}/{{study}}/runs/{{experiment}}/{{seed}}/config.json",
        weights=f"{RESULTS}/{{study}}/runs/{{experiment}}/{{seed}}/model.pt",
    output:
        f"{RESULTS}/{{study}}/evals/{{experiment}}/{{seed}}/{{set}}-{{split}}.parquet",
        record=f"{RESULTS}/{{study}}/evals/{{experiment}}/{{seed}}/{{set}}-{{split}}.json",
    log:
        f"{RESULTS}/logs/{{study}}/{{experiment}}/{{seed}}/evaluate-{{set}}-{{split}}.log",
    wildcard_constraints:
        experiment=f"(?!(?:{'|'.join(plan.ensembles)})/)[a-z0-9_]+",
    threads: lambda wildcards: STUDIES[wildcards.study]["threads"]
    resources:
        gpu=lambda wildcards: min(1, STUDIES[wildcards.study]["gpus"]),
    params:
        data=lambda wildcards, input: Path(input[0]).parent,
        out=lambda wildcards, output: Path(output.record).parent,
        keep=plan.keep_probabilities,
    shell:
        "python -m alexnet evaluate {input.config:q} --data {params.data:q} --weights {input.weights:q}"
        " --split {wildcards.split:q} --out {params.out:q} {params.keep:q}"
        " --devices {resources.gpu} --threads {threads} 2> {log:q}"


# Which rate a race goes on with is known when all of them were trained with one seed.
checkpoint choose:
    """The fastest learning rate of a race on its first seed"""
    input:
        plan.swept,
        f"{RESULTS}/{{study}}/study.json",
    output:
        f"{RESULTS}/{{study}}/races/{{race}}.json",
    log:
        f"{RESULTS}/logs/{{study}}/races/{{race}}.log",
    params:
        results=RESULTS,
    shell:
        "python -m analysis choose --results {params.results:q} --study {wildcards.study:q} --race {wildcards.race:q}"
        " --out {output:q} 2> {log:q}"


rule examine:
    input:
        plan.training_data,
        config=f"{RESULTS}/{{study}}/runs/{{experiment}}/{{seed}}/config.json",
        weights=f"{RESULTS}/{{study}}/runs/{{experiment}}/{{seed}}/model.pt",
    output:
        f"{RESULTS}/{{study}}/examined/{{experiment}}/{{seed}}/sample.parquet",
        f"{RESULTS}/{{study}}/examined/{{experiment}}/{{seed}}/queries.parquet",
        f"{RESULTS}/{{study}}/examined/{{experiment}}/{{seed}}/kernels.npy",
        record=f"{RESULTS}/{{study}}/examined/{{experiment}}/{{seed}}/examination.json",
    log:
        f"{RESULTS}/logs/{{study}}/{{experiment}}/{{seed}}/examine.log",
    threads: lambda wildcards: STUDIES[wildcards.study]["threads"]
    resources:
        gpu=lambda wildcards: min(1, STUDIES[wildcards.study]["gpus"]),
    params:
        data=lambda wildcards, input: Path(input[0]).parent,
        out=lambda wildcards, output: Path(output.record).parent,
    shell:
        "python -m alexnet examine {input.config:q} --data {params.data:q} --weights {input.weights:q}"
        " --out {params.out:q} --devices {resources.gpu} --threads {threads} 2> {log:q}"


rule ensemble_evaluate:
    input:
        members=plan.member_evaluations,
        config=f"{RESULTS}/{{study}}/runs/{{experiment}}/{{seed}}/config.json",
    output:
        f"{RESULTS}/{{study}}/evals/{{experiment}}/{{seed}}/{{set}}-{{split}}.parquet",
        record=f"{RESULTS}/{{study}}/evals/{{experiment}}/{{seed}}/{{set}}-{{split}}.json",
    log:
        f"{RESULTS}/logs/{{study}}/{{experiment}}/{{seed}}/evaluate-{{set}}-{{split}}.log",
    wildcard_constraints:
        experiment="|".join(plan.ensembles),
    params:
        out=lambda wildcards, output: Path(output.record).parent,
    shell:
        "python -m alexnet ensemble {input.config:q} --members {input.members:q} --out {params.out:q} 2> {log:q}"


rule baselines:
    input:
        checked(lambda wildcards: plan.packed(wildcards.study, STUDIES[wildcards.study]["train"]["set"])),
    output:
        f"{RESULTS}/{{study}}/baselines.json",
    log:
        f"{RESULTS}/logs/{{study}}/baselines.log",
    params:
        data=lambda wildcards, input: Path(input[0]).parent,
        train=lambda wildcards: STUDIES[wildcards.study]["train"]["split"],
        test=lambda wildcards: STUDIES[wildcards.study]["validate"]["split"],
    shell:
        "python -m analysis baselines --data {params.data:q} --train-split {params.train:q}"
        " --test-split {params.test:q} --out {output:q} > {log:q} 2>&1"
