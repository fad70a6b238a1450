# All functions of the workflow; rules have none. Everything here is torch-free.
import csv
import json
import os
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

from snakemake.resources import Resource
from snakemake.utils import validate

# The bench is imported from the folder of this workflow, and `python` in a rule is the Python that runs Snakemake.
ROOT = str(Path(str(workflow.current_basedir)).resolve().parent.parent)
sys.path.insert(0, ROOT)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")]))
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

from alexnet.experiments import describe
from alexnet.archives import ilsvrc, known_files, sources
from alexnet.experiments import definitions, resolve, tuning
from alexnet.runtime import gpu_leases, interruption, workflow_lock
from alexnet.errors import UserError


def stop(sentence):
    """End the workflow over a user's mistake, without the traceback of a WorkflowError."""
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(2)


def checked(function, *arguments):
    """The function's value; a user's mistake ends the workflow with its sentence."""
    try:
        return function(*arguments)
    except UserError as error:
        stop(str(error))


# Jobs end, at their next checkpoint, with the process that started them.
os.environ[interruption.WORKFLOW] = str(os.getpid())
# As many runs at once as there are cards for.
if workflow.is_main_process and "gpu" not in workflow.global_resources:
    workflow.global_resources["gpu"] = Resource("gpu", max(1, len(gpu_leases.cards())))

checked(definitions.check, config, "config", "config")
validate(config, "../schemas/config.schema.yaml")

DEFINITIONS = config["definitions"]
RESULTS = config["results"]

if workflow.is_main_process:
    workflow_lock.remove_torn(Path(RESULTS))
LOCKS = []  # held until this process ends


def hold_results():
    """Hold the results folder, unless all that is made is a draft of what is there."""
    made = {job.rule.name for job in workflow.dag.needrun_jobs()}
    if workflow.is_main_process and not made <= {"draft", "describe", "study", "departures"}:
        LOCKS.append(checked(workflow_lock.take, Path(RESULTS)))


def beside(name):
    """A file beside the report."""
    return str(Path(config["report"]).with_name(name))


CLAIMS_OUT = beside("claims.csv")
KNOWN = checked(definitions.load, DEFINITIONS)["experiments"]
STUDIES = {name: checked(definitions.load_study, name, DEFINITIONS) for name in config["studies"]}
# Ensembles have no layers, and what starts from other weights has those of the net that it extends.
# A race is described where it says so, as nets of several races are the same.
DESCRIBED = [
    name
    for name, about in KNOWN.items()
    if not {"members", "starts_from", "data", "race"} & set(about)
    and (about["kind"] != "race" or "described_in" in about)
]
ROOM = os.path.relpath(os.path.join(ROOT, "analysis"))  # claims, notebooks, template
PAGES = sorted(path.stem for path in Path(ROOM, "notebooks").glob("*.ipynb"))
ANALYSIS = sorted(str(path) for path in Path(ROOM).rglob("*") if path.suffix in (".py", ".css", ".js", ".j2"))

# Where archives are searched. In the environment and not in params: moving archives repacks nothing.
FOLDERS = list(filter(None, [*config["archives"], *os.environ.get("ALEXNET_DATA", "").split(os.pathsep)]))
os.environ["ALEXNET_DATA"] = os.pathsep.join(FOLDERS)
os.environ.update(ALEXNET_DOWNLOADS=json.dumps(config["downloads"]))


SPEED = f"{RESULTS}/bench/bench.csv"
# What is read of finished nets beyond their evaluations (`python -m alexnet examine`), as claims.csv has it under `how`.
EXAMINATIONS = (
    "generalization_gap",
    "sample_difference",
    "tower_chroma",
    "tower_chroma_runs",
    "orientation_selectivity",
    "retrieval_precision",
    "code_precision",
    "pixel_distance",
    "geometric_mean",
)
ENSEMBLES = [name for name, about in KNOWN.items() if "members" in about]


wildcard_constraints:
    study="[A-Za-z0-9_]+",
    experiment="[a-z0-9_]+",
    seed="[0-9]+",
    race="[a-z0-9_]+",
    set="[A-Za-z0-9_]+",
    split="train|val|test",
    page="[A-Za-z0-9_]+",


@cache
def study_record(study):
    """What the report says about a study; holds the fingerprints of its runs."""
    return checked(describe.study_record, study, DEFINITIONS)


def run_fingerprint(wildcards):
    """Identity of one run; a changed one makes its config.json, and so the run, stale."""
    if tuning.arm_of(wildcards.experiment)[1] is None:
        known = study_record(wildcards.study)["fingerprints"].get(wildcards.experiment, {})
        if wildcards.seed in known:
            return known[wildcards.seed]
    arguments = (wildcards.study, wildcards.experiment, int(wildcards.seed), DEFINITIONS)
    return checked(resolve.resolve, *arguments)["fingerprint"]


