"""Races: a training ends after its mark, a loss that is not finite is a result, and rates are chosen without a look at the judges."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import re
import shutil
from pathlib import Path

import fabricate
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.__main__ import main
from analysis.errors import UserError
from analysis.measures import races
from analysis.measures.convergence import Reached, earlier, epochs_to, ratio_of, shown_ratio
from analysis.measures.estimates import NoEstimate
from analysis.report.context import Context
from analysis.report.pages import answer, claims, fig1_races, fig1_sentences
from analysis.results.campaign import sentences
from analysis.results.evidence import COPIES, load_results, shrunken
from analysis.verdicts.table import read_table

RATES = (0.001, 0.002, 0.004)
CAP = 60


def curve(epochs: float, length: int | None = None) -> list[float]:
    """A running training error that crosses 25 % at `epochs`, exactly, and goes on for an epoch."""
    last = length or math.ceil(epochs) + 1
    return [0.25 + 0.02 * (epochs - epoch) for epoch in range(1, last + 1)]


def study(folder: Path, nets: tuple[str, ...] = ("relu", "tanh"), name: str = "cifar10", tried=None, **more) -> None:
    """A study with a race for each net, in one condition; the second is compared with the first."""
    about, found = [], {}
    for net in nets:
        rates = {f"{net}_lr{f'{rate:g}'[2:]}": rate for rate in tried or RATES}
        found[net] = {
            "about": net, "condition": "as published", "baseline": nets[0], "rates": rates,
            "epochs": CAP, "train_error": 0.25, "seeds": [1, 2, 3, 4, 5, 6],
        }  # fmt: skip
        more_about = {"kind": "race", "race": net, "seeds": [1, 2, 3, 4, 5, 6]}
        about += [{"name": name, "baseline": name} | more_about for name in rates]
    fabricate.study(
        folder, name, "paper", threshold=0.25, classes=10, image_size=32, crop=32, epochs=40,
        training_set="cifar10", experiments=about, races=found, data="CIFAR-10",
        fingerprints={a["name"]: {str(s): f"{name}-{a['name']}-{s}" for s in range(1, 7)} for a in about},
        evaluate=[{"set": "cifar10", "split": "test"}], **more,
    )  # fmt: skip


def runs(folder: Path, net: str, epochs: dict[tuple[float, int], float | list[float]], name: str = "cifar10") -> None:
    """Runs by rate and seed; a number is the crossing."""
    for (rate, seed), given in epochs.items():
        errors = given if isinstance(given, list) else curve(given)
        fabricate.run(folder, name, f"{net}_lr{f'{rate:g}'[2:]}", seed, errors, tier="paper")


MEANS = (8.6 * 9.1 * 8.9) ** (1 / 3), (43.0 * 40.0 * 44.5) ** (1 / 3)  # of seeds 2 to 4, and those of 5 and 6
FAST = {(0.001, 1): 12.4, (0.002, 1): 8.3, (0.004, 1): 9.0, (0.002, 2): 8.6, (0.002, 3): 9.1, (0.002, 4): 8.9}
FAST |= {(0.002, 5): MEANS[0], (0.002, 6): MEANS[0]}
SLOW = {
    (0.001, 1): 55.0,
    (0.002, 1): 41.5,
    (0.004, 1): 48.0,
    (0.002, 2): 43.0,
    (0.002, 3): 40.0,
    (0.002, 4): 44.5,
    (0.002, 5): MEANS[1],
    (0.002, 6): MEANS[1],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    study(tmp_path)
    runs(tmp_path, "relu", FAST)
    runs(tmp_path, "tanh", SLOW)
    return tmp_path


def context(folder: Path) -> Context:
    assert main(["check", "--results", str(folder), "--out", str(folder / "claims.csv")]) == 0
    return Context(load_results(folder), read_table(folder / "claims.csv"))


def test_the_rate_is_chosen_on_the_first_seed_and_judged_on_the_others(folder):
    runs(folder, "relu", {(0.004, 2): 2.0})  # far faster, but by a seed that must not choose
    results = load_results(folder)
    record = results.studies["cifar10"]
    choice = races.choose(results, record, "relu")
    assert (choice.experiment, choice.rate, choice.edge, choice.missing) == ("relu_lr002", 0.002, "", 0)
    assert {rate: round(r.epoch, 6) for rate, r in choice.swept.items()} == {0.001: 12.4, 0.002: 8.3, 0.004: 9.0}
    found = races.judged(results, record, "relu")
    assert {seed: pytest.approx(r.epoch) for seed, r in found.items()} == {
        2: 8.6,
        3: 9.1,
        4: 8.9,
        5: pytest.approx(MEANS[0]),
        6: pytest.approx(MEANS[0]),
    }
    estimate = races.ratio(results, record, "tanh", "relu")
    logs = np.log([43.0 / 8.6, 40.0 / 9.1, 44.5 / 8.9, *[MEANS[1] / MEANS[0]] * 2])
    wanted = np.exp(stats.t.interval(0.95, 4, logs.mean(), stats.sem(logs)))
    assert (estimate.low, estimate.high) == pytest.approx(tuple(wanted))
    assert estimate.value == pytest.approx((43.0 * 40.0 * 44.5 / (8.6 * 9.1 * 8.9)) ** (1 / 3))
    assert estimate.conclusive and (estimate.seeds, estimate.baseline_seeds) == (5, 0)
    assert "as published" in estimate.remark and "tanh at rate 0.002" in estimate.remark
    assert " 17 runs of 2 networks, 2 of them at several learning rates, 6 seeds each; " in sentences(results)[0]


def test_a_single_rate_is_given_and_judged_by_all_seeds(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.RATES", (0.002,))
    study(tmp_path)
    runs(tmp_path, "relu", {(0.002, 1): 8.3, (0.002, 2): 8.6, (0.002, 3): 9.1})
    runs(tmp_path, "tanh", {(0.002, 1): 41.5, (0.002, 2): 43.0, (0.002, 3): 40.0})
    results = load_results(tmp_path)
    record = results.studies["cifar10"]
    choice = races.choose(results, record, "tanh")
    assert choice.given and not choice.edge and not choice.missing
    estimate = races.ratio(results, record, "tanh", "relu")
    assert estimate.value == pytest.approx((41.5 * 43.0 * 40.0 / (8.3 * 8.6 * 9.1)) ** (1 / 3))
    assert (estimate.conclusive, estimate.seeds, estimate.few) == (False, 3, 5)  # three pairs carry no word
    html = fig1_races.fig1(context(tmp_path), record)
    assert "3 pairs" in html and "over the learning rate" not in html  # no rates to draw
    assert " 6 runs of 2 networks, 3 seeds each; " in sentences(results)[0]  # neither at several rates


def test_a_finer_grid_gains_what_a_parabola_has_below_the_chosen_rate(folder):
    def gain(*epochs: float | None) -> float | None:
        swept = {
            rate: Reached(60.0 if epoch is None else epoch, epoch is None)
            for rate, epoch in zip((0.001, 0.002, 0.004), epochs, strict=True)
        }
        best = min(reversed(swept), key=lambda rate: (swept[rate].censored, swept[rate].epoch, rate != 0.002))
        return races.finer(races.Choice("r", "r_lr", best, swept, 0))

    x = np.log([0.001, 0.002, 0.004])
    epochs = np.exp(0.3 * (x - math.log(0.0025)) ** 2) * 8  # its lowest point is 8 epochs, between two rates
    assert gain(*epochs) == pytest.approx(8 / epochs[1])
    assert gain(9.0, 8.0, 9.0) == pytest.approx(1) and gain(8.0, 8.0, 8.0) == 1
    assert gain(9.0, 8.0, None) is None and gain(8.0, 9.0, 10.0) is None and gain(None, None, None) is None
    assert main(["check", "--results", str(folder), "--out", str(folder / "claims.csv")]) == 0
    ctx = Context(load_results(folder), read_table(folder / "claims.csv"))
    html = counted_otherwise(ctx)
    gains = []
    for net in (FAST, SLOW):  # the closed form for three points at equal distances
        y = np.log([net[rate, 1] for rate in (0.001, 0.002, 0.004)])
        gains.append(math.exp(-((y[0] - y[2]) ** 2) / (8 * (y[0] - 2 * y[1] + y[2]))))
    change = re.findall(r"<td[^>]*>([^<]*)</td>", html)[2]
    assert float(change.replace("−", "-").removesuffix("\xa0%")) == round(100 * (gains[1] / gains[0] - 1), 1)
    assert "as published" in html


def test_a_finer_grid_looks_at_the_neighbours_of_the_chosen_rate_alone() -> None:
    """Five rates: those beyond the neighbours, censored or not, change nothing; at either end there is no parabola."""
    rates, epochs = (0.001, 0.002, 0.004, 0.008, 0.016), (30.0, 10.0, 8.0, 9.0, 55.0)

    def gain(best: float, *far: Reached) -> float | None:
        swept = dict(zip(rates, map(Reached, epochs, [False] * 5), strict=True)) | dict(
            zip(rates[::4], far, strict=True)
        )
        return races.finer(races.Choice("r", "r_lr", best, swept, 0))

    y = np.log(epochs[1:4])
    expected = math.exp(-((y[0] - y[2]) ** 2) / (8 * (y[0] - 2 * y[1] + y[2])))
    for far in ((Reached(30.0, False), Reached(55.0, False)), (Reached(60.0, True), Reached(60.0, True))):
        assert gain(0.004, *far) == pytest.approx(expected)
        assert gain(0.001, *far) is None and gain(0.016, *far) is None
    y = np.log(epochs[:3])
    assert gain(0.002, Reached(30.0, False), Reached(55.0, False)) == pytest.approx(
        math.exp(-((y[0] - y[2]) ** 2) / (8 * (y[0] - 2 * y[1] + y[2])))
    )


@pytest.mark.parametrize(("rate", "edge"), [(0.001, "smallest"), (0.004, "largest")])
def test_a_fastest_rate_at_the_edge_settles_nothing(folder, rate, edge):
    runs(folder, "tanh", {(rate, seed): 30.0 + 0.5 * seed for seed in range(1, 7)})
    results = load_results(folder)
    record = results.studies["cifar10"]
    assert races.choose(results, record, "tanh").edge == edge
    estimate = races.ratio(results, record, "tanh", "relu")
    assert not estimate.conclusive and f"the {edge} tried" in estimate.remark
    assert estimate.fewest == 5  # enough for a word


def test_a_rate_that_is_not_finished_may_be_the_fastest(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.RATES", (0.0005, *RATES))
    study(tmp_path)
    runs(tmp_path, "relu", FAST | {(0.0005, 1): 20.0})
    runs(tmp_path, "tanh", SLOW)
    results = load_results(tmp_path)
    record = results.studies["cifar10"]
    choice = races.choose(results, record, "tanh")
    assert (choice.rate, choice.edge, choice.missing) == (0.002, "", 1)
    estimate = races.ratio(results, record, "tanh", "relu")
    assert not estimate.conclusive and estimate.fewest == 5
    assert "tanh at rate 0.002; 1 of its rates are not finished" in estimate.remark
    assert estimate.remark.count("not finished") == 1


def test_runs_that_never_get_there_count_with_the_epochs_they_were_given(folder):
    runs(folder, "tanh", {(0.002, 3): [0.9] * CAP, (0.002, 4): [0.9, 0.8, math.nan]})
    results = load_results(folder)
    record = results.studies["cifar10"]
    assert races.judged(results, record, "tanh")[3] == Reached(CAP, True)
    assert races.judged(results, record, "tanh")[4] == Reached(CAP, True)  # diverged: it never gets there either
    estimate = races.ratio(results, record, "tanh", "relu")
    assert estimate.bound == ">=" and estimate.high == math.inf
    above, below = [43.0, CAP, CAP, MEANS[1], MEANS[1]], [8.6, 9.1, 8.9, MEANS[0], MEANS[0]]
    assert estimate.value == pytest.approx(math.exp(np.mean(np.log(above)) - np.mean(np.log(below))))


def test_a_rate_that_diverged_is_not_chosen(folder):
    runs(folder, "tanh", {(0.001, 1): [0.9] * CAP, (0.002, 1): [math.nan], (0.004, 1): [0.9] * (CAP - 1) + [0.5]})
    results = load_results(folder)
    choice = races.choose(results, results.studies["cifar10"], "tanh")
    assert choice.rate == 0.004 and all(reached.censored for reached in choice.swept.values())


def test_over_implementations_the_spread_is_that_between_them(tmp_path):
    """Three nets at chosen rates against one another, and one more at a given rate, which repeats a net and does not count."""
    study(tmp_path, ("relu", "tanh", "soft"))
    runs(tmp_path, "relu", FAST)
    runs(tmp_path, "tanh", SLOW)
    runs(tmp_path, "soft", {key: 1.2 * epochs for key, epochs in FAST.items()})
    results = load_results(tmp_path)
    record = results.studies["cifar10"]
    ratios = races.by_implementation(results, record)
    assert ratios == {"tanh": pytest.approx(MEANS[1] / MEANS[0]), "soft": pytest.approx(1.2)}
    given = {name: race | {"rates": dict([*race["rates"].items()][:1])} for name, race in record.races.items()}
    fixed = dataclasses.replace(record, record=record.record | {"races": record.races | {"soft": given["soft"]}})
    assert set(races.by_implementation(results, fixed)) == {"tanh"}
    logs = np.random.default_rng(4).normal(1, 0.6, 6)
    value, span, predicted = races.over_implementations(np.exp(logs))
    spread = logs.std(ddof=1)
    assert math.log(value) == pytest.approx(logs.mean())
    assert np.log(span) == pytest.approx(stats.t.interval(0.95, 5, logs.mean(), spread / math.sqrt(6)))
    assert np.log(predicted) == pytest.approx(stats.t.interval(0.95, 5, logs.mean(), spread * math.sqrt(7 / 6)))


def test_what_is_missing_is_said(tmp_path):
    study(tmp_path)
    record = load_results(tmp_path).studies["cifar10"]
    with pytest.raises(NoEstimate, match="tanh has no finished run with seed 1"):
        races.choose(load_results(tmp_path), record, "tanh")
    assert races.lines(load_results(tmp_path), "tanh") == ["cifar10: tanh has no finished run with seed 1 yet"]
    assert races.lines(load_results(tmp_path), "none") == ["no study here has a race none"]
    runs(tmp_path, "tanh", {key: value for key, value in SLOW.items() if key[1] == 1 and key[0] > 0.001})
    runs(tmp_path, "relu", FAST)
    results = load_results(tmp_path)
    assert races.choose(results, record, "tanh").missing == 1
    with pytest.raises(NoEstimate, match="tanh_lr002, the fastest rate of tanh, has no run with another seed"):
        races.ratio(results, record, "tanh", "relu")
    assert races.lines(results, "tanh")[-1].startswith(
        "    tanh_lr002, the fastest rate of tanh, has no run with another"
    )
    with pytest.raises(UserError, match="no race 'sigmoid'.*relu, tanh"):
        races.find(results, "cifar10", "sigmoid")


def test_the_choice_is_a_file_and_the_race_a_few_lines(folder, tmp_path, capsys):
    out = tmp_path / "choice.json"
    arguments = ["--results", str(folder), "--race", "tanh"]
    assert main(["choose", *arguments, "--study", "cifar10", "--out", str(out)]) == 0
    record = json.loads(out.read_text())
    assert (record["experiment"], record["rate"]) == ("tanh_lr002", 0.002)
    assert record["epochs"] == {"0.001": pytest.approx(55), "0.002": pytest.approx(41.5), "0.004": pytest.approx(48)}
    assert main(["race", *arguments]) == 0
    printed = capsys.readouterr().out
    assert "0.001: 55.0, 0.002: 41.5, 0.004: 48.0" in printed and "4.79 times the epochs of relu" in printed
    assert "fastest rate 0.002; other seeds: 43.0, 40.0, 44.5, 42.5, 42.5\n" in printed
    assert main(["choose", "--results", str(folder), "--race", "x", "--study", "cifar10", "--out", str(out)]) == 2


def test_the_page_names_conditions_and_the_copy_of_the_data(folder):
    fabricate.manifest(folder, "cifar10", "cifar10", {"train": 500, "test": 100}, classes=10)
    path = folder / "cifar10/data/cifar10/manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"variant": "cifar10-jpeg75"}))
    assert main(["check", "--results", str(folder), "--out", str(folder / "claims.csv")]) == 0
    ctx = Context(load_results(folder), read_table(folder / "claims.csv"))
    html = fig1_races.fig1(ctx, ctx.studies[0])
    assert "running training error on cifar10-jpeg75, by condition" in html
    assert f"CIFAR-10; here cifar10-jpeg75, {COPIES['cifar10-jpeg75']}" in html
    cells = re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", html)
    at = cells.index("as published")
    made_in, *nets = cells[at + 1 : at + 6]
    assert made_in == "fp32" and nets == ["0.002", "8.9", "0.002", "42.5"]  # geometric means of the judged seeds
    assert cells[at + 6].startswith("4.79") and cells[at + 8] == "5 pairs"


def test_a_verdict_on_a_lossy_copy_says_so_wherever_it_stands(tmp_path):
    study(tmp_path, ("fig1_relu_2012", "fig1_tanh_2012"))
    runs(tmp_path, "fig1_relu_2012", {run: 0.8 * epochs for run, epochs in FAST.items()})  # a factor of 6
    runs(tmp_path, "fig1_tanh_2012", SLOW)
    fabricate.manifest(tmp_path, "cifar10", "cifar10", {"train": 500, "test": 100}, classes=10)
    lossless = text_of_all(tmp_path)
    path = tmp_path / "cifar10/data/cifar10/manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"variant": "cifar10-jpeg75"}))
    lossy = text_of_all(tmp_path)
    assert not [part for part in lossless if "lossy copy" in part]
    assert all("lossy copy" in part for part in lossy)


def text_of_all(folder: Path) -> list[str]:
    """The places where the verdict on Fig. 1 stands: the first page twice, the claim's row, the pages that read and show it."""
    ctx = context(folder)
    row = claims.claims(ctx).partition('id="claim-relu-speedup-cifar10"')[2].partition("</article>")[0]
    verdict = row.partition("<h4>")[2].partition("<a ")[0]
    page = fig1_races.fig1(ctx, ctx.studies[0])
    (badge,) = re.findall(r'<span class="verdict .*?</p>|<span class="verdict .*?<p>', page, re.S)
    return [answer.first_screen(ctx), verdict, badge]


