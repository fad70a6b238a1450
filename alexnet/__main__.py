"""Command line of the bench: each verb turns files into files, as the workflow's rules do."""

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from alexnet.errors import UserError
from alexnet.experiments import describe, resolve, tuning
from alexnet.runtime import fingerprint, interruption
from alexnet.runtime.files import write_json


def main(argv: list[str] | None = None) -> int:
    """Run one verb. Exit status: 0 done, 1 something is missing (preflight) or untrained (check-weights), 2 a mistake the user can mend, 128 + its number after a signal."""
    options = vars(_parser().parse_args(argv))
    try:
        interruption.end_with_workflow()
        with interruption.raised():
            status = options.pop("run")(**options) or 0
            sys.stdout.flush()
            return status
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "out of memory" not in str(error).lower():
            raise
        print("error: out of memory; use a smaller batch or width, or a larger machine", file=sys.stderr)
        return 2
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left to print would fail again at exit
        if isinstance(error, BrokenPipeError):
            return 1
        where = f" ({error.filename})" if error.filename else ""
        print(f"error: {error.strerror or error}{where}", file=sys.stderr)
        return 2
    except interruption.Interrupted as stopped:
        print(stopped, file=sys.stderr)
        return 128 + stopped.number
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m alexnet", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for verb in VERBS:
        command = verbs.add_parser(verb.name, help=verb.about)
        command.set_defaults(run=verb.run)
        for name, keywords in verb.options:
            command.add_argument(name, **keywords)
    return parser


# What the verbs do; each gets its options by name, and imports only what it needs ---------------------------------------


def _folders(named: list[Path] | None) -> list[Path]:
    """Folders of archives: those named, else those of the environment."""
    return named or [Path(f) for f in os.environ.get("ALEXNET_DATA", "").split(os.pathsep) if f]


def _pack(list_sources: bool, source: str | None, archives: list[Path] | None, out: Path | None, **named: Any) -> None:
    from alexnet.archives import sources
    from alexnet.packed import pack

    if list_sources:
        print("\n".join(sources.list_sources()))
        return
    folders, download, plan = _folders(archives), named.pop("download"), named.pop("plan")
    if not source or not folders or out is None:
        raise UserError("pack needs --source, --out, and --archives or the variable ALEXNET_DATA")
    named["repacked"] = named["repacked"] or os.environ.get("ALEXNET_REPACKED", "").split(os.pathsep)
    missing = sources.missing_archives(source, folders, named["splits"])
    url = download or json.loads(os.environ.get("ALEXNET_DOWNLOADS", "{}")).get(source)
    if missing and url and not plan:
        from alexnet.archives import download as downloads
        from alexnet.archives.web import Credentials

        account = Credentials.from_environment() if sources.SOURCES[source].account else None
        downloads.fetch_missing(missing, url, folders[0], account, sys.stderr)
    if plan:
        if not named["stand_ins"]:
            pack.check_first(source, folders, named["splits"], named["repacked"])
        catalogue = sources.open_source(source, folders, named["splits"])
        print(json.dumps(pack.plan(catalogue, out, named["image_size"], named["storage"]), indent=2))
    else:
        pack.pack(source, folders, out, **named)


def _verify(data: list[Path]) -> None:
    from alexnet.packed.packed_set import verify

    for folder in data:
        print(verify(folder))


def _written(make: Callable[..., Mapping[str, Any]], out: Path | None, **named: Any) -> None:
    """What `make` returns, as JSON in a file or on standard output."""
    if out:
        write_json(out, make(**named))
    else:
        print(json.dumps(make(**named), indent=2))


def _train(checkpoint_minutes: float, checkpoint_steps: int, **named: Any) -> None:
    from alexnet.training.state import Cadence
    from alexnet.training.train import train

    train(**named, cadence=Cadence(checkpoint_minutes, checkpoint_steps))


def _evaluate(examined: bool, **named: Any) -> None:
    from alexnet.evaluation.evaluate import evaluate
    from alexnet.evaluation.examine import examine
    from alexnet.runtime.gpu_leases import leased

    with leased("0" if named["devices"] == "0" else "1"):
        (examine if examined else evaluate)(**named)


def _synthesize(**named: Any) -> None:
    from alexnet.synthetic.synthesize import synthesize

    synthesize(**named)


def _ensemble(**named: Any) -> None:
    from alexnet.evaluation.ensemble import ensemble

    ensemble(**named)


def _preflight(archives: list[Path] | None, **named: Any) -> int:
    from alexnet.bench.preflight import preflight

    return preflight(folders=_folders(archives), **named)


