"""Command line of the analysis: verdict tables, executed notebooks, the report and the simple baselines.

python -m analysis check --results results --out reports/claims.csv
python -m analysis verdicts --results results --group no_lrn
python -m analysis claims --status "cannot tell"
python -m analysis explain lrn-delta-top1
python -m analysis judge --claims claims.csv --measurements measurements.csv --out verdicts
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.errors import UserError

if TYPE_CHECKING:
    from analysis.results.evidence import Results
    from analysis.verdicts.rules import Outcome


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0: done, 1: it is the command's answer, 2: a mistake of the user, told in one sentence."""
    options = _parser().parse_args(arguments)
    try:
        answer: int | None = options.run(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    return answer or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m analysis", description="Numbers in, verdicts out; needs no GPU and no torch."
    )
    verbs = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    check = _verb(verbs, "check", _check, "judge the claims and write the verdict table")
    _claims_and_results(check)
    check.add_argument("--group", help="only the claims of this group, such as no_lrn or architecture")
    check.add_argument("--out", type=Path, required=True, metavar="FILE.csv", help="verdict table to write")

    verdicts = _verb(verbs, "verdicts", _verdicts, "judge the claims and print them, two lines each")
    _claims_and_results(verdicts)
    verdicts.add_argument("--group", help="only the claims of this group")

    listing = _verb(verbs, "claims", _claims, "judge the claims and print a table, a line each")
    _claims_and_results(listing, required=False)
    listing.add_argument("--group", help="only the claims of this group, such as no_lrn or architecture")
    listing.add_argument("--status", metavar="VERDICT", help="only those with this verdict, such as pending")

    one = _verb(verbs, "explain", _explain, "print everything that is known about one claim")
    one.add_argument("claim", metavar="CLAIM_ID", help="as in the first column of `claims`")
    _claims_and_results(one, required=False)

    effect = _verb(verbs, "effects", _effects, "print the effect of an experiment against its baseline, by study")
    effect.add_argument("--results", type=Path, required=True, metavar="DIR", help="results folder")
    effect.add_argument("--experiment", required=True, metavar="NAME")

    race = _verb(verbs, "race", _race, "print the epochs of a race by learning rate, and against its baseline")
    race.add_argument("--results", type=Path, required=True, metavar="DIR", help="results folder")
    race.add_argument("--race", required=True, metavar="NAME")

    choose = _verb(verbs, "choose", _choose, "write the fastest rate of a race on its first seed as JSON")
    choose.add_argument("--results", type=Path, required=True, metavar="DIR", help="results folder")
    choose.add_argument("--study", required=True, metavar="NAME")
    choose.add_argument("--race", required=True, metavar="NAME")
    choose.add_argument("--out", type=Path, required=True, metavar="FILE.json")

    notebook = _verb(verbs, "notebook", _notebook, "execute one notebook into a copy")
    notebook.add_argument("notebook", type=Path, metavar="NOTEBOOK")
    notebook.add_argument("--results", type=Path, required=True, metavar="DIR", help="results folder")
    notebook.add_argument(
        "--claims", type=Path, required=True, metavar="FILE.csv", help="verdict table that `check` wrote"
    )
    notebook.add_argument(
        "--out", type=Path, required=True, metavar="FILE.ipynb", help="executed copy, written only if every cell ran"
    )

    report = _verb(verbs, "report", _report, "merge executed notebooks into one offline HTML file")
    report.add_argument(
        "notebooks", type=Path, nargs="+", metavar="NOTEBOOK", help="executed notebooks in the order of the report"
    )
    report.add_argument(
        "--claims",
        type=Path,
        required=True,
        metavar="FILE.csv",
        help="verdict table that `check` wrote; copied beside the report",
    )
    report.add_argument(
        "--results",
        type=Path,
        metavar="DIR",
        help="results folder: runs and data are then named in claims.json and ro-crate-metadata.json beside the report",
    )
    report.add_argument("--out", type=Path, required=True, metavar="FILE.html")

    listed = _verb(verbs, "table", _table, "print the verdict table's counts and trained claims as Markdown")
    listed.add_argument(
        "--claims", type=Path, required=True, metavar="FILE.csv", help="verdict table that `check` wrote"
    )

    listed.add_argument(
        "--into", type=Path, metavar="FILE.md", help="put it between the verdict marks of this file instead"
    )

    listed.add_argument(
        "--results", type=Path, metavar="DIR", help="results folder: which runs they are is told before the tables"
    )

    departed = _verb(verbs, "departures", _departures, "print recipes and departures of studies as Markdown")
    departed.add_argument("--results", type=Path, required=True, metavar="DIR", help="results folder")
    departed.add_argument(
        "--study",
        nargs="+",
        default=[],
        metavar="NAME",
        help="default: all that have trained two recipes or a departure",
    )
    departed.add_argument(
        "--into", type=Path, metavar="FILE.md", help="put it between the departure marks of this file instead"
    )

    simple = _verb(verbs, "baselines", _baselines, "errors of two classifiers that see no shapes, on a packed data set")
    simple.add_argument("--data", type=Path, required=True, metavar="DIR", help="packed data set (holds manifest.json)")
    simple.add_argument("--train-split", default="train", metavar="SPLIT")
    simple.add_argument("--test-split", default="val", metavar="SPLIT")
    simple.add_argument("--out", type=Path, required=True, metavar="FILE.json")

    kept = _verb(verbs, "keep", _keep, "copy results without weights and pictures, to be published")
    kept.add_argument("--results", type=Path, required=True, metavar="DIR", help="results folder")
    kept.add_argument("--study", nargs="+", default=[], metavar="NAME", help="only these (default: all)")
    kept.add_argument("--out", type=Path, required=True, metavar="DIR", help="small results folder to write")
    kept.add_argument("--add", action="store_true", help="what --out holds stays, where its study did not change")

    verified = _verb(
        verbs, "verify", _verify, "compare hashes, counts and means of results; 1 if something is not as it was"
    )
    verified.add_argument("--results", type=Path, required=True, metavar="DIR", help="results folder, kept or not")
    verified.add_argument(
        "--protect", action="store_true", help="write the MANIFEST.sha256 of results that were kept without"
    )

    compared = _verb(
        verbs, "compare", _compare, "say which runs of two results folders ended with the same weights, bit for bit"
    )
    compared.add_argument("--results", type=Path, required=True, metavar="DIR", help="where runs were trained again")
    compared.add_argument(
        "--with", dest="published", type=Path, required=True, metavar="DIR", help="the published results"
    )
    compared.add_argument("--record", action="store_true", help="note the reruns beside the published results")
    compared.add_argument(
        "--processor",
        default="",
        metavar="WORDS",
        help="what they were trained again on, where the name that it gives itself hides the model (virtual machines)",
    )

    again = _verb(verbs, "rebuild", _rebuild, "judge results and build the report from them, training nothing")
    again.add_argument("--results", type=Path, required=True, metavar="DIR", help="results folder, kept or not")
    again.add_argument("--out", type=Path, required=True, metavar="FILE.html")
    again.add_argument("--jobs", type=int, default=2, metavar="N", help="pages at once (default: 2)")
    again.add_argument("--pages", type=Path, metavar="DIR", help="keep the executed notebooks there")

    judged = _verb(verbs, "judge", _judge, "judge any table of claims by any table of measurements")
    judged.add_argument(
        "--claims",
        type=Path,
        required=True,
        metavar="FILE.csv",
        help="id, statement, how, arm, baseline, relation, paper, tolerance, unit (and limit, spread)",
    )
    judged.add_argument("--measurements", type=Path, required=True, metavar="FILE.csv", help="arm, seed, value, n")
    judged.add_argument(
        "--minimum", type=int, default=3, metavar="N", help="fewest runs of each arm, or pairs, for a word (default: 3)"
    )
    judged.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets verdicts.csv and report.html")

    calibrate = _verb(
        verbs, "calibrate", _calibrate, "judge fabricated results of known truth and count wrong verdicts"
    )
    calibrate.add_argument("--out", type=Path, required=True, metavar="FILE.csv", help="one row a setting")
    calibrate.add_argument(
        "--power", type=Path, metavar="FILE.csv", help="also: seeds, images and GPU-hours that each claim takes"
    )
    calibrate.add_argument("--repeats", type=int, default=2000, metavar="N", help="campaigns a setting")
    calibrate.add_argument("--seed", type=int, default=2012)
    return parser