def two_conditions(folder: Path, nets: tuple[str, str]) -> None:
    """A study with factors of 6 and 2.4."""
    study(folder, nets)
    runs(folder, nets[0], {run: 0.8 * epochs for run, epochs in FAST.items()})  # a factor of 6
    runs(folder, nets[1], SLOW)
    path = folder / "cifar10/study.json"
    record = json.loads(path.read_text())
    for net, times in zip(("x_relu", "x_tanh"), (1.0, 0.5), strict=True):  # a factor of 2.4
        rates = {f"{net}_lr{f'{rate:g}'[2:]}": rate for rate in RATES}
        record["races"][net] = record["races"][nets[0]] | {
            "about": net,
            "condition": "another",
            "baseline": "x_relu",
            "rates": rates,
        }
        more_about = {"kind": "race", "race": net, "seeds": [1, 2, 3, 4, 5, 6]}
        record["experiments"] += [{"name": n, "baseline": n} | more_about for n in rates]
        record["fingerprints"] |= {n: {str(s): f"cifar10-{n}-{s}" for s in range(1, 7)} for n in rates}
        given = FAST if net == "x_relu" else SLOW
        path.write_text(json.dumps(record))
        runs(folder, net, {run: times * epochs for run, epochs in given.items()})


def test_races_at_a_given_rate_stand_in_for_those_that_a_claim_names(tmp_path):
    """Six pairs of another study decide, and what its conditions gave is said still."""
    named, own = ("fig1_relu_2012", "fig1_tanh_2012"), ("again_relu", "again_tanh")
    two_conditions(tmp_path, named)
    for seed in (5, 6):  # three pairs are left there
        for net in named:
            shutil.rmtree(tmp_path / f"cifar10/runs/{net}_lr002/{seed}")
    study(tmp_path, own, "again", (0.002,), title="CIFAR-10, again", stand_ins=dict(zip(named, own, strict=True)))
    relu, tanh = (8.0, 8.1, 8.2, 7.9, 8.0, 8.1), (46.0, 46.5, 47.0, 46.2, 45.8, 46.9)
    for net, epochs in zip(own, (relu, tanh), strict=True):
        runs(tmp_path, net, {(0.002, seed): of for seed, of in enumerate(epochs, 1)}, "again")
    ctx = context(tmp_path)
    (row,) = (row for row in ctx.table.to_dict("records") if row["id"] == "relu-speedup-cifar10")
    logs = np.log(np.array(tanh) / np.array(relu))
    wanted = np.exp(stats.t.interval(0.95, 5, logs.mean(), stats.sem(logs)))
    assert (float(row["low"]), float(row["high"])) == pytest.approx(tuple(wanted), rel=1e-4)
    assert (row["study"], row["experiment"], row["baseline"]) == ("again", "again_tanh", "again_relu")
    assert row["verdict"].startswith("direction agrees") or row["verdict"] == "replicated"
    assert "the paper specifies none; over 2 the geometric mean is" in row["why"]
    factor = MEANS[1] / MEANS[0]
    assert f"2 conditions gave {factor / 2:.2f} to {factor / 0.8:.2f} times" in fig1_sentences.judged_under(ctx, row)
    story = re.sub(r"<[^>]+>", "", fig1_sentences.story(ctx))
    assert "depending on settings that the paper does not give" in story and "judged here" in story
    first = re.sub(r"<[^>]+>", "", answer.first_screen(ctx))
    assert f"learns depends on the settings: {np.exp(logs.mean()):.2f} times [" in first