def _export(**named: Any) -> None:
    from alexnet.evaluation.export import export

    print(f"the card: {export(**named)}")


def _check_weights(path: Path) -> int:
    from alexnet.evaluation.check_weights import check_weights

    trained, said = check_weights(path)
    print(said)
    return not trained


def _bench(archives: list[Path] | None, **named: Any) -> None:
    from alexnet.bench.bench import bench

    bench(folders=_folders(archives), **named)


# Verbs and their options ----------------------------------------------------------------------------------------------


def _number(words: str, kind: Callable[[str], float], fits: Callable[[float], bool]) -> Callable[[str], float]:
    """A type of argparse, which shows it as `words`."""

    def read(text: str) -> float:
        if not fits(value := kind(text)):
            raise ValueError
        return value

    read.__name__ = words
    return read


_above_zero = _number("number above zero", int, lambda number: number > 0)
_not_below_zero = _number("number not below zero", int, lambda number: number >= 0)
_quality = _number("number from 1 to 100", int, lambda number: 1 <= number <= 100)
_time = _number("time above zero", float, lambda number: 0 < number < math.inf)

Option = tuple[str, dict[str, Any]]


class Verb(NamedTuple):
    """A verb: its name, what it does in words, the function that does it, and its options."""

    name: str
    about: str
    run: Callable[..., int | None]
    options: list[Option]


def _path(name: str, about: str | None = None, **more: Any) -> Option:
    """A file or folder; one that must be named, unless `more` says otherwise."""
    needed = {"required": True} if name.startswith("-") else {}
    return name, {"type": Path, "help": about, **needed, **more}


def _text(name: str, about: str | None = None, **more: Any) -> Option:
    return name, {"help": about, **more}


def _count(name: str, about: str | None, default: int | None, least: int = 1) -> Option:
    return name, {"type": _above_zero if least else _not_below_zero, "default": default, "help": about}


def _flag(name: str, about: str) -> Option:
    return name, {"action": "store_true", "help": about}


STUDY, EXPERIMENT = _text("--study", required=True), _text("--experiment", required=True)
DEFINITIONS = _text("--definitions", "folder of experiments.yaml and studies/", default="config", dest="folder")
RECORD = _path("--out", "default: standard output", required=False, metavar="FILE.json")
CONFIG = _path("config_path", metavar="CONFIG.json")
DATA = _path("--data", "folder of the packed set")
WEIGHTS = _path("--weights", metavar="model.pt")
THREADS = _count("--threads", "CPU threads (default: the study's)", None)
ARCHIVES = _path("--archives", "folder of archives; repeat to search several", required=False, action="append")
SCORES = _path("--out", "folder for <set>-<split>.json and .parquet")


def _devices(about: str) -> Option:
    return _text("--devices", about, choices=["auto", "0", "1", "2"], default="auto")


ONE_DEVICE = _devices("0: the processor; else one GPU if any")