def _verb(verbs, name: str, run, about: str) -> argparse.ArgumentParser:  # type: ignore[no-untyped-def]
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".")
    parser.set_defaults(run=run)
    return parser


def _claims_and_results(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Options of all verbs that judge; where `results` is not required it is the folder of that name, if there is one."""
    parser.add_argument(
        "--claims", type=Path, metavar="FILE.csv", help="definitions of the claims (default: analysis/claims.csv)"
    )
    default = "" if required else " (default: results, if it exists)"
    parser.add_argument(
        "--results", type=Path, required=required, metavar="DIR", help=f"results folder; may be half finished{default}"
    )


def _judged(options: argparse.Namespace) -> list[Outcome]:
    """Outcomes of the asked group; p-values are adjusted over the core claims before the group is chosen."""
    from analysis.paper.claims import CLAIMS, load_claims
    from analysis.verdicts.judge import judge_all

    claims = load_claims(options.claims or CLAIMS)
    groups = sorted({claim.group for claim in claims} - {""})
    if options.group and options.group not in groups:
        raise UserError(f"unknown group {options.group!r}; the claims have {', '.join(groups)}")
    results = _results(options)
    outcomes = judge_all(claims, results)
    return [outcome for outcome in outcomes if not options.group or outcome.claim.group == options.group]


def _results(options: argparse.Namespace) -> Results:
    """What the results folder holds; nothing where none is named and there is no folder `results`."""
    import tempfile

    from analysis.results.evidence import load_results

    folder = options.results or Path("results")
    if not options.results and not folder.is_dir():
        print("no results here yet: everything that needs a run is pending", file=sys.stderr)
        with tempfile.TemporaryDirectory() as nothing:
            return load_results(Path(nothing))
    results = load_results(folder)
    for sentence in results.set_aside:
        print(f"not used: {sentence}", file=sys.stderr)
    return results


def _check(options: argparse.Namespace) -> None:
    from analysis.verdicts.table import write_table

    write_table(_judged(options), options.out)


def _verdicts(options: argparse.Namespace) -> None:
    from analysis.verdicts.table import lines

    print("\n".join(lines(_judged(options))))


def _claims(options: argparse.Namespace) -> None:
    from analysis.verdicts.explain import claims_lines, with_status

    outcomes = _judged(options)
    print("\n".join(claims_lines(with_status(outcomes, options.status) if options.status else outcomes)))


def _explain(options: argparse.Namespace) -> None:
    from analysis.paper.claims import CLAIMS, load_claims
    from analysis.verdicts.explain import explain, find
    from analysis.verdicts.judge import judge, judge_all

    claims = load_claims(options.claims or CLAIMS)
    claim = find(claims, options.claim)  # a wrong name is told before results are read
    results = _results(options)
    adjusted = {outcome.claim.id: outcome.p_holm for outcome in judge_all(claims, results)}
    print("\n".join(explain(claim, judge(claim, results), adjusted[claim.id])))


def _effects(options: argparse.Namespace) -> None:
    from analysis.results.evidence import load_results
    from analysis.verdicts.effects import lines

    print("\n".join(lines(load_results(options.results), options.experiment)))


def _race(options: argparse.Namespace) -> None:
    from analysis.measures.races import lines
    from analysis.results.evidence import load_results

    print("\n".join(lines(load_results(options.results), options.race)))


def _choose(options: argparse.Namespace) -> None:
    import json

    from analysis.files import write_text
    from analysis.measures.estimates import NoEstimate
    from analysis.measures.races import choose, find
    from analysis.results.evidence import load_results

    results = load_results(options.results)
    study = find(results, options.study, options.race)
    try:
        choice = choose(results, study, options.race)
    except NoEstimate as reason:
        raise UserError(str(reason)) from None
    record = {
        "race": choice.race,
        "experiment": choice.experiment,
        "rate": choice.rate,
        "edge": choice.edge,
        "epochs": {f"{rate:g}": None if r.censored else r.epoch for rate, r in choice.swept.items()},
    }
    write_text(options.out, json.dumps(record, indent=2) + "\n")


def _notebook(options: argparse.Namespace) -> None:
    from analysis.report.notebooks import execute

    execute(options.notebook, options.results, options.claims, options.out)


def _report(options: argparse.Namespace) -> None:
    from analysis.report.build import build

    build(options.notebooks, options.claims, options.out, options.results)


def _table(options: argparse.Namespace) -> None:
    from analysis.files import write_between
    from analysis.report.context import Context
    from analysis.results.campaign import sentences
    from analysis.results.evidence import load_results
    from analysis.verdicts.table import markdown, read_table

    verdicts = read_table(options.claims)
    parts = []
    if options.results:
        from analysis.report.pages import fig1_races, fig1_sentences

        ctx = Context(load_results(options.results), verdicts)
        rows = verdicts.to_dict("records")
        conditions = {row["id"]: fig1_sentences.judged_under(ctx, row) for row in rows}
        raced = (fig1_races.markdown(ctx, study) for study in ctx.studies if study.races)
        parts = ["\n".join(sentences(ctx.results)), markdown(verdicts, conditions), *filter(None, raced)]
    text = "\n\n".join(parts or [markdown(verdicts)])
    if options.into:
        write_between(options.into, "<!-- verdicts:start -->", "<!-- verdicts:end -->", text)
    else:
        print(text)


def _departures(options: argparse.Namespace) -> None:
    import pandas as pd

    from analysis.files import write_between
    from analysis.report.context import Context
    from analysis.report.pages.departure_tables import compares, markdown
    from analysis.results.evidence import load_results

    results = load_results(options.results)
    for name in options.study:
        if name not in results.studies:
            raise UserError(f"{options.results} has no study {name!r}; it has {', '.join(results.studies)}")
    ctx = Context(results, pd.DataFrame())
    names = options.study or [study.name for study in ctx.studies if compares(ctx, study)]
    text = "\n\n".join(markdown(ctx, results.studies[name]) for name in names)
    if options.into:
        write_between(options.into, "<!-- departures:start -->", "<!-- departures:end -->", text)
    else:
        print(text)


def _baselines(options: argparse.Namespace) -> None:
    import json

    from analysis.files import write_text
    from analysis.measures.baselines import baselines

    record = baselines(options.data, options.train_split, options.test_split)
    write_text(options.out, json.dumps(record, indent=2) + "\n")


def _keep(options: argparse.Namespace) -> None:
    from analysis.results.keep import keep

    for sentence in keep(options.results, options.out, options.study, options.add):
        print(f"note: {sentence}", file=sys.stderr)


def _verify(options: argparse.Namespace) -> int:
    """1 if there is a problem."""
    from analysis.results.verify import protect, verify

    if options.protect:
        protect(options.results)
    found = verify(options.results)
    print("\n".join([*found.problems, found.summary]))
    return int(bool(found.problems))


def _compare(options: argparse.Namespace) -> int:
    """1 if a run that can be compared ended with other weights."""
    from analysis.results import reruns
    from analysis.results.evidence import load_results

    folders = load_results(options.results), load_results(options.published)
    found = reruns.compare(*folders, options.processor)
    print("\n".join(reruns.lines(found)))
    if options.record:
        reruns.record([one for one in found if one.comparable], options.published)
    return int(not all(one.same for one in found if one.comparable))


def _rebuild(options: argparse.Namespace) -> None:
    from analysis.report.rebuild import rebuild

    rebuild(options.results, options.out, options.jobs, executed=options.pages)


def _judge(options: argparse.Namespace) -> None:
    from analysis.files import write_text
    from analysis.stats import judge, pages
    from analysis.stats.tables import TableError

    if options.minimum < 2:
        raise UserError(f"--minimum {options.minimum}: one run shows no spread; ask for 2 at least")
    try:
        found = judge.judge_files(options.claims, options.measurements, options.minimum)
    except TableError as error:
        raise UserError(str(error)) from None
    write_text(options.out / "verdicts.csv", judge.to_csv([verdict for _, verdict in found]))
    write_text(options.out / "report.html", pages.page(found))


def _calibrate(options: argparse.Namespace) -> None:
    from analysis.calibration.record import record

    if options.repeats < 100:
        raise UserError(f"{options.repeats} repeats cannot show a rate of 5 %; ask for 100 at least")
    record(options.out, options.power, options.repeats, options.seed)


if __name__ == "__main__":
    sys.exit(main())