def test_the_first_page_says_that_the_factor_depends_on_the_condition(tmp_path):
    two_conditions(tmp_path, ("fig1_relu_2012", "fig1_tanh_2012"))
    ctx = context(tmp_path)
    said = re.sub(r"<[^>]+>", "", answer.first_screen(ctx)).replace("\u00a0", " ")
    factor = MEANS[1] / MEANS[0]
    assert f"learns depends on the settings: {factor / 0.8:.2f} times [" in said
    assert f"{factor / 2:.2f} times in another of 2 conditions" in said
    row = claims.claims(ctx).partition('id="claim-relu-speedup-cifar10"')[2].partition("</article>")[0]
    text = re.sub(r"<[^>]+>", "", row)
    assert "Runs: fig1_tanh_2012_lr002, seeds 1, 2, 3, 4, 5, 6;" in text and "in fp32" in text
    assert "snakemake --cores all fig1_tanh_2012 --config studies=[cifar10] --forcerun" in text
    assert text.count("runs/fig1_tanh_2012_lr002/") == 6
    plain = len(RATES) + 5  # of each race: all rates with the first seed, one with the others
    assert answer.study_line(ctx, ctx.studies[0]).endswith(f"{4 * plain} of {4 * plain} runs finished.")
    assert "4 networks" in answer.study_line(ctx, ctx.studies[0])