VERBS = [
    Verb("synthesize", "write the embedded data set as official-format archives", _synthesize,
         [_path("--out", "folder for the archives"), _count("--seed", None, 2012, least=0), _count("--classes", None, 12),
          _count("--train-per-class", None, 300), _count("--val-per-class", None, 100),
          _count("--pretraining-per-class", "a training set of 2010; 0: none", 0, least=0),
          _count("--test-per-class", None, 100), _count("--image-size", "typical shorter side, pixels", 96),
          _count("--workers", "processes (default: all cores)", None)]),
    Verb("pack", "archives -> packed store and manifest.json", _pack,
         [_text("--source", "adapter, see --list-sources"), _flag("--list-sources", "list the adapters and stop"),
          ARCHIVES, _path("--out", "folder of the packed set", required=False),
          _text("--splits", "splits to pack (default: all the source has)", nargs="+"),
          _count("--image-size", "side of the stored squares, pixels", 256),
          _count("--workers", "threads (default: all cores)", None),
          _text("--storage", "pixels, or JPEG files", choices=["raw", "jpeg"], default="raw"),
          _text("--quality", "of the JPEG files, 1 to 100 (default: 95)", type=_quality, default=95),
          _count("--allow-undecodable", "images that may be left out (default: 0)", 0, least=0),
          _text("--download", "base URL for archives that are in no folder; see config/README.md", metavar="URL"),
          _flag("--stand-ins", "the archives only bear official names; compare no hashes"),
          _text("--repacked", "archives that were packed again: compare no hash of theirs", nargs="+", metavar="NAME"),
          _flag("--archive-order", "ILSVRC images as their archives have them, not by label and name"),
          _flag("--plan", "say what it would take, and stop")]),
    Verb("verify", "packed sets -> whether every image and label is what was packed", _verify,
         [_path("data", "folder of a packed set", nargs="+", metavar="DATA")]),
    Verb("configure", "study + experiment + seed -> resolved configuration", partial(_written, resolve.resolve),
         [STUDY, EXPERIMENT, _text("--seed", required=True, type=_not_below_zero), DEFINITIONS, RECORD]),
    Verb("describe", "layer table and totals of an experiment, without training", partial(_written, describe.describe_experiment),
         [STUDY, EXPERIMENT, DEFINITIONS, RECORD]),
    Verb("study", "what the report says about a study", partial(_written, describe.study_record),
         [STUDY, DEFINITIONS, RECORD]),
    Verb("departures", "where the program of 2012 departs from the text", partial(_written, describe.departures),
         [DEFINITIONS, RECORD]),
    Verb("search-rate", "pilot runs of an experiment -> errors by rate, as JSON", partial(_written, tuning.search),
         [STUDY, EXPERIMENT, _path("--results", "results folder"),
          _text("--factors", "on the rates, as tried", type=_time, nargs="+", required=True), DEFINITIONS,
          _path("--out", metavar="FILE.json")]),
    Verb("choose-rates", "what search-rate wrote -> rates.csv among the definitions", tuning.choose,
         [_path("searches", nargs="+", metavar="FILE.json"), STUDY, DEFINITIONS]),
    Verb("fingerprint", "hash of the code that each stage reaches, as records carry it, on standard output",
         partial(_written, fingerprint.of_stages, None), []),
    Verb("preflight", "what a study finds, needs and takes on this machine, on one screen; status 1: something is missing",
         _preflight,
         [_text("study", metavar="STUDY"), ARCHIVES, _path("--results", required=False, default=Path("results")), DEFINITIONS,
          _text("--seconds", "that the training step is timed for (default: 15)", type=_time, default=15.0)]),
    Verb("train", "configuration + packed set -> model.pt, metrics.csv, run.json", _train,
         [CONFIG, DATA, _path("--out", "folder of the run"),
          _path("--start", "weights to start from", required=False, metavar="model.pt"),
          _devices("0: the processor; 1 or auto: a GPU where there is one; 2: one for each tower (without GPUs two "
                   "processes)"),
          _count("--peer-timeout", "seconds that one device waits for the other", 600), THREADS,
          _text("--checkpoint-minutes", "between checkpoints in an epoch (default: 10)", type=_time, default=10.0),
          _count("--checkpoint-steps", "the same in steps; 0: by the clock alone (default)", 0, least=0)]),
    Verb("evaluate", "weights + packed split -> errors and per-image predictions", partial(_evaluate, False),
         [CONFIG, DATA, WEIGHTS, SCORES,
          _text("--split", "split of the set (default: the validation split)", dest="split_name"),
          _flag("--keep-probabilities", "for an ensemble; 8 bytes a class and image"), ONE_DEVICE, THREADS]),
    Verb("examine", "weights + packed set -> first kernels, nearest neighbours, error on training images", partial(_evaluate, True),
         [CONFIG, DATA, WEIGHTS, _path("--out", "folder for examination.json and its tables"),
          _count("--sample", "training images at most (default: 50000)", 50_000),
          _count("--queries", "validation images at most (default: 500)", 500), ONE_DEVICE, THREADS]),
    Verb("ensemble", "probabilities of several nets -> errors of their average", _ensemble,
         [CONFIG, _path("--members", nargs="+", metavar="EVALUATION.json"), SCORES]),
    Verb("export", "finished run -> safetensors, and a card that says what they are and how to run them", _export,
         [_path("folder", "of the run", metavar="RUN"), _path("--out", metavar="FILE.safetensors")]),
    Verb("check-weights", "weights, whoever saved them -> whether they are trained; status 1: only drawn", _check_weights,
         [_path("path", "safetensors, or a file of torch.save", metavar="FILE")]),
    Verb("bench", "ingest, loader and training step against the usual programs, as ratios", _bench,
         [_path("--out", metavar="FILE.csv"), _count("--rounds", "alternations of each pair (default: 5)", 5),
          _count("--threads", "CPU threads (default: all cores)", None),
          _text("--only", "one part (default: all)", choices=["ingest", "loader", "step"]),
          _path("--archives", "folder with full-size images", required=False, action="append")]),
]  # fmt: skip


if __name__ == "__main__":
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115  # where it is closed, as under some schedulers
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # for terminals that are not UTF-8
    sys.exit(main())
