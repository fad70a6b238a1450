"""Cards of claims: quotations with their places, number lines, and sentences that say both axes of a verdict."""

from __future__ import annotations

import math
import re
from html import unescape
from pathlib import Path

import fabricate
import pytest
import yaml

from analysis.__main__ import main
from analysis.errors import UserError
from analysis.paper.claims import load_claims
from analysis.paper.quotes import QUOTES, load_quotes
from analysis.report.context import Context
from analysis.report.number_line import Marks, limits, number_line
from analysis.report.pages import claims
from analysis.report.program import RELEASE, linked
from analysis.results.evidence import load_results
from analysis.verdicts.table import read_table

CLAIMS = {claim.id: claim for claim in load_claims()}
FROM = {"tenview-gain": "39.0", "tenview-gain-top5": "18.3", "lrn-cifar-delta": "13"}  # differences of printed numbers
DEPARTURES = [
    name
    for name, about in yaml.safe_load(Path("config/experiments.yaml").read_text())["experiments"].items()
    if about["kind"] == "departure"
]


@pytest.fixture(scope="module")
def ctx(tmp_path_factory: pytest.TempPathFactory) -> Context:
    folder = tmp_path_factory.mktemp("cards")
    fabricate.campaign(folder, "imagenette", tier="proxy", images=600)
    fabricate.describes(folder)
    assert main(["check", "--results", str(folder), "--out", str(folder / "claims.csv")]) == 0
    return Context(load_results(folder), read_table(folder / "claims.csv"))


def cards(ctx: Context) -> dict[str, str]:
    """What a reader reads on each card."""
    html = str(claims.claims(ctx))
    found = re.findall(r'<article [^>]*id="claim-([^"]+)"(.*?)</article>', html, re.S)
    return {id_: " ".join(unescape(re.sub(r"<[^>]+>", " ", card)).split()) for id_, card in found}


# Quotations -------------------------------------------------------------------------------------------------------


def test_each_quotation_belongs_to_a_claim_or_a_departure() -> None:
    assert set(load_quotes()) <= {*CLAIMS, *DEPARTURES}
    for name, quote in load_quotes().items():
        assert quote.page == "" or 1 <= int(quote.page) <= 9, name


def test_a_quotation_prints_the_numbers_that_its_claim_has() -> None:
    """Of claims whose number stands in a sentence of the paper: the quotation holds it, so it is no other sentence."""
    for id_, quote in load_quotes().items():
        claim = CLAIMS.get(id_)
        if claim and claim.unit in ("%", "points") and claim.relation == "about":
            assert re.search(rf"\b{re.escape(FROM.get(id_, claim.paper))}%", quote.words), id_


def test_every_claim_that_an_experiment_tests_is_quoted(ctx: Context) -> None:
    assert set(claims.experimental(ctx)) <= set(load_quotes())


def test_a_place_is_said_in_words() -> None:
    quotes = load_quotes()
    assert (
        quotes["lrn-delta-top1"].place == "section 3.3, page 4" and quotes["fn5-center"].place == "footnote 5, page 7"
    )
    assert quotes["tab2-1cnn"].place == "Table 2, page 7" and quotes["pool-where"].place == "section 3.5"
    assert quotes["intro-depth"].shown.startswith("… we found") and quotes["intro-depth"].shown.endswith("performance.")
    assert quotes["abs-top1-2010"].shown == f"{quotes['abs-top1-2010'].words} …"


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("1,2,intro-depth," + " ".join(["word"] * 26), "row 3: 26 words are quoted; quote 25 at most"),
        ("1,2,abs-params,again", "row 3: `abs-params` has a quotation already"),
        ("1,2,,words", "row 3: section, quoted_for and words must be filled"),
        ("1,2,a,b,c", "row 3: the row has more cells than the header"),
    ],
)
def test_a_wrong_row_of_quotations_is_named(tmp_path: Path, row: str, says: str) -> None:
    head = QUOTES.read_text(encoding="utf-8").splitlines()[0]
    (tmp_path / "quotes.csv").write_text(f"{head}\nAbs,1,abs-params,60 million parameters\n{row}\n")
    with pytest.raises(UserError) as caught:
        load_quotes(tmp_path / "quotes.csv")
    assert says in str(caught.value)
    (tmp_path / "other.csv").write_text("a,b\n")
    with pytest.raises(UserError, match="the header must read section,page,quoted_for,words"):
        load_quotes(tmp_path / "other.csv")


# The program of 2012 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("alpha (layer.py:1183)", "layer.py#L1183"),
        ("layers-145.cfg:9-63", "layers/layers-145.cfg#L9-L63"),
        ("layer-params-145-2010.cfg:178,180", "layers/layer-params-145-2010.cfg#L178"),
        ("none (layer.cu:565)", "src/layer.cu#L565"),
        ("layers-145-half.cfg", "layers/layers-145-half.cfg"),
    ],
)
def test_files_and_lines_of_the_program_are_links(text: str, link: str) -> None:
    assert re.findall(r'href="([^"]*)"', linked(text)) == [f"{RELEASE}/{link}"]
    assert unescape(re.sub(r"<[^>]+>", "", linked(text))) == text


def test_files_of_other_releases_and_markup_are_no_links() -> None:
    for text in ("layers-18pct.cfg", "layers-conv-local-13pct.cfg:3", "<b>x</b>", ""):
        assert "<" not in linked(text) and unescape(linked(text)) == text


# Number lines -----------------------------------------------------------------------------------------------------