def gpus_of_training(wildcards):
    """What the study gives a training, but no more than the net has towers"""
    config = checked(resolve.resolve, wildcards.study, wildcards.experiment, int(wildcards.seed), DEFINITIONS)
    return min(STUDIES[wildcards.study]["gpus"], config["model"]["towers"])


def study_fingerprint(wildcards):
    """Identity of what the report says about a study."""
    return resolve.fingerprint(study_record(wildcards.study))


def full_study(wildcards):
    """The study in whose full size the layers of an experiment are counted."""
    return KNOWN[wildcards.experiment].get("described_in", "ilsvrc2010")


@cache
def describe_fingerprint_of(study, experiment):
    return resolve.fingerprint(checked(describe.describe_experiment, study, experiment, DEFINITIONS))


def describe_fingerprint(wildcards):
    """Identity of the full-size net of an experiment."""
    return describe_fingerprint_of(full_study(wildcards), wildcards.experiment)


def departures_fingerprint(wildcards):
    """Identity of what the page of departures says."""
    return resolve.fingerprint(checked(describe.departures, DEFINITIONS))


def packed(study, name, splits=None):
    """Files of a packed set."""
    splits = splits or STUDIES[study]["sets"][name]["splits"]
    store = {"raw": "npy", "jpeg": "jpegs"}[store_of(STUDIES[study])["format"]]
    files = [f"{split}.{kind}" for split in splits for kind in (store, "csv")]
    files += ["mean.npy"] if "train" in splits else []
    return [f"{RESULTS}/{study}/data/{name}/{file}" for file in ["manifest.json", *files]]


def generated(study):
    """Archives of a generated study, under their official names."""
    sets = STUDIES[study]["sets"].values()
    names = [
        name for data in sets for name in ilsvrc.needed(sources.SOURCES[data["source"]].year, data["splits"])
    ]
    return [f"{RESULTS}/{study}/archives/{name}" for name in names]


def archives_of(study, name):
    """Archives to be made first for a generated set; else none, but they are looked for (with a sentence)."""
    record = STUDIES[study]
    if "synthetic" in record:
        return generated(study)

    def found(wildcards):
        if not Path(packed(study, name)[0]).exists():
            require_archives(study, name)
        return []

    return found


def require_archives(study, name):
    """End the workflow with a sentence if archives of a set are missing."""
    source, splits = (STUDIES[study]["sets"][name][key] for key in ("source", "splits"))
    missing = checked(sources.missing_archives, source, FOLDERS, splits)
    if missing and source not in config["downloads"]:
        stop(f"study {study}: {known_files.describe_missing(source, missing, FOLDERS, None)}")


def definition(wildcards):
    """What resolve.yaml says of a run's experiment, or of that whose rate a pilot run tries."""
    return KNOWN[tuning.arm_of(wildcards.experiment)[0]]


def training_data(wildcards):
    """Packed files that a run reads."""
    record = STUDIES[wildcards.study]
    before = definition(wildcards).get("data") == "pretraining"
    return packed(wildcards.study, (record["pretraining"] if before else record)["train"]["set"])


def start_weights(wildcards):
    """Weights that a run starts from, if it does not start from random ones."""
    start = definition(wildcards).get("starts_from")
    name = start and start["experiment"]
    return [f"{RESULTS}/{wildcards.study}/runs/{name}/{wildcards.seed}/model.pt"] if start else []


def seeds(study, experiment):
    """Seeds of an experiment in a study."""
    return checked(resolve.seeds_of, study, experiment, DEFINITIONS)


def results_of(study, experiment):
    """What is asked for of an experiment: evaluations, or the run alone where the data have other classes."""
    if KNOWN[experiment].get("data") == "pretraining":
        return runs_of(study, experiment, seeds(study, experiment))
    if "race" in KNOWN[experiment]:
        return []  # see `races_of`
    files = [
        f"{RESULTS}/{study}/evals/{experiment}/{seed}/{where['set']}-{where['split']}.json"
        for seed in seeds(study, experiment)
        for where in splits_of(study, experiment)
    ]
    if experiment in examined() or experiment in tuned_in(study):
        files += [
            f"{RESULTS}/{study}/examined/{experiment}/{seed}/examination.json"
            for seed in seeds(study, experiment)
        ]
    return files


def block_files(wildcards):
    """Evaluations and examinations of all nets of a study with one seed."""
    study = wildcards.study
    files = [file for name in STUDIES[study]["experiments"] for file in results_of(study, name)]
    return [file for file in files if Path(file).parent.name == wildcards.seed]


def runs_of(study, experiment, chosen):
    """Finished runs of an experiment, by seed."""
    return [f"{RESULTS}/{study}/runs/{experiment}/{seed}/run.json" for seed in chosen]


