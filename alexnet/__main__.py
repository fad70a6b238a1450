"""Command line of the bench: each verb turns files into files, as the workflow's rules do."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from pathlib import Path

from alexnet.errors import UserError
from alexnet.experiments import describe
from alexnet.runtime import interruption


def _positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise ValueError
    return value


def _natural(text: str) -> int:
    if (value := int(text)) < 0:
        raise ValueError
    return value


def _quality(text: str) -> int:
    if not 1 <= (value := int(text)) <= 100:
        raise ValueError
    return value


def _time(text: str) -> float:
    if not 0 < (value := float(text)) < math.inf:
        raise ValueError
    return value


_time.__name__ = "time above zero"
_quality.__name__ = "number from 1 to 100"
_positive.__name__, _natural.__name__ = "number above zero", "number not below zero"  # as argparse shows them


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m alexnet", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    verb = verbs.add_parser("synthesize", help="write the embedded data set as official-format archives")
    verb.add_argument("--out", type=Path, required=True, help="folder for the archives")
    verb.add_argument("--seed", type=_natural, default=2012)
    verb.add_argument("--classes", type=_positive, default=12)
    verb.add_argument("--train-per-class", type=_positive, default=300)
    verb.add_argument("--val-per-class", type=_positive, default=100)
    verb.add_argument("--pretraining-per-class", type=_natural, default=0, help="a training set of 2010; 0: none")
    verb.add_argument("--test-per-class", type=_positive, default=100)
    verb.add_argument("--image-size", type=_positive, default=96, help="typical shorter side, pixels")
    verb.add_argument("--workers", type=_positive, default=None, help="processes (default: all cores)")

    verb = verbs.add_parser("pack", help="archives -> packed store and manifest.json")
    source = verb.add_mutually_exclusive_group(required=True)
    source.add_argument("--source", help="adapter, see --list-sources")
    source.add_argument("--list-sources", action="store_true", help="list the adapters and stop")
    verb.add_argument("--archives", type=Path, action="append", help="folder of archives; repeat to search several")
    verb.add_argument("--out", type=Path, help="folder of the packed set")
    verb.add_argument("--splits", nargs="+", default=None, help="splits to pack (default: all the source has)")
    verb.add_argument("--image-size", type=_positive, default=256, help="side of the stored squares, pixels")
    verb.add_argument("--workers", type=_positive, default=None, help="threads (default: all cores)")
    verb.add_argument("--storage", choices=["raw", "jpeg"], default="raw", help="pixels, or JPEG files")
    verb.add_argument("--quality", type=_quality, default=95, help="of the JPEG files, 1 to 100 (default: 95)")
    verb.add_argument("--allow-undecodable", type=_natural, default=0, help="images that may be left out (default: 0)")
    verb.add_argument(
        "--download", metavar="URL", help="base URL for archives that are in no folder; see config/README.md"
    )
    verb.add_argument(
        "--stand-ins", action="store_true", help="the archives only bear official names; compare no hashes"
    )
    verb.add_argument(
        "--archive-order", action="store_true", help="ILSVRC images as their archives have them, not by label and name"
    )
    verb.add_argument("--plan", action="store_true", help="say what it would take, and stop")

    for name, text in (
        ("configure", "study + experiment + seed -> resolved configuration"),
        ("describe", "layer table and totals of an experiment, without training"),
        ("study", "what the report says about a study"),
        ("departures", "where the program of 2012 departs from the text"),
    ):
        verb = verbs.add_parser(name, help=text)
        if name != "departures":
            verb.add_argument("--study", required=True)
        if name in ("configure", "describe"):
            verb.add_argument("--experiment", required=True)
        if name == "configure":
            verb.add_argument("--seed", type=_natural, required=True)
        verb.add_argument("--definitions", default="config", help="folder of experiments.yaml and studies/")
        verb.add_argument("--out", type=Path, metavar="FILE.json", help="default: standard output")

    verb = verbs.add_parser("search-rate", help="pilot runs of an experiment -> errors by rate, as JSON")
    verb.add_argument("--study", required=True)
    verb.add_argument("--experiment", required=True)
    verb.add_argument("--results", type=Path, required=True, help="results folder")
    verb.add_argument("--factors", type=_time, nargs="+", required=True, help="on the rates, as tried")
    verb.add_argument("--definitions", default="config", help="folder of experiments.yaml and studies/")
    verb.add_argument("--out", type=Path, required=True, metavar="FILE.json")

    verb = verbs.add_parser("choose-rates", help="what search-rate wrote -> rates.csv among the definitions")
    verb.add_argument("searches", type=Path, nargs="+", metavar="FILE.json")
    verb.add_argument("--study", required=True)
    verb.add_argument("--definitions", default="config", help="folder of experiments.yaml and studies/")
    verbs.add_parser(
        "fingerprint", help="hash of the code that each stage reaches, as records carry it, on standard output"
    )

    verb = verbs.add_parser("train", help="configuration + packed set -> model.pt, metrics.csv, run.json")
    verb.add_argument("config", type=Path, metavar="CONFIG.json")
    verb.add_argument("--data", type=Path, required=True, help="folder of the packed set")
    verb.add_argument("--out", type=Path, required=True, help="folder of the run")
    verb.add_argument("--start", type=Path, default=None, metavar="model.pt", help="weights to start from")
    verb.add_argument(
        "--devices",
        choices=["auto", "0", "1", "2"],
        default="auto",
        help="0: the processor; 1: a GPU where there is one; 2: one for each tower (without GPUs two processes); auto: "
        "two GPUs where there are two, else 1",
    )
    verb.add_argument("--peer-timeout", type=_positive, default=600, help="seconds that one device waits for the other")
    verb.add_argument("--threads", type=_positive, default=None, help="CPU threads (default: the study's)")
    verb.add_argument(
        "--checkpoint-minutes", type=_time, default=10.0, help="between checkpoints in an epoch (default: 10)"
    )
    verb.add_argument(
        "--checkpoint-steps", type=_natural, default=0, help="the same in steps; 0: by the clock alone (default)"
    )

    verb = verbs.add_parser("verify", help="packed sets -> whether every image and label is what was packed")
    verb.add_argument("data", type=Path, nargs="+", metavar="DATA", help="folder of a packed set")

    verb = verbs.add_parser("evaluate", help="weights + packed split -> errors and per-image predictions")
    verb.add_argument("config", type=Path, metavar="CONFIG.json")
    verb.add_argument("--data", type=Path, required=True, help="folder of the packed set")
    verb.add_argument("--weights", type=Path, required=True, metavar="model.pt")
    verb.add_argument("--out", type=Path, required=True, help="folder for <set>-<split>.json and .parquet")
    verb.add_argument("--split", default=None, help="split of the set (default: the validation split)")
    verb.add_argument("--keep-probabilities", action="store_true", help="for an ensemble; 8 bytes a class and image")
    verb.add_argument(
        "--devices", choices=["auto", "0", "1", "2"], default="auto", help="0: the processor; else one GPU if any"
    )
    verb.add_argument("--threads", type=_positive, default=None, help="CPU threads (default: the study's)")

    verb = verbs.add_parser(
        "examine", help="weights + packed set -> first kernels, nearest neighbours, error on training images"
    )
    verb.add_argument("config", type=Path, metavar="CONFIG.json")
    verb.add_argument("--data", type=Path, required=True, help="folder of the packed set")
    verb.add_argument("--weights", type=Path, required=True, metavar="model.pt")
    verb.add_argument("--out", type=Path, required=True, help="folder for examination.json and its tables")
    verb.add_argument("--sample", type=_positive, default=50_000, help="training images at most (default: 50000)")
    verb.add_argument("--queries", type=_positive, default=500, help="validation images at most (default: 500)")
    verb.add_argument(
        "--devices", choices=["auto", "0", "1", "2"], default="auto", help="0: the processor; else one GPU if any"
    )
    verb.add_argument("--threads", type=_positive, default=None, help="CPU threads (default: the study's)")

    verb = verbs.add_parser("ensemble", help="probabilities of several nets -> errors of their average")
    verb.add_argument("config", type=Path, metavar="CONFIG.json")
    verb.add_argument("--members", type=Path, nargs="+", required=True, metavar="EVALUATION.json")
    verb.add_argument("--out", type=Path, required=True, help="folder for <set>-<split>.json and .parquet")

    verb = verbs.add_parser("bench", help="ingest, loader and training step against the usual programs, as ratios")
    verb.add_argument("--out", type=Path, required=True, metavar="FILE.csv")
    verb.add_argument("--rounds", type=_positive, default=5, help="alternations of each pair (default: 5)")
    verb.add_argument("--threads", type=_positive, default=None, help="CPU threads (default: all cores)")
    verb.add_argument("--only", choices=["ingest", "loader", "step"], help="one part (default: all)")
    verb.add_argument("--archives", type=Path, action="append", help="folder with full-size images")
    return parser


def _folders(args: argparse.Namespace) -> list[Path]:
    """Folders of archives: those named, else those of the environment."""
    return args.archives or [Path(f) for f in os.environ.get("ALEXNET_DATA", "").split(os.pathsep) if f]


def _pack(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    from alexnet.archives import sources
    from alexnet.packed import pack

    if args.list_sources:
        print("\n".join(sources.list_sources()))
        return
    folders = _folders(args)
    if not folders or args.out is None:
        parser.error("pack needs --out, and --archives or the variable ALEXNET_DATA")
    missing = sources.missing_archives(args.source, folders, args.splits)
    url = args.download or json.loads(os.environ.get("ALEXNET_DOWNLOADS", "{}")).get(args.source)
    if missing and url and not args.plan:
        from alexnet.archives import download
        from alexnet.archives.credentials import Credentials

        account = Credentials.from_environment() if sources.SOURCES[args.source].account else None
        download.fetch_missing(missing, url, folders[0], account, sys.stderr)
    if args.plan:
        if not args.stand_ins:
            pack.check_first(args.source, folders, args.splits)
        catalogue = sources.open_source(args.source, folders, args.splits)
        print(json.dumps(pack.plan(catalogue, args.out, args.image_size, args.storage), indent=2))
        return
    pack.pack(
        args.source,
        folders,
        args.out,
        splits=args.splits,
        image_size=args.image_size,
        workers=args.workers,
        storage=args.storage,
        quality=args.quality,
        allow_undecodable=args.allow_undecodable,
        stand_ins=args.stand_ins,
        archive_order=args.archive_order,
    )


def _run(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if args.verb == "synthesize":
        from alexnet.synthetic.synthesize import synthesize

        synthesize(
            args.out,
            seed=args.seed,
            classes=args.classes,
            train_per_class=args.train_per_class,
            val_per_class=args.val_per_class,
            test_per_class=args.test_per_class,
            pretraining_per_class=args.pretraining_per_class,
            image_size=args.image_size,
            workers=args.workers,
        )
    elif args.verb == "pack":
        _pack(parser, args)
    elif args.verb == "verify":
        from alexnet.packed.verify import verify

        for folder in args.data:
            print(verify(folder))
    elif args.verb in ("configure", "describe", "study", "departures"):
        from alexnet.experiments import resolve
        from alexnet.runtime.files import write_json

        if args.verb == "configure":
            record = resolve.resolve(args.study, args.experiment, args.seed, args.definitions)
        elif args.verb == "departures":
            record = describe.departures(args.definitions)
        elif args.verb == "study":
            record = describe.study_record(args.study, args.definitions)
        else:
            record = describe.describe_experiment(args.study, args.experiment, args.definitions)
        if args.out:
            write_json(args.out, record)
        else:
            print(json.dumps(record, indent=2))
    elif args.verb == "search-rate":
        from alexnet.experiments import tuning
        from alexnet.runtime import files

        found = tuning.search(args.study, args.experiment, args.results, args.factors, args.definitions)
        files.write_json(args.out, found)
    elif args.verb == "choose-rates":
        from alexnet.experiments import tuning

        searches = [json.loads(path.read_text()) for path in args.searches]
        curves = {search["experiment"]: search["tried"] for search in searches}
        tuning.write_choices(args.study, curves, args.definitions)
    elif args.verb == "fingerprint":
        from alexnet.runtime.fingerprint import STAGES, code_sha256

        print(json.dumps({stage: code_sha256(stage) for stage in STAGES}, indent=2))
    elif args.verb == "train":
        from alexnet.training.state import Cadence
        from alexnet.training.train import train

        cadence = Cadence(args.checkpoint_minutes, args.checkpoint_steps)
        train(args.config, args.data, args.out, args.devices, args.threads, args.start, args.peer_timeout, cadence)
    elif args.verb == "ensemble":
        from alexnet.evaluation.ensemble import ensemble

        ensemble(args.config, args.members, args.out)
    elif args.verb == "examine":
        from alexnet.evaluation.examine import examine
        from alexnet.runtime.gpu_leases import leased

        with leased("0" if args.devices == "0" else "1"):
            examine(
                args.config, args.data, args.weights, args.out, args.devices, args.threads, args.sample, args.queries
            )
    elif args.verb == "bench":
        from alexnet.bench import bench

        bench.bench(args.out, _folders(args), args.rounds, args.threads, args.only)
    else:
        from alexnet.evaluation.evaluate import evaluate
        from alexnet.runtime.gpu_leases import leased

        with leased("0" if args.devices == "0" else "1"):
            evaluate(
                args.config,
                args.data,
                args.weights,
                args.out,
                args.split,
                args.devices,
                args.threads,
                args.keep_probabilities,
            )


def main(argv: list[str] | None = None) -> int:
    """Run one verb. Exit status: 0 done, 2 a mistake the user can mend, 128 + its number after a signal."""
    parser = _parser()
    args = parser.parse_args(argv)
    try:
        interruption.end_with_workflow()
        with interruption.raised():
            _run(parser, args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "out of memory" not in str(error).lower():
            raise
        print("error: out of memory; use a smaller batch or width, or a larger machine", file=sys.stderr)
        return 2
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        print(f"error: {error.strerror or error}{where}", file=sys.stderr)
        return 2
    except interruption.Interrupted as stopped:
        print(stopped, file=sys.stderr)
        return 128 + stopped.number
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