def counted_otherwise(ctx: Context) -> str:
    """The table of other ways of counting."""
    return fig1_races.fig1(ctx, ctx.studies[0]).partition("Validation error, tanh")[2].partition("</table>")[0]


def test_crossings_at_the_middle_of_epochs_are_half_an_epoch_earlier(folder):
    results = load_results(folder)
    record = results.studies["cifar10"]
    fast = np.array([8.6, 9.1, 8.9, MEANS[0], MEANS[0]]) - 0.5
    gains = np.log((np.array([43.0, 40.0, 44.5, MEANS[1], MEANS[1]]) - 0.5) / fast)
    half, middle = stats.t.ppf(0.975, 4) * stats.sem(gains), gains.mean()
    numbers = [f"{math.exp(middle + sign * half):.2f}" for sign in (0, -1, 1)]
    said = f"counted at the middle of the epochs instead of their end it is {numbers[0]} [{numbers[1]}, {numbers[2]}]"
    assert said in races.ratio(results, record, "tanh", "relu").remark
    ctx = context(folder)
    html = counted_otherwise(ctx)
    assert f">{numbers[0]}" in html and ">4.79" in html
    assert earlier({1: Reached(0.7, False), 2: Reached(60, True)}) == {1: Reached(0.5, False), 2: Reached(59.5, True)}