def swept(study, race):
    """Runs of a race at all its rates, with the seed that chooses: the first."""
    known = [name for name in STUDIES[study]["experiments"] if KNOWN[name].get("race") == race]
    return [run for name in known for run in runs_of(study, name, seeds(study, name)[:1])]


def tuned_in(study):
    """Experiments of a study whose rate a pilot chooses; all of them are examined."""
    return tuning.arms(STUDIES[study], KNOWN) if "pilot" in STUDIES[study] else []


def pilot_studies():
    """Chosen studies that have a pilot."""
    return [study for study, record in STUDIES.items() if "pilot" in record]


def pilot_factors(wildcards):
    """Factors that a pilot tries on the rates: the study's, and those beyond them that an earlier search asks for."""
    study, name, wider = wildcards.study, wildcards.experiment, int(wildcards.wider)
    if not wider:
        return STUDIES[study]["pilot"]["factors"]
    found = last_search(study, name, wider - 1)
    return [*[run["factor"] for run in found["tried"]], *found["next"]]


def last_search(study, name, wider):
    """What a search found; its runs are trained first where it is not done."""
    with open(checkpoints.search_rate.get(study=study, experiment=name, wider=wider).output[0]) as record:
        return json.load(record)


def pilot_runs(wildcards):
    """Runs of one experiment at the pilot's factors."""
    seed = [STUDIES[wildcards.study]["pilot"]["seed"]]
    names = [tuning.pilot_run(wildcards.experiment, factor) for factor in pilot_factors(wildcards)]
    return [run for name in names for run in runs_of(wildcards.study, name, seed)]


def first_searches(wildcards):
    """Searches among the study's own factors, of all experiments of its pilot."""
    return [f"{RESULTS}/{wildcards.study}/pilot/{name}-0.json" for name in tuned_in(wildcards.study)]


def searched(wildcards):
    """The last search of each experiment of a study's pilot: one that asks for no other factor, or the last allowed."""
    files = []
    for name in tuned_in(wildcards.study):
        wider = 0
        while last_search(wildcards.study, name, wider)["next"] and wider < tuning.WIDER:
            wider += 1
        files.append(f"{RESULTS}/{wildcards.study}/pilot/{name}-{wider}.json")
    return files


def races_of(study, among=None):
    """What is asked for of races: the choice of the rate, and the runs with the other seeds at that rate"""

    def fastest(race):
        def runs(wildcards):
            chosen = checkpoints.choose.get(study=study, race=race).output[0]
            with open(chosen) as record:
                experiment = json.load(record)["experiment"]
            return runs_of(study, experiment, seeds(study, experiment))

        return runs

    names = definitions.races(STUDIES[study]["experiments"], KNOWN)
    names = [name for name in names if among is None or name in among]
    return [f"{RESULTS}/{study}/races/{race}.json" for race in names] + [fastest(race) for race in names]


def splits_of(study, experiment):
    """Where an experiment is evaluated: what the claims compare everywhere, all else on the first split."""
    places = STUDIES[study]["evaluate"]
    everywhere = KNOWN[experiment]["kind"] in ("base", "ablation") or experiment in compared()
    return places if everywhere else places[:1]


def in_ensembles(wildcards):
    """The flag that keeps probabilities, for members of an ensemble of the study."""
    chosen = [KNOWN[name].get("members", []) for name in STUDIES[wildcards.study]["experiments"]]
    return "--keep-probabilities" if any(wildcards.experiment in members for members in chosen) else ""


def member_evaluations(wildcards):
    """Evaluations of the members of an ensemble on one split."""
    return [
        f"{RESULTS}/{wildcards.study}/evals/{name}/{seed}/{wildcards.set}-{wildcards.split}.json"
        for name in KNOWN[wildcards.experiment]["members"]
        for seed in seeds(wildcards.study, name)
    ]


def descriptions():
    """Layer tables at full size of all experiments that have layers of their own, and the departures."""
    return [*(f"{RESULTS}/describe/{name}.json" for name in DESCRIBED), f"{RESULTS}/departures.json"]


def study_files(study):
    """What the report needs of a study besides its evaluations."""
    files = [f"{RESULTS}/{study}/study.json"]
    files += [packed(study, name)[0] for name in STUDIES[study]["sets"]]
    if STUDIES[study]["tier"] != "paper":
        files.append(f"{RESULTS}/{study}/baselines.json")
    return files


def evidence():
    """Everything that the verdicts and the report stand on."""
    files = descriptions()
    for study, record in STUDIES.items():
        files += study_files(study)
        for experiment in record["experiments"]:
            files += results_of(study, experiment)
        files += races_of(study)
    return files


