"""Pages that stay readable with many experiments: what is shown, what is folded, and why rates changed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import fabricate
import pytest

from analysis.__main__ import main
from analysis.report import page
from analysis.report.context import Context
from analysis.report.names import plain_name
from analysis.report.pages import architecture, calibration, departure_tables, provenance, training
from analysis.results.evidence import load_results
from analysis.verdicts import effects
from analysis.verdicts.table import read_table


@pytest.fixture(scope="module")
def ctx(tmp_path_factory: pytest.TempPathFactory) -> Context:
    folder = tmp_path_factory.mktemp("pages")
    fabricate.campaign(folder, images=120)
    fabricate.describes(folder)
    assert main(["check", "--results", str(folder), "--out", str(folder / "claims.csv")]) == 0
    return Context(load_results(folder), read_table(folder / "claims.csv"))


def split_folds(html: str) -> tuple[str, list[str]]:
    """What stands open on a page, and what is folded away."""
    return re.sub(r"<details>.*?</details>", "", html, flags=re.S), re.findall(r"<details>.*?</details>", html, re.S)


def test_training_draws_ablations_and_folds_the_tables(ctx: Context) -> None:
    shown, (rates, errors) = split_folds(training.training(ctx))
    for name in ("alexnet", "no_dropout", "ensemble", "paper", "text_weight_std", "lrn_within_channel"):
        assert f'<th scope="row">{name}</th>' in errors and f'<th scope="row">{name}</th>' not in shown
    drawn = set(re.findall(r">([A-Za-z ]+)</text>", shown))
    assert "Without dropout" in drawn and not {"Printed text, literally", "text weight std"} & drawn
    cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", rates)
    assert cells[6:] == ["1", "0.01", "0.02", "conv1 weights 0", "on", "stage 1 of 1"]


def test_views_are_drawn_where_nets_are_compared(ctx: Context) -> None:
    shown, _ = split_folds(training.training(ctx))
    spoken = re.findall(
        r'aria-label="Top-1 error in training, with one view and with ten: ([^"]*)"', shown.replace("\xa0", " ")
    )[0]
    drawn = dict(re.findall(r"([^;]+?) [\d.]+, [\d.]+ and ([\d.]+) %(?:; )?", spoken))
    e = ctx.results.evals
    there = e[(e["set"] == "ilsvrc2012") & (e["split"] == "val") & (e["view"] == "ten")]
    mean = 100 * there.groupby("experiment")["top1_error"].mean()
    compared = {name for name in mean.index if fabricate.ABOUT[name]["kind"] in ("base", "ablation")} - {"ensemble"}
    assert drawn == {plain_name(name): f"{mean[name]:.1f}" for name in compared} and len(drawn) > 5


def test_every_ablation_is_a_row_once(ctx: Context) -> None:
    shown, folds = split_folds(training.ablations(ctx))
    (spoken,) = set(re.findall(r'role="img" aria-label="([^"]*)"', shown))
    claimed = [o for o in ctx.outcomes(ctx.studies[0], {"difference", "view_gain"}) if o.claim.metric == "top1_error"]
    assert all(f"{training.part_name(o)}: {o.ours:.2f} from {o.low:.2f} to {o.high:.2f}" in spoken for o in claimed)
    pairs = {(o.claim.experiment, o.claim.baseline) for o in claimed}
    names = [
        name for name, about in fabricate.ABOUT.items() if about["kind"] == "ablation" and name in fabricate.TRUE_ERROR
    ]
    rest = [name for name in names if (name, "alexnet") not in pairs]
    assert rest and all(f"{plain_name(name)}: " in spoken for name in rest)
    assert len(spoken.split("; ")) == len(claimed) + len(rest)
    assert "gpu-delta-top5" in folds[0] and all(f'scope="row">{name}<' in folds[1] for name in rest)


def test_a_run_without_recorded_rates_shows_none(ctx: Context, tmp_path: Path) -> None:
    fabricate.campaign(tmp_path, seeds=1, images=24)
    for path in tmp_path.glob("demo/runs/*/*/run.json"):
        record = json.loads(path.read_text())
        del record["rate_changes"]
        path.write_text(json.dumps(record))
    results = load_results(tmp_path)
    assert training.rate_changes(results, results.studies["demo"]) == (1, [])


def test_one_table_for_each_net_that_has_other_layers(ctx: Context) -> None:
    _, folds = split_folds(architecture.architecture(ctx))
    own, fold = (part for part in folds if "<caption>Layers of" in part)
    assert "Layers of alexnet at full size" in own
    names = re.findall(r"<caption>Layers of (\w+) at full size", fold)
    assert names == ["non_overlapping_pooling", "one_gpu"]  # the others have the sizes of the base


SEEDS, NETS = 5, {"ablation": 7, "departure": 4, "recipe": 1, "variant": 1}  # of a fabricated campaign


def test_runs_are_folded_by_kind(ctx: Context) -> None:
    shown, folds = split_folds(provenance.page(ctx.results))
    assert re.findall(r"demo / (\w+) / \d", shown) == ["alexnet"] * SEEDS
    summaries = [re.findall(r"<summary>(.*?)</summary>", fold)[0] for fold in folds]
    runs = {kind: SEEDS * nets for kind, nets in NETS.items()}
    assert summaries == [f"Demo: {count} runs of kind {kind}" for kind, count in runs.items()]
    assert sum(len(re.findall(r"demo / \w+ / \d", fold)) for fold in folds) == sum(runs.values())


def test_a_record_of_before_there_were_kinds_reads_as_ablations(tmp_path: Path) -> None:
    old = [{"name": name, "about": name} for name in ("alexnet", "no_lrn")]
    fabricate.campaign(tmp_path, images=120)
    path = tmp_path / "demo/study.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"experiments": old}))
    results = load_results(tmp_path)
    assert results.departures == {}
    study = results.studies["demo"]
    assert study.experiments["no_lrn"] == {
        "name": "no_lrn", "about": "no_lrn", "kind": "ablation", "baseline": "alexnet", "difference": None,
    }  # fmt: skip
    (effect,) = effects.effects(results, study, ["no_lrn"])
    assert effect.estimate is not None  # that no difference is recorded does not make it the same net
    assert main(["check", "--results", str(tmp_path), "--out", str(tmp_path / "claims.csv")]) == 0
    page_of_departures = Context(results, read_table(tmp_path / "claims.csv"))
    assert departure_tables.NO_DEPARTURES.split(";")[0] in departure_tables.departures(page_of_departures)


def test_the_list_of_departures_is_read(tmp_path: Path) -> None:
    fabricate.study(tmp_path, "demo")
    fabricate.departures(tmp_path)
    departures = load_results(tmp_path).departures
    assert {"departures", "recipes"} <= departures.keys() and "paper" in departures["recipes"]


def test_what_was_not_compared_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(name: str) -> str:
        assert main(["effects", "--results", str(tmp_path), "--experiment", name]) == 0
        return capsys.readouterr().out

    assert said("tanh") == "tanh: nothing has been run yet\n"
    listed = [
        {"name": "alexnet", "kind": "base", "difference": {}},
        {"name": "tanh", "kind": "ablation", "difference": {"model.activation": ["relu", "tanh"]}},
        {"name": "no_pca_color", "kind": "ablation", "difference": {}},
        {"name": "pretraining", "kind": "ablation", "difference": {"data.set": [1, 2]}, "data": "pretraining"},
    ]
    fabricate.study(tmp_path, "demo", experiments=listed)
    start = "demo (demo): {} against alexnet: "
    assert said("alexnet") == "alexnet is the baseline of the others: no effect to show\n"
    assert said("tanh") == start.format("tanh") + "not run yet\n"
    assert said("no_pca_color") == start.format("no_pca_color") + "the same net in this study\n"
    assert said("pretraining") == start.format("pretraining") + "trained on other data, so not compared\n"
    fabricate.run(tmp_path, "demo", "tanh", 1, [0.9, 0.8])
    assert said("tanh") == start.format("tanh") + "tanh has no evaluation on ilsvrc2012/val yet\n"


def test_sentences_get_room_and_numbers_stand_right() -> None:
    row = ["12.5 (11 – 14)", "short", "a sentence that is long enough to wrap"]
    html = (
        page.templates()
        .from_string('{% from "tables.html.j2" import cells %}{{ cells("a", row, [1]) }}')
        .render(row=row)
    )
    assert re.findall(r"<td([^>]*)>", html) == [' class="number"', "", ' class="prose"']


def test_the_page_on_trust_says_what_was_counted(ctx: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pandas as pd

    published = pd.read_csv(calibration.REFERENCE / "calibration.csv", keep_default_na=False)
    counted = published[published["broken"] == ""]
    html = calibration.short().replace("\u00a0", " ")
    assert f"in {len(counted):,} settings with {published['repeats'].min():,} campaigns each" in html
    assert (
        f"in at most {100 * counted['rate'].max():.1f} %" in html
        and f"{100 * counted['rate'].mean():.1f} %, and" in html
    )
    assert (
        "behaves differently now" not in html
        and "in no setting does that exceed 5 % by more than three standard errors" in html
    )
    for kind, group in counted.groupby("kind"):
        of = html.partition(calibration.KINDS[kind])[2].partition("</svg>")[0]
        assert f"{len(group)} setting" in of and of.count('class="seed"') == group["rate"].mul(100).round(1).nunique()
    html = str(calibration.page(ctx))
    power = pd.read_csv(calibration.REFERENCE / "power.csv")
    assert all(f'<th scope="row">{name}</th>' in html for name in power["claim"])
    tested = ctx.table["p"].dropna()
    assert f"{len(tested)} claims here have a p-value" in html
    assert f"Below 0.05: {(tested < 0.05).sum()} unadjusted" in html
    # another rule, errors that are too many, and nothing published
    for name in ("calibration.csv", "calibration.json", "power.csv"):
        (tmp_path / name).write_bytes((calibration.REFERENCE / name).read_bytes())
    monkeypatch.setattr(calibration, "REFERENCE", tmp_path)
    record = json.loads((tmp_path / "calibration.json").read_text())
    (tmp_path / "calibration.json").write_text(json.dumps(record | {"behaviour": []}))
    published.loc[published.index[:3], "low"] = 0.06
    published.to_csv(tmp_path / "calibration.csv", index=False)
    html = calibration.short().replace("\u00a0", " ")
    assert "behaves differently now" in html and "<b>3 of the settings</b>" in html
    (tmp_path / "power.csv").unlink()
    assert "No power table is published" in calibration.page(ctx)
    (tmp_path / "calibration.csv").unlink()
    assert "No calibration is published" in calibration.page(ctx) and "is published" in calibration.short()