def test_two_ratios_are_compared_with_the_noise_of_all_four_nets():
    nets = [[41.0, 44.0, 47.0], [8.0, 9.0, 8.5], [12.0, 13.0, 12.2], [8.1, 7.7, 7.9]]
    sides = [{10 * i + k: Reached(e, False) for k, e in enumerate(net)} for i, net in enumerate(nets)]
    published, other = ratio_of(*sides[:2], "tanh", "relu", "x"), ratio_of(*sides[2:], "tanh", "relu", "x")
    found = races.contrast(other, published)
    logs = np.log(nets)
    middle = logs[2].mean() - logs[3].mean() - logs[0].mean() + logs[1].mean()
    half = stats.t.ppf(0.975, 2) * math.sqrt(sum(log.var(ddof=1) / 3 for log in logs))
    assert (found.value, found.low, found.high) == pytest.approx(
        tuple(math.exp(middle + sign * half) for sign in (0, -1, 1))
    )
    assert (
        found.conclusive and (found.remark, found.null) == ("", 1) and races.contrast(published, published).value == 1
    )


def test_a_bound_makes_a_bound_and_two_to_the_same_side_say_nothing():
    fast = {11 + i: Reached(e, False) for i, e in enumerate((8.0, 9.0, 8.5))}
    slow = {i: Reached(e, False) for i, e in enumerate((41.0, 44.0, 47.0))}
    never = {i: Reached(60.0, True) for i in range(3)}
    known, least = ratio_of(slow, fast, "tanh", "relu", "x"), ratio_of(never, fast, "tanh", "relu", "x")
    over, under = races.contrast(least, known), races.contrast(known, least)
    assert (over.bound, over.high) == (">=", math.inf) and over.low > 1
    assert (under.bound, under.low) == ("<=", 0.0) and under.high < 1
    assert not races.contrast(least, least).conclusive
    open_ = dataclasses.replace(known, conclusive=False)
    assert not races.contrast(open_, known).conclusive and not races.contrast(known, open_).conclusive
    few = races.contrast(dataclasses.replace(open_, few=5), known)
    assert (few.few, few.conclusive) == (5, False)
    assert few.remark == "too few pairs of seeds for a verdict: 3, where 5 are the fewest"


