"""Command line of the analysis: verdict tables, executed notebooks, the report and the simple baselines.

python -m analysis check --results results --out reports/claims.csv
python -m analysis verdicts --results results --group no_lrn
python -m analysis claims --status "cannot tell"
python -m analysis explain lrn-delta-top1
python -m analysis judge --claims claims.csv --measurements measurements.csv --out verdicts
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.errors import UserError

if TYPE_CHECKING:
    from analysis.results.evidence import Results
    from analysis.verdicts.rules import Outcome

Options = argparse.Namespace


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0: done, 1: it is the command's answer, 2: a mistake of the user, told in one sentence."""
    options = _parser().parse_args(arguments)
    try:
        answer: int | None = options.run(options)
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left to print would fail again at exit
        print(f"error: {error.filename or 'standard output'}: {error.strerror or error}", file=sys.stderr)
        return 2
    return answer or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m analysis", description="Numbers in, verdicts out; needs no GPU and no torch."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for verb, about, run, options in VERBS:
        command = commands.add_parser(verb, help=about, description=about[0].upper() + about[1:] + ".")
        command.set_defaults(run=run)
        for name, keywords in options:
            command.add_argument(name, **keywords)
    return parser


def _judged(options: Options) -> list[Outcome]:
    """Outcomes of the asked group; p-values are adjusted over the core claims before the group is chosen."""
    from analysis.paper.claims import load_claims
    from analysis.verdicts.judge import judge_all

    claims = load_claims(options.claims)
    groups = sorted({claim.group for claim in claims} - {""})
    if options.group and options.group not in groups:
        raise UserError(f"unknown group {options.group!r}; the claims have {', '.join(groups)}")
    outcomes = judge_all(claims, _results(options))
    return [outcome for outcome in outcomes if not options.group or outcome.claim.group == options.group]


def _results(options: Options) -> Results:
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


def _check(options: Options) -> None:
    from analysis.verdicts.table import write_table

    write_table(_judged(options), options.out)


def _verdicts(options: Options) -> None:
    from analysis.verdicts.table import lines

    print("\n".join(lines(_judged(options))))


def _claims(options: Options) -> None:
    from analysis.verdicts.explain import claims_lines, with_status

    outcomes = _judged(options)
    print("\n".join(claims_lines(with_status(outcomes, options.status) if options.status else outcomes)))


def _explain(options: Options) -> None:
    from analysis.paper.claims import load_claims
    from analysis.verdicts.explain import explain, find
    from analysis.verdicts.judge import judge, judge_all

    claims = load_claims(options.claims)
    claim = find(claims, options.claim)  # a wrong name is told before results are read
    results = _results(options)
    adjusted = {outcome.claim.id: outcome.p_holm for outcome in judge_all(claims, results)}
    print("\n".join(explain(claim, judge(claim, results), adjusted[claim.id])))


def _effects(options: Options) -> None:
    from analysis.results.evidence import load_results
    from analysis.verdicts.effects import lines

    print("\n".join(lines(load_results(options.results), options.experiment)))


def _race(options: Options) -> None:
    from analysis.measures.races import lines
    from analysis.results.evidence import load_results

    print("\n".join(lines(load_results(options.results), options.race)))


def _choose(options: Options) -> None:
    from analysis.files import write_json
    from analysis.measures.races import chosen
    from analysis.results.evidence import load_results

    write_json(options.out, chosen(load_results(options.results), options.study, options.race))


def _notebook(options: Options) -> None:
    from analysis.report.notebooks import execute

    execute(options.notebook, options.results, options.claims, options.out)


def _report(options: Options) -> None:
    from analysis.report.build import build

    build(options.notebooks, options.claims, options.out, options.results)


def _table(options: Options) -> None:
    from analysis.report import markdown

    markdown.put(options.into, "verdicts", markdown.verdicts(options.claims, options.results))


def _answer(options: Options) -> None:
    from analysis.report import markdown

    found = markdown.answer(options.claims, options.results, options.claims.parent.as_posix())
    for name, parts in found.items():
        markdown.put(options.into, name, parts)


def _departures(options: Options) -> None:
    from analysis.report import markdown

    markdown.put(options.into, "departures", markdown.departures(options.results, options.study))


