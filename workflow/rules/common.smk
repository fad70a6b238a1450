# All functions of the workflow; rules have none. Everything here is torch-free.
import csv
import os
import sys
from functools import cache
from pathlib import Path

from snakemake.utils import validate

# The bench is imported from the folder of this workflow, and `python` in a rule is the Python that runs Snakemake.
ROOT = str(Path(str(workflow.current_basedir)).resolve().parent.parent)
sys.path.insert(0, ROOT)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")]))
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

from alexnet import archives, experiments, ilsvrc
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


checked(experiments.check, config, "config", "config")
validate(config, "../schemas/config.schema.yaml")

DEFINITIONS = config["definitions"]
RESULTS = config["results"]
CLAIMS_OUT = str(Path(config["report"]).with_name("claims.csv"))
KNOWN = checked(experiments.definitions, DEFINITIONS)["experiments"]
STUDIES = {name: checked(experiments.load_study, name, DEFINITIONS) for name in config["studies"]}
ROOM = os.path.relpath(os.path.join(ROOT, "analysis"))  # claims, notebooks, template
PAGES = sorted(path.stem for path in Path(ROOM, "notebooks").glob("*.ipynb"))
ANALYSIS = sorted(str(path) for path in Path(ROOM).rglob("*") if path.suffix in (".py", ".css", ".j2"))

# Where archives are searched. In the environment and not in params: moving archives repacks nothing.
FOLDERS = list(filter(None, [*config["archives"], *os.environ.get("ALEXNET_DATA", "").split(os.pathsep)]))
os.environ["ALEXNET_DATA"] = os.pathsep.join(FOLDERS)


wildcard_constraints:
    study="[A-Za-z0-9_]+",
    experiment="[a-z0-9_]+",
    seed="[0-9]+",
    set="[A-Za-z0-9_]+",
    split="train|val|test",


@cache
def study_record(study):
    """What the report says about a study; holds the fingerprints of its runs."""
    return checked(experiments.study_record, study, DEFINITIONS)


def run_fingerprint(wildcards):
    """Identity of one run; a changed one makes its config.json, and so the run, stale."""
    known = study_record(wildcards.study)["fingerprints"].get(wildcards.experiment, {})
    if wildcards.seed in known:
        return known[wildcards.seed]
    arguments = (wildcards.study, wildcards.experiment, int(wildcards.seed), DEFINITIONS)
    return checked(experiments.resolve, *arguments)["fingerprint"]


def study_fingerprint(wildcards):
    """Identity of what the report says about a study."""
    return experiments.fingerprint(study_record(wildcards.study))


@cache
def describe_fingerprint_of(experiment):
    return experiments.fingerprint(
        checked(experiments.describe_experiment, "ilsvrc2010", experiment, DEFINITIONS)
    )


def describe_fingerprint(wildcards):
    """Identity of the full-size net of an experiment."""
    return describe_fingerprint_of(wildcards.experiment)


def packed(study, name, splits=None):
    """Files of a packed set."""
    splits = splits or STUDIES[study]["sets"][name]["splits"]
    files = [f"{split}.{kind}" for split in splits for kind in ("npy", "csv")]
    files += ["mean.npy"] if "train" in splits else []
    return [f"{RESULTS}/{study}/data/{name}/{file}" for file in ["manifest.json", *files]]


def generated(study):
    """Archives of a generated study, under their official names."""
    sets = STUDIES[study]["sets"].values()
    names = [name for data in sets for name in ilsvrc.needed(archives.YEARS[data["source"]], data["splits"])]
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
    missing = checked(archives.missing_archives, source, FOLDERS, splits)
    if missing:
        stop(
            f"study {study} needs {', '.join(missing)}, found in none of: {', '.join(FOLDERS)}; name their folder "
            "in `archives` of config/config.yaml or in the environment variable ALEXNET_DATA (config/README.md "
            "says where the archives come from)"
        )


def training_data(wildcards):
    """Packed files that a run reads."""
    train = STUDIES[wildcards.study]["train"]["set"]
    return packed(wildcards.study, train)


def evaluations(study, experiment):
    """Evaluation files of an experiment of a study."""
    record = STUDIES[study]
    return [
        f"{RESULTS}/{study}/evals/{experiment}/{seed}/{where['set']}-{where['split']}.json"
        for seed in record["seeds"]
        for where in record["evaluate"]
    ]


def descriptions():
    """Layer tables of all experiments at full size."""
    return [f"{RESULTS}/describe/{name}.json" for name in KNOWN]


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
            files += evaluations(study, experiment)
    return files


def experiment_files(experiment):
    """Evaluations of an experiment and its base in the chosen studies that have it."""
    files = [f"{RESULTS}/describe/{experiment}.json"]
    for study, record in STUDIES.items():
        if experiment in record["experiments"]:
            files.append(f"{RESULTS}/{study}/study.json")
            for name in dict.fromkeys(["alexnet", experiment]):
                files += evaluations(study, name)
    return files


def claim_groups():
    """Groups of claims that are not fed by one experiment alone."""
    with open(Path(ROOM, "claims.csv"), newline="") as table:
        groups = {row["group"] for row in csv.DictReader(table)}
    return sorted(groups - set(KNOWN) - {""})


def group_files(group):
    """What the verdicts of a group of claims need."""
    files = descriptions()
    if group == "dataset":
        files += [packed(study, name)[0] for study, record in STUDIES.items() for name in record["sets"]]
    return files


def flags(record):
    """A dict as command-line flags."""
    return " ".join(f"--{key.replace('_', '-')} {value}" for key, value in sorted(record.items()))