def measured_speed(wildcards):
    """The benchmark's table, for the page that shows it, if it was ever measured here."""
    return [SPEED] if wildcards.page == "70_speed" and Path(SPEED).exists() else []


def experiment_files(experiment):
    """Results of an experiment and of what it and its claims are compared with, in the chosen studies that have it."""
    files = [f"{RESULTS}/describe/{experiment}.json"] if experiment in DESCRIBED else []
    against = definitions.lineage(experiment, KNOWN, "baseline")
    arms = compared(KNOWN[experiment]["claims"]) if KNOWN[experiment]["claims"] else []
    for study, record in STUDIES.items():
        if experiment in record["experiments"]:
            files.append(f"{RESULTS}/{study}/study.json")
            for name in dict.fromkeys([*against, *(arm for arm in arms if arm in record["experiments"])]):
                files += results_of(study, name)
        raced = races_of(study, against)
        files += [f"{RESULTS}/{study}/study.json", *raced] if raced else []
    return files


@cache
def claims():
    """Rows of the table of claims."""
    with open(Path(ROOM, "claims.csv"), newline="") as table:
        return list(csv.DictReader(table))


@cache
def examined():
    """Experiments whose finished nets are examined."""
    rows = [row for row in claims() if row["how"] in EXAMINATIONS]
    return {row[key] for row in rows for key in ("experiment", "baseline")} - {""}


def claim_groups():
    """Groups of claims that are not fed by one experiment alone."""
    return sorted({row["group"] for row in claims()} - set(KNOWN) - {""})


@cache
def compared(group=None):
    """Experiments whose results the trained claims, of one group or all, are read from; an order has no baseline."""
    rows = [row for row in claims() if row["how"] and row["kind"] not in ("arithmetic", "dataset")]
    rows = [row for row in rows if group in (None, row["group"])]
    arms = {name for row in rows for name in row["experiment"].split()}
    return sorted(arms | {row["baseline"] for row in rows if row["how"] != "rank"} - {""})


def group_files(group):
    """What the verdicts of a group of claims need."""
    fed = [name for name in KNOWN if KNOWN[name]["claims"] == group]
    arms = {*fed, *compared(group)}
    files = [] if fed else descriptions()
    for study, record in STUDIES.items():
        trained = [file for name in record["experiments"] if name in arms for file in results_of(study, name)]
        if trained := [*trained, *races_of(study, arms)]:
            files += [f"{RESULTS}/{study}/study.json", *trained]
    if group == "dataset":
        files += [packed(study, name)[0] for study, record in STUDIES.items() for name in record["sets"]]
    return files


def failed_jobs():
    """Logs of jobs that failed, less those that were told to end."""
    logs = [str(job.log[0]) for job in workflow.scheduler.failed if job.log]
    tails = {log: (Path(log).read_text().splitlines() or [""])[-1] for log in logs if Path(log).exists()}
    return {log: tail for log, tail in tails.items() if not interruption.is_word_of(tail)}


def report_of_the_rest():
    """After a failed job the report of everything else, if a report was asked for, and a sentence about each failure."""
    failures = failed_jobs()
    if not failures or not any(job.rule.name == "report" for job in workflow.dag.jobs):
        return
    settings = Path(RESULTS, "draft", "config.json")
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(json.dumps({key: value for key, value in config.items()}))
    call = ["--cores", "1", "--nolock", "--quiet", "all", "--configfile", str(settings)]
    done = subprocess.run([sys.executable, "-m", "snakemake", *call, "--", "draft"])
    for log, tail in sorted(failures.items()):
        print(f"failed: {log}: {tail}", file=sys.stderr)
    if done.returncode == 0:
        made = Path(config["report"]).parent / "draft" / Path(config["report"]).name
        print(f"the report without what failed: {made}", file=sys.stderr)


def words(*arguments):
    """Words of a command, quoted for the shell: what goes into a command without `:q`.

    Rules whose results take hours keep such text, and not a list, as their parameter: another one would remake them.
    """
    return shlex.join(map(str, arguments))


def flags(record):
    """A dict as words of a command."""
    return [word for key, value in sorted(record.items()) for word in (f"--{key.replace('_', '-')}", value)]


def stand_ins(study):
    """Where the archives of a generated study are, as words of a command."""
    made = ["--stand-ins", "--archive-order", "--archives", f"{RESULTS}/{study}/archives"]
    return made if "synthetic" in STUDIES[study] else []


def store_of(record):
    """How a study's packed sets keep their images, defaults filled in."""
    return {"format": "raw", "quality": 95, "undecodable": 0} | record["store"]


def store_flags(record):
    """The same as words of a command."""
    store = store_of(record)
    quality = ["--quality", store["quality"]] if store["format"] == "jpeg" else []
    return ["--storage", store["format"], *quality, "--allow-undecodable", store["undecodable"]]