def _baselines(options: Options) -> None:
    from analysis.files import write_json
    from analysis.measures.baselines import baselines

    write_json(options.out, baselines(options.data, options.train_split, options.test_split))


def _keep(options: Options) -> None:
    from analysis.results.keep import keep

    for sentence in keep(options.results, options.out, options.study, options.add):
        print(f"note: {sentence}", file=sys.stderr)


def _verify(options: Options) -> int:
    """1 if there is a problem."""
    from analysis.results.verify import protect, verify

    if options.protect:
        protect(options.results)
    problems, summary = verify(options.results)
    print("\n".join([*problems, summary]))
    return int(bool(problems))


def _compare(options: Options) -> int:
    """1 if a run that can be compared ended with other weights."""
    from analysis.results import reruns
    from analysis.results.evidence import load_results

    folders = load_results(options.results), load_results(options.published)
    found = reruns.compare(*folders, options.processor)
    print("\n".join(reruns.lines(found)))
    if options.out:
        from analysis.files import write_text
        from analysis.report import comparison

        write_text(options.out, comparison.page(*folders, found))
    if options.record:
        reruns.record([one for one in found if one.comparable], options.published)
    return int(not all(one.same for one in found if one.comparable))


def _rebuild(options: Options) -> None:
    from analysis.report.rebuild import rebuild

    rebuild(options.results, options.out, options.jobs, executed=options.pages)


def _judge(options: Options) -> None:
    from analysis.files import write_text
    from analysis.stats import judge

    if options.minimum < 2:
        raise UserError(f"--minimum {options.minimum}: one run shows no spread; ask for 2 at least")
    found = judge.judge_files(options.claims, options.measurements, options.minimum)
    write_text(options.out / "verdicts.csv", judge.to_csv([verdict for _, verdict in found]))
    write_text(options.out / "report.html", judge.page(found))


def _calibrate(options: Options) -> None:
    from analysis.calibration.record import record

    if options.repeats < 100:
        raise UserError(f"{options.repeats} repeats cannot show a rate of 5 %; ask for 100 at least")
    record(options.out, options.power, options.repeats, options.seed)


# Commands and their options -------------------------------------------------------------------------------------------

Option = tuple[str, dict[str, Any]]


def _option(name: str, metavar: str = "", about: str | None = None, **more: Any) -> Option:
    """A flag without `metavar`; else text, a number where it is N, or a path, which must be named unless `more` says otherwise."""
    if not metavar:
        return name, {"action": "store_true", "help": about}
    path = metavar.startswith(("DIR", "FILE", "NOTEBOOK"))
    kind = {"type": Path if path else int if metavar == "N" else str}
    needed = {"required": True} if path and name.startswith("-") else {}
    return name, {**kind, "metavar": metavar, "help": about, **needed, **more}


RESULTS = _option("--results", "DIR", "results folder")
KEPT = _option("--results", "DIR", "results folder, kept or not")
PARTIAL = _option("--results", "DIR", "results folder; may be half finished")
FOUND = _option("--results", "DIR", f"{PARTIAL[1]['help']} (default: results, if it exists)", required=False)
TABLE = _option("--claims", "FILE.csv", "verdict table that `check` wrote")
DEFINITIONS = _option(
    "--claims", "FILE.csv", "definitions of the claims (default: analysis/claims.csv)", required=False
)
GROUP = _option("--group", "GROUP", "only the claims of this group, such as no_lrn or architecture")
RACE = _option("--race", "NAME", required=True)
HTML = _option("--out", "FILE.html")
JSON = _option("--out", "FILE.json")


def _into(marks: str) -> Option:
    return _option("--into", "FILE.md", f"put it between the {marks} marks of this file instead", required=False)


def _studies(default: str) -> Option:
    return _option("--study", "NAME", default, nargs="+", default=[])