def places(html: str, css: str) -> list[float]:
    found = re.search(rf'class="{css}" (?:x1|cx|x)="([\d.]+)%"(?: (?:x2|width)="([\d.]+)%")?', html)
    return [float(place) for place in found.groups() if place] if found else []


def test_marks_stand_where_their_numbers_are() -> None:
    marks = Marks(ours=2.0, span=(1.0, 3.0), seeds=(1.5, 2.5), paper=1.7, band=(1.2, 2.2), lab=1.695, zero=0.0)
    html = str(number_line(marks, "alt", "points", (-1.0, 4.0)))
    at = {value: 100 * (value + 1) / 5 for value in (0.0, 1.0, 1.2, 1.695, 2.0, 3.0)}
    assert places(html, "ours") == [at[2.0]] and places(html, "interval") == [at[1.0], at[3.0]]
    assert places(html, "zero") == [at[0.0]] * 2 and places(html, "lab") == pytest.approx([at[1.695]] * 2, abs=0.01)
    assert places(html, "band") == pytest.approx([at[1.2], 20.0])  # where it begins, and how wide it is
    assert re.findall(r'class="seed" cx="([\d.]+)%"', html) == ["50.0", "70.0"]
    assert re.search(r'<svg x="54.0%" y="\d+"><path class="paper"', html)
    ticks = re.findall(r'<text x="([\d.]+)%"[^>]*>([^<]+)</text>', html)
    assert len(ticks) > 2
    for place, words in ticks:
        assert float(place) == pytest.approx(100 * (float(words.replace("−", "-")) + 1) / 5, abs=0.01)


def test_what_lies_beyond_the_axis_stands_at_its_end_as_an_arrow() -> None:
    inside = str(number_line(Marks(ours=1.0, span=(0.0, 2.0), zero=0.0), "alt", axis=(-1.0, 3.0)))
    assert "arrow" not in inside
    cut = str(number_line(Marks(ours=1.0, span=(0.0, 9.0), zero=0.0), "alt", axis=(-1.0, 3.0)))
    assert cut.count("arrow") == 1 and places(cut, "interval") == [25.0, 100.0]
    beyond = str(number_line(Marks(ours=52.0, span=(50.0, 54.0), zero=0.0), "alt", axis=(-1.0, 3.0)))
    assert 'class="ours"' not in beyond and beyond.count("arrow") == 2


def test_an_axis_holds_every_point_and_bounds_that_have_no_end() -> None:
    low, high = limits([Marks(ours=5.0, paper=2.0, band=(2.0, math.inf), seeds=(4.0, 7.0), zero=1.0)])
    assert low < 1.0 and high > 7.0
    low, high = limits([Marks(ours=0.5, span=(-1e6, 1e6), zero=0.0)])
    assert -10 < low < 0 and 0.5 < high < 10  # a huge interval does not crush the points
    assert limits([Marks(paper=3.0)]) == (2.0, 4.0)
    assert 'width="' in number_line(Marks(band=(2.0, math.inf), ours=1.0), "alt")


# Cards ------------------------------------------------------------------------------------------------------------


def test_distinct_experiments_come_first_and_no_claim_is_left_out(ctx: Context) -> None:
    html = str(claims.claims(ctx))
    ids = re.findall(r'<article [^>]*id="claim-([^"]+)"', html)
    assert sorted(ids) == sorted(CLAIMS)
    first = re.findall(r'<article [^>]*id="claim-([^"]+)"', html.partition('class="rest"')[0])
    assert sorted(first) == sorted(claims.experimental(ctx)) and 30 <= len(first) <= 45
    assert {"gpu-delta-top1", "fig3-special", "relu-speedup-cifar10"} <= set(first)
    assert not {"gpu-delta-top5", "arch-conv1", "abs-second", "data-val", "sgd-mom"} & set(first)


def test_an_absolute_error_among_other_classes_is_not_shown(ctx: Context) -> None:
    row = ctx.table.set_index("id").loc["abs-top1-2010"]
    assert row["ours"] != ""
    said = cards(ctx)["abs-top1-2010"]
    assert "Paper 37.5 % ± 0.6" in said and "Authors' log 37.47 %" in said and "Ours: untested" in said
    assert f"{float(row['ours']):.2f}" not in said


def test_a_verdict_is_one_sentence_on_both_axes(ctx: Context) -> None:
    said = cards(ctx)
    for row in ctx.table.to_dict("records"):
        claim = CLAIMS[row["id"]]
        if row["evidence"] != "proxy" or row["verdict"] == "pending":
            continue
        starts = {
            "agrees": "The effect agrees in direction with the paper",
            "contradicts": "The effect contradicts the paper's direction",
        }
        assert starts.get(row["direction"], "") in said[row["id"]]
        if claim.relation == "about" and claim.number and not math.isnan(row["low"]):
            way = (
                "lies above"
                if row["low"] > claim.number
                else "lies below"
                if row["high"] < claim.number
                else "contains"
            )
            assert f"a proxy cannot settle its size, and the interval {way} the paper's" in said[row["id"]]


def test_nothing_run_leaves_cards_that_say_so(tmp_path: Path) -> None:
    assert main(["check", "--results", str(tmp_path), "--out", str(tmp_path / "claims.csv")]) == 0
    said = cards(Context(load_results(tmp_path), read_table(tmp_path / "claims.csv")))
    assert set(said) == set(CLAIMS)
    assert "Ours: untested" in said["lrn-delta-top1"] and "seed" not in said["lrn-delta-top1"].partition("How do we")[0]
