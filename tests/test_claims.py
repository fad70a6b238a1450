"""The table of claims: checked rows, and errors that name row, id and column."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
import yaml

from alexnet.experiments import definitions
from analysis.errors import UserError
from analysis.measures import arithmetic
from analysis.measures.registry import MEASURES
from analysis.paper.claims import CLAIMS, Claim, experiments, load_claims
from analysis.results.evidence import Results, load_results
from analysis.verdicts.judge import judge
from analysis.verdicts.rules import accepted, question


@pytest.fixture(scope="module")
def claims() -> dict[str, Claim]:
    return {claim.id: claim for claim in load_claims()}


def changed(tmp_path: Path, id_: str, **cells: str) -> Path:
    """A copy of claims.csv in which cells of one row are changed."""
    with CLAIMS.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    for row in rows:
        if row["id"] == id_:
            row.update(cells)
    path = tmp_path / "claims.csv"
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_rows_that_the_experiments_feed_are_there(claims: dict[str, Claim]) -> None:
    fed = {
        "abs-params", "abs-neurons", "abs-depth", "intro-conv-1pct", "fig2-layer1", "gpu-half-params", "pool-same-dims",
        "abs-top1-2010", "abs-top5-2010", "tab2-1cnn", "fn5-center", "tenview-gain", "val-test-gap",
        "gpu-delta-top1", "gpu-delta-top5", "lrn-delta-top1", "lrn-delta-top5", "pool-delta-top1", "pool-delta-top5",
        "pool-overfit", "pca-delta", "drop-overfit", "drop-iters", "relu-several-times", "relu-speedup-cifar10",
    }  # fmt: skip
    assert fed <= claims.keys()
    groups = {claim.group for claim in claims.values()}
    known = definitions.load(str(CLAIMS.parents[1] / "config"))["experiments"]
    fed = {about["claims"] for about in known.values()} - {""}
    assert fed | {"architecture", "dataset", "importance"} == groups - {""}
    ablations = {name for name, about in known.items() if about["kind"] in ("base", "ablation")}
    steps = {"conv6", "conv6_pretraining"}  # on the way to the fine-tuned net
    assert ablations - steps - {"cifar_lrn"} <= fed  # what cifar_no_lrn is compared with


def test_every_measured_row_has_a_target_and_every_tolerance_a_reason(claims: dict[str, Claim]) -> None:
    for claim in claims.values():
        assert not claim.how or claim.group, claim.id
        assert claim.tolerance is None or claim.tolerance_reason, claim.id
        assert claim.testable or claim.reason, claim.id


def test_what_is_said_of_a_tolerance_is_what_the_rule_makes_of_it(claims: dict[str, Claim]) -> None:
    for claim in (claim for claim in claims.values() if claim.tolerance and claim.measure):
        number, tolerance = claim.number, claim.tolerance
        assert number is not None and tolerance
        wider = max(accepted(claim)[1], -accepted(claim)[0]) - abs(number) == pytest.approx(tolerance)
        effect = question(claim, claim.measure and claim.measure.null).effect
        nearest = effect is not None and abs(effect - number) == pytest.approx(tolerance)
        said = ["within", "smallest effect of interest", "do not count"]
        assert [words in claim.slack for words in said] == [wider, nearest, not (wider or nearest)], claim.id


def test_every_measure_is_in_the_schema_and_measures_a_claim(claims: dict[str, Claim]) -> None:
    of_tables, of_manifests = set(arithmetic.MEASURES), {"count", "mean_count"}
    schema = yaml.safe_load((CLAIMS.parents[1] / "workflow/schemas/claims.schema.yaml").read_text())
    how = schema["properties"]["how"]
    assert {"", *of_tables, *of_manifests, *MEASURES} == set(how["enum"])
    assert all(name in how["description"] for name in how["enum"])
    assert {claim.how for claim in claims.values() if claim.measure} == set(MEASURES)
    used = {claim.how for claim in claims.values() if claim.kind in ("arithmetic", "dataset")}
    assert used - {""} == of_tables | of_manifests


def test_values_stand_where_their_type_says(claims: dict[str, Claim]) -> None:
    assert claims["fig2-layer1"].number == 253440
    assert claims["fig2-layer1"].implied == "290400"
    assert claims["lrn-delta-lab"].lab_value == pytest.approx(1.37)
    assert claims["pool-params"].number is None


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ({"kind": "guess"}, "column `kind`: 'guess'"),
        ({"how": "median"}, "column `how`"),
        ({"tolerance": "wide"}, "column `tolerance`: 'wide' is not a number"),
        ({"tolerance_reason": ""}, "column `tolerance_reason`"),
        ({"baseline": ""}, "column `baseline`"),
        ({"dataset": "mnist"}, "column `dataset`"),
        ({"id": "lrn-k"}, "id `lrn-k` stands already in row"),
        ({"testable": "no"}, "column `reason`"),
        ({"id": "Two Words"}, "column `id`"),
        ({"experiment": "no_lrm"}, "(lrn-delta-top1), column `experiment`: config/experiments.yaml has no 'no_lrm'"),
        ({"baseline": "alexnte"}, "(lrn-delta-top1), column `baseline`: config/experiments.yaml has no 'alexnte'"),
        ({"metric": "top1_eror"}, "column `metric`: 'difference' reads top1_error or top5_error, not 'top1_eror'"),
    ],
)
def test_a_wrong_cell_is_named(tmp_path: Path, cells: dict[str, str], says: str) -> None:
    with pytest.raises(UserError) as caught:
        load_claims(changed(tmp_path, "lrn-delta-top1", **cells))
    assert says in str(caught.value)
    assert "row " in str(caught.value)


def test_the_experiments_that_a_claim_may_name_are_those_of_the_definitions() -> None:
    known = definitions.load()["experiments"]
    assert experiments() - {"data"} == {name for name, about in known.items() if "race" not in about}


def test_a_missing_and_an_unknown_column_are_named(tmp_path: Path) -> None:
    text = CLAIMS.read_text(encoding="utf-8")
    path = tmp_path / "claims.csv"
    path.write_text(text.replace("tolerance_reason", "because", 1), encoding="utf-8")
    with pytest.raises(UserError, match="column `tolerance_reason` is missing"):
        load_claims(path)
    path.write_text(text.replace("note\n", "note,extra\n", 1), encoding="utf-8")
    with pytest.raises(UserError, match="unknown column `extra`"):
        load_claims(path)
    with pytest.raises(UserError, match="cannot read"):
        load_claims(tmp_path / "nowhere.csv")


def test_an_unquoted_comma_is_found(tmp_path: Path) -> None:
    path = tmp_path / "claims.csv"
    lines = CLAIMS.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([lines[0], lines[1] + ",one,more"]), encoding="utf-8")
    with pytest.raises(UserError, match="row 2: the row has more cells"):
        load_claims(path)


def test_every_command_asks_for_a_study_that_has_the_experiment() -> None:
    import re

    from analysis.paper.claims import CLAIMS, load_claims
    from analysis.verdicts.rules import command

    studies = CLAIMS.parents[1] / "config" / "studies"
    checked = 0
    for claim in load_claims():
        match = re.search(r"studies=\[(\w+)\]", command(claim, claim.dataset))
        if match and claim.kind in ("training", "qualitative"):
            record = yaml.safe_load((studies / f"{match[1]}.yaml").read_text())
            assert {*claim.experiment.split(), claim.baseline} - {""} <= set(record["experiments"]), claim.id
            checked += 1
    assert checked > 10


def test_a_definition_names_the_test_that_checks_it(claims: dict[str, Claim]) -> None:
    import re

    checked = 0
    for claim in claims.values():
        for file, name in re.findall(r"(tests/\w+\.py)::(\w+)", claim.document):
            assert f"def {name}(" in (CLAIMS.parents[1] / file).read_text(), claim.id
            checked += 1
    assert checked >= 7


def test_every_row_reaches_a_status_of_its_own_evidence(claims: dict[str, Claim], tmp_path: Path) -> None:
    """Without any result: what is counted, cited or not testable, and pending with a command or a reason."""
    results = load_results(tmp_path)
    for claim in claims.values():
        (outcome,) = judge(claim, results)
        assert outcome.verdict in ("pending", "not testable", "cited", *["holds"] * bool(claim.document)), claim.id
        assert outcome.why, claim.id
        if outcome.verdict == "pending":
            assert bool(claim.how) == bool(outcome.command) or "needs " in claim.reason or not claim.group, claim.id
        assert "no experiment of this project" not in outcome.why, claim.id


def test_what_a_document_says_holds_by_it_and_five_rows_stay_without_a_test(claims: dict[str, Claim]) -> None:
    read = {id_: claim for id_, claim in claims.items() if claim.document}
    assert len(read) >= 15
    for claim in read.values():
        (outcome,) = judge(claim, load_results(Path(__file__).parent))
        assert (outcome.verdict, outcome.evidence, outcome.why) == ("holds", "document", claim.document)
        assert re.search(r"\.(cfg|cu|py|html|txt)\b|code\.google\.com|caption", claim.document), (
            claim.id
        )  # a file, a page, a place
    places = [
        page for claim in read.values() for page in re.findall(r"\w+\.(?:cu|py):(\d+)(?:-(\d+))?", claim.document)
    ]
    assert len(places) >= 7 and all(int(end or start) >= int(start) for start, end in places)
    without = {id_ for id_, claim in claims.items() if not claim.testable and claim.kind != "cited"}
    assert without == {"relu-lr-independent", "relu-noreg", "f09-split", "f09-cnn", "fig4-top5"}


def test_a_document_takes_the_place_of_a_measure(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="column `document`: the row is measured"):
        load_claims(changed(tmp_path, "lrn-k", document="layers-145.cfg:1"))


def test_settings_that_the_program_of_2012_contradicts_say_so(tmp_path: Path) -> None:
    import fabricate

    from analysis.results.evidence import load_results
    from analysis.verdicts.judge import judge_all

    fabricate.describes(tmp_path)
    found = {o.claim.id: o for o in judge_all(load_claims(), load_results(tmp_path))}
    differing = {id_ for id_, o in found.items() if o.verdict in ("paper miscounts", "text differs from program")}
    assert differing == {
        "intro-conv-1pct", "fig2-layer1", "aug-2048", "pool-same-dims",  # with itself
        "lrn-after-relu", "init-w", "lrn-formula", "data-mean", "data-raw-rgb", "pca-scheme", "aug-crop", "lr-equal",
    }  # fmt: skip
    for id_, both in {"fig2-layer1": ("253440", 290400), "aug-2048": ("2048", 2178)}.items():
        assert (found[id_].claim.paper, found[id_].ours) == both
    share = found["intro-conv-1pct"]
    assert share.ours == pytest.approx(100 * 885120 / 60965224)
    assert found["lr-drops"].ours == 3
    wrong = {id_ for id_, o in found.items() if o.verdict == "does not hold"}
    assert not wrong


def test_words_where_a_number_is_measured_are_a_sentence(tmp_path: Path, published_results: Results) -> None:
    claim = next(c for c in load_claims(changed(tmp_path, "abs-depth", paper="eight")) if c.id == "abs-depth")
    with pytest.raises(UserError, match="abs-depth: `paper` is 'eight', but a number is measured"):
        judge(claim, published_results)
