"""Which files each target and rule needs, from studies, experiments and claims. Torch-free; of Snakemake it knows wildcards and checkpoints."""

import csv
import os
import shlex
from collections.abc import Iterable
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from alexnet.archives import ilsvrc, known_files, sources
from alexnet.errors import UserError
from alexnet.experiments import definitions, describe, resolve, tuning
from alexnet.experiments.config import RunConfig
from alexnet.runtime.files import read_record
from workflow.mistakes import Named, checked

# What is read of finished nets beyond their evaluations (`python -m alexnet examine`), as claims.csv has it under `how`.
EXAMINATIONS = (
    *("generalization_gap", "sample_difference", "tower_chroma", "tower_chroma_runs", "orientation_selectivity"),
    *("retrieval_precision", "code_precision", "pixel_distance", "geometric_mean"),
)
Files = list[Any]  # paths, and functions of wildcards that give more of them once a checkpoint is done


def words(*arguments: object) -> str:
    """Words of a command, quoted for the shell: what goes into a command without `:q`.

    Rules whose results take hours keep such text, and not a list, as their parameter: another one would remake them.
    """
    return shlex.join(map(str, arguments))


class Plan:
    """Paths below the results folder, for one configuration of the workflow.

    Args:
        root: folder of the bench.
        config: of workflow/schemas/config.schema.yaml, defaults filled in.
        checkpoints: Snakemake's, for what is known only when the rules `search_rate` and `choose` are done.

    Raises:
        UserError: a study or an experiment that is not what the schemas say.
    """

    def __init__(self, root: Path, config: dict[str, Any], checkpoints: Any = None) -> None:
        self.results, self.folder, self.downloads = config["results"], config["definitions"], config["downloads"]
        self.checkpoints = checkpoints
        known = definitions.load(self.folder)["experiments"]
        self.known = Named(known, lambda name: f"unknown experiment {name!r}{definitions.did_you_mean(name, known)}")
        self.studies = Named({name: self._study(name) for name in config["studies"]}, self._not_chosen)
        # Ensembles have no layers, and what starts from other weights has those of the net that it extends.
        # A race is described where it says so, as nets of several races are the same.
        self.described = [
            name
            for name, about in self.known.items()
            if not {"members", "starts_from", "data", "race"} & set(about)
            and (about["kind"] != "race" or "described_in" in about)
        ]
        self.ensembles = [name for name, about in self.known.items() if "members" in about]
        self.room = os.path.relpath(root / "analysis")  # claims, notebooks, template
        self.pages = sorted(path.stem for path in Path(self.room, "notebooks").glob("*.ipynb"))
        kinds = (".py", ".css", ".js", ".j2")
        self.analysis = sorted(str(path) for path in Path(self.room).rglob("*") if path.suffix in kinds)
        self.archives = list(filter(None, [*config["archives"], *os.environ.get("ALEXNET_DATA", "").split(os.pathsep)]))
        self.study_record = cache(partial(describe.study_record, folder=self.folder))
        self.description = cache(partial(describe.describe_experiment, folder=self.folder))
        self.departures = partial(describe.departures, self.folder)

    def _study(self, name: str) -> Named:
        return Named(
            definitions.load_study(name, self.folder), lambda key: f"study {name} has no `{key}`, which that needs"
        )

    def _not_chosen(self, study: str) -> str:
        definitions.load_study(study, self.folder)  # which knows the nearest name of one that there is not
        return f"study {study} is not among those chosen; choose it: --config 'studies=[{study}]'"

    # Archives and packed sets ----------------------------------------------------------------------------------------

    def synthesize_flags(self, study: str) -> list[object]:
        flags = sorted(self.studies[study]["synthetic"].items())
        return [word for key, value in flags for word in (f"--{key.replace('_', '-')}", value)]

    def generated(self, study: str) -> Files:
        """Archives of a generated study, under their official names."""
        sets = [(sources.SOURCES[data["source"]].year, data["splits"]) for data in self.studies[study]["sets"].values()]
        names = [name for year, splits in sets if year for name in ilsvrc.needed(year, splits)]
        return [f"{self.results}/{study}/archives/{name}" for name in names]

    def archive_flags(self, study: str) -> list[str]:
        """Where the archives of a generated study are; nothing for others, which are searched for."""
        made = ["--stand-ins", "--archive-order", "--archives", f"{self.results}/{study}/archives"]
        return made if "synthetic" in self.studies[study] else []

    def store_flags(self, study: str) -> list[object]:
        store = self.studies[study]["store"]
        quality = ["--quality", store["quality"]] if store["format"] == "jpeg" else []
        return ["--storage", store["format"], *quality, "--allow-undecodable", store["undecodable"]]

    def packed(self, study: str, name: str, splits: Iterable[str] = ()) -> Files:
        """Files of a packed set, the manifest first."""
        splits = list(splits) or self.studies[study]["sets"][name]["splits"]
        store = {"raw": "npy", "jpeg": "jpegs"}[self.studies[study]["store"]["format"]]
        files = [f"{split}.{kind}" for split in splits for kind in (store, "csv")]
        files += ["mean.npy"] if "train" in splits else []
        return [f"{self.results}/{study}/data/{name}/{file}" for file in ["manifest.json", *files]]

    def archives_of(self, study: str, name: str) -> Files:
        """Archives to be made first for a generated set; else none, but they are looked for once a rule needs them."""
        made = "synthetic" in self.studies[study]
        return self.generated(study) if made else [checked(partial(self._require, study, name))]

    def _require(self, study: str, name: str, wildcards: Any) -> Files:
        source, splits = (self.studies[study]["sets"][name][key] for key in ("source", "splits"))
        if not Path(self.packed(study, name)[0]).exists():
            missing = sources.missing_archives(source, self.archives, splits)
            if missing and source not in self.downloads:
                raise UserError(f"study {study}: {known_files.describe_missing(source, missing, self.archives, None)}")
        return []

    # Runs ------------------------------------------------------------------------------------------------------------

    def config_of(self, wildcards: Any) -> RunConfig:
        return resolve.resolve(wildcards.study, wildcards.experiment, int(wildcards.seed), self.folder)

    def run_fingerprint(self, wildcards: Any) -> str:
        """Identity of one run; a changed one makes its config.json, and so the run, stale."""
        known = {}
        if tuning.arm_of(wildcards.experiment)[1] is None:
            known = self.study_record(wildcards.study)["fingerprints"].get(wildcards.experiment, {})
        return str(known.get(wildcards.seed) or self.config_of(wildcards)["fingerprint"])

    def gpus_of_training(self, wildcards: Any) -> int:
        """What the study gives a training, but no more than the net has towers."""
        return min(self.studies[wildcards.study]["gpus"], self.config_of(wildcards)["model"]["towers"])

    def full_study(self, wildcards: Any) -> str:
        """The study in whose full size the layers of an experiment are counted."""
        return str(self.known[wildcards.experiment].get("described_in", "ilsvrc2010"))

    def keep_probabilities(self, wildcards: Any) -> str:
        """The flag that keeps probabilities, for members of an ensemble of the study."""
        chosen = [self.known[name].get("members", []) for name in self.studies[wildcards.study]["experiments"]]
        return "--keep-probabilities" if any(wildcards.experiment in members for members in chosen) else ""

    def training_data(self, wildcards: Any) -> Files:
        """Packed files that a run reads."""
        record = self.studies[wildcards.study]
        before = self.known[tuning.arm_of(wildcards.experiment)[0]].get("data") == "pretraining"
        return self.packed(wildcards.study, (record["pretraining"] if before else record)["train"]["set"])

    def start_weights(self, wildcards: Any) -> Files:
        """Weights that a run starts from, if it does not start from random ones."""
        start = self.known[tuning.arm_of(wildcards.experiment)[0]].get("starts_from")
        runs = f"{self.results}/{wildcards.study}/runs"
        return [f"{runs}/{start['experiment']}/{wildcards.seed}/model.pt"] if start else []

    def runs(self, study: str, experiment: str, seeds: Iterable[int]) -> Files:
        """Finished runs of an experiment, by seed."""
        return [f"{self.results}/{study}/runs/{experiment}/{seed}/run.json" for seed in seeds]

    def seeds(self, study: str, experiment: str) -> list[int]:
        return resolve.seeds_of(study, experiment, self.folder)

    def asked(self, study: str) -> list[str]:
        """Experiments of a study that are trained without being named."""
        return definitions.asked(self.studies[study])

    def outcomes(self, study: str, experiment: str) -> Files:
        """What is asked for of an experiment: evaluations, or the run alone where the data have other classes."""
        seeds, about = self.seeds(study, experiment), self.known[experiment]
        if about.get("data") == "pretraining":
            return self.runs(study, experiment, seeds)
        if "race" in about:
            return []  # see `races`
        everywhere = about["kind"] in ("base", "ablation") or experiment in self.compared()
        places = self.studies[study]["evaluate"][: None if everywhere else 1]
        of = f"{self.results}/{study}/evals/{experiment}"
        files = [f"{of}/{seed}/{where['set']}-{where['split']}.json" for seed in seeds for where in places]
        if experiment in self.examined or experiment in self.tuned(study):
            files += [f"{self.results}/{study}/examined/{experiment}/{seed}/examination.json" for seed in seeds]
        return files

    def block(self, wildcards: Any) -> Files:
        """Evaluations and examinations of all nets of a study with one seed."""
        files = [file for name in self.asked(wildcards.study) for file in self.outcomes(wildcards.study, name)]
        return [file for file in files if Path(file).parent.name == wildcards.seed]

    def member_evaluations(self, wildcards: Any) -> Files:
        """Evaluations of the members of an ensemble on one split."""
        members = self.known[wildcards.experiment]["members"]
        chosen = [(name, seed) for name in members for seed in self.seeds(wildcards.study, name)]
        of, where = f"{self.results}/{wildcards.study}/evals", f"{wildcards.set}-{wildcards.split}.json"
        return [f"{of}/{name}/{seed}/{where}" for name, seed in chosen]

    # Learning rates: of races, and of pilots -------------------------------------------------------------------------

    def swept(self, wildcards: Any) -> Files:
        """Runs of a race at all its rates, with the seed that chooses: the first."""
        study, race = wildcards.study, wildcards.race
        known = [name for name in self.studies[study]["experiments"] if self.known[name].get("race") == race]
        return [run for name in known for run in self.runs(study, name, self.seeds(study, name)[:1])]

    def races(self, study: str, among: Iterable[str] | None = None) -> Files:
        """What is asked for of races: the choice of the rate, and the runs with the other seeds at that rate."""
        names = definitions.races(
            self.asked(study) if among is None else self.studies[study]["experiments"], self.known
        )
        names = [name for name in names if among is None or name in among]
        fastest = [checked(partial(self._fastest, study, race)) for race in names]
        return [f"{self.results}/{study}/races/{race}.json" for race in names] + fastest

    def _fastest(self, study: str, race: str, wildcards: Any) -> Files:
        def runs(chosen: Any) -> Files:
            return self.runs(study, chosen["experiment"], self.seeds(study, chosen["experiment"]))

        return read_record(Path(self.checkpoints.choose.get(study=study, race=race).output[0]), runs)

    def tuned(self, study: str) -> list[str]:
        """Experiments of a study whose rate a pilot chooses; all of them are examined."""
        return tuning.arms(self.studies[study], self.known) if "pilot" in self.studies[study] else []

    def _searched(self, study: str, name: str, wider: int) -> tuple[list[float], list[float]]:
        """Factors that a search tried, and those that it asks for; its runs are trained first where it is not done."""
        path = self.checkpoints.search_rate.get(study=study, experiment=name, wider=wider).output[0]
        return read_record(
            Path(path), lambda found: ([float(run["factor"]) for run in found["tried"]], [*map(float, found["next"])])
        )

    def pilot_factors(self, wildcards: Any) -> list[float]:
        """Factors that a pilot tries on the rates: the study's, and those beyond them that an earlier search asks for."""
        if not int(wildcards.wider):
            return list(self.studies[wildcards.study]["pilot"]["factors"])
        tried, beyond = self._searched(wildcards.study, wildcards.experiment, int(wildcards.wider) - 1)
        return [*tried, *beyond]

    def pilot_runs(self, wildcards: Any) -> Files:
        """Runs of one experiment at the pilot's factors."""
        seed = [self.studies[wildcards.study]["pilot"]["seed"]]
        names = [tuning.pilot_run(wildcards.experiment, factor) for factor in self.pilot_factors(wildcards)]
        return [run for name in names for run in self.runs(wildcards.study, name, seed)]

    def searches(self, wildcards: Any, last: bool = True) -> Files:
        """A search of each experiment of a study's pilot: one that asks for no other factor or is the last allowed, or the first."""
        files = []
        for name in self.tuned(wildcards.study):
            wider = 0
            while last and wider < tuning.WIDER and self._searched(wildcards.study, name, wider)[1]:
                wider += 1
            files.append(f"{self.results}/{wildcards.study}/pilot/{name}-{wider}.json")
        return files

    # Claims, and what their verdicts stand on ------------------------------------------------------------------------

    @cached_property
    def claims(self) -> list[dict[str, str]]:
        """Rows of the table of claims."""
        with open(Path(self.room, "claims.csv"), newline="") as table:
            return list(csv.DictReader(table))

    @cached_property
    def examined(self) -> set[str]:
        """Experiments whose finished nets are examined."""
        rows = [row for row in self.claims if row["how"] in EXAMINATIONS]
        return {row[key] for row in rows for key in ("experiment", "baseline")} - {""}

    def targets(self) -> dict[str, str]:
        """Named targets, a sentence for each: experiments, and groups of claims that are not fed by the one experiment of that name."""
        named = {name: about["about"] for name, about in self.known.items() if "race" not in about}
        fed = {about["claims"] for about in self.known.values()}
        for group in sorted({row["group"] for row in self.claims} - set(self.known) - {""}):
            untrained = "" if group in fed else ", untrained"
            named[group] = f"Verdicts of the claims about {group.replace('_', ' ')}{untrained}"
        return named

    def measured(self, target: str) -> list[str]:
        """The command that prints what the runs of a target come to, after the verdicts of its claims."""
        if target not in self.known:
            return ["verdicts", "--claims", f"{self.room}/claims.csv", "--group", target]
        race = self.known[target]["kind"] == "race"
        return [*(["race", "--race"] if race else ["effects", "--experiment"]), target]

    @cache  # noqa: B019 - there is one plan a process
    def compared(self, group: str | None = None) -> list[str]:
        """Experiments whose results the trained claims, of one group or all, are read from; an order has no baseline."""
        rows = [row for row in self.claims if row["how"] and row["kind"] not in ("arithmetic", "dataset")]
        rows = [row for row in rows if group in (None, row["group"])]
        arms = {name for row in rows for name in row["experiment"].split()}
        return sorted(arms | {row["baseline"] for row in rows if row["how"] != "rank"} - {""})

    def descriptions(self) -> Files:
        """Layer tables at full size of all experiments that have layers of their own, and the departures."""
        return [*(f"{self.results}/describe/{name}.json" for name in self.described), f"{self.results}/departures.json"]

    def manifests(self, study: str) -> Files:
        return [self.packed(study, name)[0] for name in self.studies[study]["sets"]]

    def evidence(self) -> Files:
        """Everything that the verdicts and the report stand on."""
        files = self.descriptions()
        for study, record in self.studies.items():
            files += [f"{self.results}/{study}/study.json", *self.manifests(study)]
            files += [f"{self.results}/{study}/baselines.json"] if record["tier"] != "paper" else []
            files += [file for name in self.asked(study) for file in self.outcomes(study, name)]
            files += self.races(study)
        return files

    def _of_study(self, study: str, names: Iterable[str], races: Iterable[str]) -> Files:
        """study.json and results of those of `names` and `races` that the study has; nothing if it has none."""
        have = [name for name in dict.fromkeys(names) if name in self.studies[study]["experiments"]]
        files = [file for name in have for file in self.outcomes(study, name)] + self.races(study, races)
        return [f"{self.results}/{study}/study.json", *files] if files else []

    def _refusal(self, target: str, names: list[str]) -> Files:
        """Nothing where a chosen study has any of the experiments `names`; else a function that names the studies that have."""

        def having(studies: Iterable[str]) -> list[str]:
            return [s for s in studies if {*names} & {*definitions.load_study(s, self.folder)["experiments"]}]

        @checked
        def refuse(wildcards: Any) -> None:
            have = having(definitions.studies(self.folder))
            where = f"{', '.join(have)}: choose one, --config 'studies=[{have[0]}]'" if have else "none; add it to one"
            raise UserError(f"no chosen study ({', '.join(self.studies)}) has what {target} needs; it is in {where}")

        return [] if having(self.studies) else [refuse]

    def experiment_files(self, experiment: str) -> Files:
        """Results of an experiment and of what it and its claims are compared with, in the chosen studies that have it."""
        files = [f"{self.results}/describe/{experiment}.json"] if experiment in self.described else []
        files += self._refusal(experiment, [n for n in self.known if experiment in (n, self.known[n].get("race"))])
        against, group = definitions.lineage(experiment, self.known, "baseline"), self.known[experiment]["claims"]
        arms = [*against, *(self.compared(group) if group else [])]
        for study, record in self.studies.items():
            files += self._of_study(study, arms if experiment in record["experiments"] else [], against)
        return files

    def group_files(self, group: str) -> Files:
        """What the verdicts of a group of claims need."""
        fed = [name for name in self.known if self.known[name]["claims"] == group]
        arms = {*fed, *self.compared(group)}
        files = self._refusal(group, fed) if fed else self.descriptions()
        for study, record in self.studies.items():
            files += self._of_study(study, [name for name in record["experiments"] if name in arms], arms)
            files += self.manifests(study) if group == "dataset" else []
        return files