@pytest.mark.parametrize(
    ("times", "words"), [(4.5, "no difference"), (1.2, "tanh loses less than in"), (14.0, "tanh loses more than in")]
)
def test_the_page_says_what_a_condition_changes(tmp_path, times, words, capsys):
    nets = ("fig1_relu_2012", "fig1_tanh_2012")
    study(tmp_path, nets)
    path = tmp_path / "cifar10/study.json"
    record = json.loads(path.read_text())
    for net in nets:
        rates = {f"pool_{name}": rate for name, rate in record["races"][net]["rates"].items()}
        record["races"][f"pool_{net}"] = record["races"][net] | {
            "condition": "another pooling", "baseline": f"pool_{nets[0]}", "rates": rates
        }  # fmt: skip
        record["experiments"] += [
            {"name": name, "kind": "race", "baseline": name, "race": f"pool_{net}"} for name in rates
        ]
        record["fingerprints"] |= {name: {str(s): f"cifar10-{name}-{s}" for s in range(1, 7)} for name in rates}
    path.write_text(json.dumps(record))
    for prefix, scale in (("", 1.0), ("pool_", times / 4.79)):
        runs(tmp_path, f"{prefix}{nets[0]}", FAST)
        runs(tmp_path, f"{prefix}{nets[1]}", {key: epochs * scale for key, epochs in SLOW.items()})
    assert main(["check", "--results", str(tmp_path), "--out", str(tmp_path / "claims.csv")]) == 0
    ctx = Context(load_results(tmp_path), read_table(tmp_path / "claims.csv"))
    html = fig1_races.fig1(ctx, ctx.studies[0])
    row = html.partition("What the choices change")[2].partition("another pooling")[2].partition("</tr>")[0]
    assert words in row
    cells = re.findall(r'<td data-label="[^"]*" class="number">([^<]*)</td>', row)
    assert cells[:3] == ["1.00", *[f"{times / 4.79:.2f}"] * 2]  # the ReLU nets are the same
    low, high = sorted((times, 4.79))
    under = f"as published; 2 conditions gave {low:.2f} to {high:.2f} times"
    row = claims.claims(ctx).partition('id="claim-relu-speedup-cifar10"')[2].partition("</article>")[0]
    assert f"Here: {under}." in row
    told = str(fig1_sentences.story(ctx))
    assert f"{low:.2f} to {high:.2f} times the epochs of ReLU" in told
    fastest = "another pooling" if times > 4.79 else "as published"
    assert f"tanh takes {high:.2f} times the epochs under “{fastest}”" in told
    assert "The interval includes six in 0 of 2 conditions" in told  # the intervals are narrow
    assert "Of 2 conditions with a verdict, 2 show tanh slower." in told and f"{words[0].upper()}{words[1:]}" in told
    capsys.readouterr()
    assert main(["table", "--claims", str(tmp_path / "claims.csv"), "--results", str(tmp_path)]) == 0
    assert f"(`relu-speedup-cifar10`); here: {under} |" in capsys.readouterr().out