# name, what it does in words, the function that does it, its options
VERBS: list[tuple[str, str, Callable[[Options], int | None], list[Option]]] = [
    ("check", "judge the claims and write the verdict table", _check,
         [DEFINITIONS, PARTIAL, GROUP, _option("--out", "FILE.csv", "verdict table to write")]),
    ("verdicts", "judge the claims and print them, two lines each", _verdicts, [DEFINITIONS, PARTIAL, GROUP]),
    ("claims", "judge the claims and print a table, a line each", _claims,
         [DEFINITIONS, FOUND, GROUP, _option("--status", "VERDICT", "only those with this verdict, such as pending")]),
    ("explain", "print everything that is known about one claim", _explain,
         [_option("claim", "CLAIM_ID", "as in the first column of `claims`"), DEFINITIONS, FOUND]),
    ("effects", "print the effect of an experiment against its baseline, by study", _effects,
         [RESULTS, _option("--experiment", "NAME", required=True)]),
    ("race", "print the epochs of a race by learning rate, and against its baseline", _race, [RESULTS, RACE]),
    ("choose", "write the fastest rate of a race on its first seed as JSON", _choose,
         [RESULTS, _option("--study", "NAME", required=True), RACE, JSON]),
    ("notebook", "execute one notebook into a copy", _notebook,
         [_option("notebook", "NOTEBOOK"), RESULTS, TABLE,
          _option("--out", "FILE.ipynb", "executed copy, written only if every cell ran")]),
    ("report", "merge executed notebooks into one offline HTML file", _report,
         [_option("notebooks", "NOTEBOOK", "executed notebooks in the order of the report", nargs="+"),
          _option("--claims", "FILE.csv", f"{TABLE[1]['help']}; copied beside the report"),
          _option("--results", "DIR", "results folder: runs and data are then named in claims.json and "
                "ro-crate-metadata.json beside the report", required=False), HTML]),
    ("table", "print the verdict table's counts and trained claims as Markdown", _table,
         [TABLE, _into("verdict"),
          _option("--results", "DIR", "results folder: which runs they are is told before the tables", required=False)]),
    ("answer", "print the report's answer and first findings as Markdown", _answer,
         [TABLE, RESULTS, _into("answer and finding")]),
    ("departures", "print recipes and departures of studies as Markdown", _departures,
         [RESULTS, _studies("default: all that have trained two recipes or a departure"), _into("departure")]),
    ("baselines", "errors of two classifiers that see no shapes, on a packed data set", _baselines,
         [_option("--data", "DIR", "packed data set (holds manifest.json)"),
          _option("--train-split", "SPLIT", default="train"), _option("--test-split", "SPLIT", default="val"), JSON]),
    ("keep", "copy results without weights and pictures, to be published", _keep,
         [RESULTS, _studies("only these (default: all)"), _option("--out", "DIR", "small results folder to write"),
          _option("--add", about="what --out holds stays, where its study did not change")]),
    ("verify", "compare hashes, counts and means of results; 1 if something is not as it was", _verify,
         [KEPT, _option("--protect", about="write the MANIFEST.sha256 of results that were kept without")]),
    ("compare", "say which runs of two results folders ended with the same weights, bit for bit", _compare,
         [_option("--results", "DIR", "where runs were trained again"),
          _option("--with", "DIR", "the published results", dest="published"),
          _option("--record", about="note the reruns beside the published results"),
          _option("--out", "FILE.html", "also write a page: verdicts, intervals and runs side by side", required=False),
          _option("--processor", "WORDS", "what they were trained again on, where the name that it gives itself hides "
                "the model (virtual machines)", default="")]),
    ("rebuild", "judge results and build the report from them, training nothing", _rebuild,
         [KEPT, HTML, _option("--jobs", "N", "pages at once (default: 2)", default=2),
          _option("--pages", "DIR", "keep the executed notebooks there", required=False)]),
    ("judge", "judge any table of claims by any table of measurements", _judge,
         [_option("--claims", "FILE.csv", "id, statement, how, arm, baseline, relation, paper, tolerance, unit "
                "(and limit, spread)"),
          _option("--measurements", "FILE.csv", "arm, seed, value, n"),
          _option("--minimum", "N", "fewest runs of each arm, or pairs, for a verdict (default: 3)", default=3),
          _option("--out", "DIR", "gets verdicts.csv and report.html")]),
    ("calibrate", "judge fabricated results of known truth and count wrong verdicts", _calibrate,
         [_option("--out", "FILE.csv", "one row a setting"),
          _option("--power", "FILE.csv", "also: seeds, images and GPU-hours that each claim takes", required=False),
          _option("--repeats", "N", "campaigns a setting", default=2000), _option("--seed", "N", default=2012)]),
]  # fmt: skip


if __name__ == "__main__":
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115  # where it is closed, as under some schedulers
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # for terminals that are not UTF-8
    sys.exit(main())