def test_the_ratio_at_other_marks_is_that_of_the_epochs_to_them(folder):
    ctx = context(folder)
    html = counted_otherwise(ctx)
    curves = ctx.results.curves("cifar10", "tanh_lr002"), ctx.results.curves("cifar10", "relu_lr002")
    wanted = []
    for mark in (0.5, 0.45, 0.4, 0.35, 0.3, 0.25):
        logs = []
        for side in curves:
            tables = [side[seed] for seed in (2, 3, 4, 5, 6)]
            # the errors fall, so epochs interpolate over errors the other way round
            logs.append(
                [math.log(np.interp(-mark, -t["train_error"].to_numpy(), t["epoch"].to_numpy())) for t in tables]
            )
        wanted.append(f"{math.exp(np.mean(logs[0]) - np.mean(logs[1])):.2f}")
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", html)
    assert cells[3:8] == wanted[:5] and cells[0] == wanted[5] == "4.79"
    for cell, side in zip(cells[8:10], curves[::-1], strict=True):
        ends = [float(side[s].loc[side[s]["train_error"] <= 0.25, "validation_error"].iloc[0]) for s in (2, 3, 4, 5, 6)]
        assert cell.replace("\xa0", " ") == f"{100 * np.mean(ends):.1f} %"


def test_a_mark_that_nobody_or_one_side_reached_is_a_dash_or_a_bound():
    def net(*errors: float) -> pd.DataFrame:
        return pd.DataFrame({"epoch": range(1, len(errors) + 1), "train_error": errors})

    def shown(above: pd.DataFrame, below: pd.DataFrame, mark: float, cap: int | None = None) -> str:
        sides = (
            [epochs_to(curve, mark) if cap is None else races.reached(curve, mark, cap)] for curve in (above, below)
        )
        return shown_ratio(*sides)

    fast, slow = net(0.6, 0.4, 0.2), net(0.7, 0.6, 0.5, 0.45)
    assert shown(slow, fast, 0.5) == "2.00" and shown(slow, fast, 0.2) == "≥ 1.33"
    assert shown(slow, fast, 0.2, cap=60) == "≥ 20.00" and shown(fast, slow, 0.2, cap=60) == "≤ 0.05"
    assert shown(slow, fast, 0.1) == "–"


def test_the_conditions_stand_in_markdown_too(folder, capsys):
    assert main(["check", "--results", str(folder), "--out", str(folder / "claims.csv")]) == 0
    capsys.readouterr()
    assert main(["table", "--claims", str(folder / "claims.csv"), "--results", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "Epochs to 25 % running training error on cifar10, by condition:\n\n| Condition |" in printed
    (row,) = [line for line in printed.splitlines() if line.startswith("| as published |")]
    assert row.startswith("| as published | fp32 | 0.002 | 8.9 | 0.002 | 42.5 | 4.79 ")


def test_cifar10_at_its_own_size_is_paper_scale_and_shorter_nets_are_not(tmp_path):
    record = {"training_set": "cifar10", "width": 1, "image_size": 32, "crop": 24, "classes": 10, "epochs": 40}
    assert shrunken(record) == ""
    assert shrunken(record | {"width": 0.5}) == "width 0.5"
    assert shrunken(record | {"training_set": "ilsvrc2010"}) != ""
    study(tmp_path)
    path = tmp_path / "cifar10/study.json"
    about = json.loads(path.read_text())
    about["experiments"][0]["epochs"] = [40, 160]
    path.write_text(json.dumps(about))
    found = load_results(tmp_path).studies["cifar10"]
    assert found.tier == "paper"
    assert found.shortened("relu_lr001") == "relu_lr001 trained 40 of 160 epochs"
    assert found.shortened("relu_lr002") == ""


# Training -----------------------------------------------------------------------------------------------------------


def trained(configure, packed_set, out: Path, change) -> tuple[pd.DataFrame, dict]:
    from alexnet.training.train import train

    config = configure("alexnet", change=change)
    train(config, packed_set, out, "0", 1)
    assert not (out / "failed.json").exists() and not (out / "checkpoint").exists()
    return pd.read_csv(out / "metrics.csv"), json.loads((out / "run.json").read_text())


def test_a_training_ends_an_epoch_after_its_mark(configure, packed_set, tmp_path):
    def change(config):
        config["training"]["epochs"] = 5
        config["optimizer"]["stop_at"] = {"train_error": 0.999, "more_epochs": 1}

    table, record = trained(configure, packed_set, tmp_path / "run", change)
    first = int((table["train_error"] <= 0.999).idxmax())
    assert len(table) == first + 2 == record["epochs"] < 5
    assert "diverged" not in record


def test_a_loss_that_is_not_finite_is_the_result_of_a_race(configure, packed_set, tmp_path, capsys):
    def change(config):
        config["training"]["epochs"] = 3
        config["optimizer"]["stop_at"] = {"train_error": 0.01, "more_epochs": 1}
        config["optimizer"]["schedule"] = {
            "rule": "stages", "epochs": 1, "stages": [{"until": 1, "weights": 1e20, "biases": 1e20}],
        }  # fmt: skip

    table, record = trained(configure, packed_set, tmp_path / "run", change)
    assert record["diverged"] is True and len(table) == record["epochs"] <= 3
    assert "in a race or a pilot that is a result" in capsys.readouterr().err
    assert math.isnan(table["train_error"].iloc[-1]) and record["final"]["train_error"] is None
    rows = list(csv.DictReader(open(tmp_path / "run/metrics.csv")))
    assert rows[-1]["learning_rate"] == "1e+20"
    assert not races.reached(table, 0.25, 100).epoch < 100 and races.reached(table, 0.25, 100).censored
