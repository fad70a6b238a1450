"""The judge of any table: every number and word again with SciPy alone, and one sentence for every mistake."""

from __future__ import annotations

import csv
import math
import time
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from analysis.__main__ import main

FOREIGN = Path(__file__).parent / "foreign"
HEADER = "id,statement,how,arm,baseline,relation,paper,tolerance,unit"
VERDICTS = "id,ours,low,high,low90,high90,direction,size,seeds,why"


def run(claims: Path, measurements: Path, out: Path, *more: str) -> list[dict[str, str]]:
    files = ["--claims", str(claims), "--measurements", str(measurements), "--out", str(out)]
    assert main(["judge", *files, *more]) == 0
    with (out / "verdicts.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines))


# Again, with SciPy alone: none of the code below knows that of the judge ------------------------------------------------


def arms_of(path: Path) -> dict[str, dict[str, tuple[float, float]]]:
    arms: dict[str, dict[str, tuple[float, float]]] = {}
    for row in table(path):
        if row["value"]:
            of = arms.setdefault(row["arm"], {})
            of[row["seed"]] = float(row["value"]), float(row["n"] or "nan")
    return arms


def again(
    claim: dict[str, str], arms: dict[str, dict[str, tuple[float, float]]], level: float
) -> tuple[float, float, float]:
    """Number and interval of one claim."""
    names = [claim["arm"], claim["baseline"]] if claim["how"] != "value" else [claim["arm"]]
    sides = [arms[name] for name in names]
    log = claim["how"] == "ratio"
    back = math.exp if log else float
    if claim.get("spread") == "images":
        (p, n), *other = [next(iter(side.values())) for side in sides]
        spans = [stats.binomtest(round(s * m), int(m)).proportion_ci(level) for s, m in [(p, n), *other]]
        if not other:
            return p, spans[0].low, spans[0].high
        q = other[0][0]
        f = math.log if log else float
        down = math.sqrt((f(p) - f(spans[0].low)) ** 2 + (f(spans[1].high) - f(q)) ** 2)
        up = math.sqrt((f(spans[0].high) - f(p)) ** 2 + (f(q) - f(spans[1].low)) ** 2)
        return back(f(p) - f(q)), back(f(p) - f(q) - down), back(f(p) - f(q) + up)
    shared = sorted(set(sides[0]) & set(sides[-1]))
    x = [np.array([side[s][0] for s in (shared or side)]) for side in sides]
    if log:
        x = [np.log(values) for values in x]
    if len(x) == 1 or shared:
        d = x[0] - x[1] if len(x) == 2 else x[0]
        low, high = stats.t.interval(level, len(d) - 1, d.mean(), stats.sem(d))
        return back(d.mean()), back(low), back(high)
    half = math.sqrt(sum((stats.t.ppf(0.5 + level / 2, len(v) - 1) * stats.sem(v)) ** 2 for v in x))
    d = x[0].mean() - x[1].mean()
    return back(d), back(d - half), back(d + half)


def words(claim: dict[str, str], wide: tuple[float, float], narrow: tuple[float, float]) -> tuple[str, str]:
    """Direction and size by the definitions, a case each."""
    paper = float(claim["paper"]) if claim["paper"] else None
    slack = float(claim["tolerance"] or 0)
    null = {"value": None, "difference": 0.0, "ratio": 1.0}[claim["how"]]
    up, down = claim["relation"] in ("greater", "at_least"), claim["relation"] in ("less", "at_most")
    size = "unknown"
    if paper is not None and (up or down):
        size = "matches" if (wide[0] > paper if up else wide[1] < paper) else size
        size = "differs" if (wide[1] < paper if up else wide[0] > paper) else size
    elif paper is not None:
        size = "matches" if paper - slack <= narrow[0] and narrow[1] <= paper + slack else size
        size = "differs" if wide[1] < paper - slack or wide[0] > paper + slack else size
    if null is None:
        return "", size
    if not (up or down) and paper == null:  # "the same" has no side
        same = paper - slack <= wide[0] and wide[1] <= paper + slack
        return {"differs": "contradicts"}.get(size, "agrees" if same else "cannot tell"), size
    sign = 1 if up or (not down and paper is not None and paper > null) else -1
    if sign * (wide[0] - null) > 0 and sign * (wide[1] - null) > 0:
        return "agrees", size
    if sign * (wide[0] - null) < 0 and sign * (wide[1] - null) < 0:
        return "contradicts", size
    effect = paper if paper is not None and paper != null else null + sign * slack
    if up or down:  # more than the effect is claimed too, so an interval beyond it leaves nothing out
        return ("not shown" if (narrow[1] < effect if up else narrow[0] > effect) else "cannot tell"), size
    return ("cannot tell" if narrow[0] <= effect <= narrow[1] else "not shown"), size


@pytest.mark.parametrize("name", ["airbench", "made"])
def test_every_number_and_word_comes_out_again_with_scipy(name: str, tmp_path: Path) -> None:
    """Fixtures: airbench94_muon.py of KellerJordan/cifar10-airbench, "94.01 mean accuracy (n=200 trials)" (the trials
    themselves are not published: theirs is the mean, the spread of 0.14 is assumed), and a made one of each kind."""
    claims, measured = FOREIGN / f"{name}_claims.csv", FOREIGN / f"{name}_measurements.csv"
    got = run(claims, measured, tmp_path)
    arms, asked = arms_of(measured), table(claims)
    assert [row["id"] for row in got] == [claim["id"] for claim in asked]
    for row, claim in zip(got, asked, strict=True):
        value, *wide = again(claim, arms, 0.95)
        _, *narrow = again(claim, arms, 0.90)
        numbers = [float(row[column]) for column in ("ours", "low", "high", "low90", "high90")]
        assert numbers == pytest.approx([value, *wide, *narrow], rel=1e-9), claim["id"]
        expected = words(claim, tuple(wide), tuple(narrow))
        if claim["id"] in ("d-few", "d-limit"):
            expected = ("cannot tell", "unknown")
        assert (row["direction"], row["size"]) == expected, claim["id"]
        assert row["why"]


def test_tables_drawn_at_random_come_out_by_the_definitions(tmp_path: Path) -> None:
    """300 claims of each kind on arms that share all, some or no seeds, with runs that died; sides as the claim's sign has them."""
    rng = np.random.default_rng(23)
    rows = []
    for i in range(40):
        first, seeds = int(rng.choice([1, 1, 3, 20])), int(rng.integers(4, 9))
        centre = rng.normal(10, 2)
        for seed in range(first, first + seeds):
            value = "" if rng.random() < 0.05 else f"{abs(rng.normal(centre, 1.5)) + 0.01:.6f}"
            rows.append(f"arm{i},{seed},{value},")
    claims = []
    for i in range(300):
        a, b = rng.choice(40, 2, replace=False)
        how = ("value", "difference", "ratio")[i % 3]
        relation = str(rng.choice(["about", "equal", "greater", "less", "at_least", "at_most"]))
        null = 1.0 if how == "ratio" else 0.0
        beyond = abs(rng.normal(0, 0.3 if how == "ratio" else 2))
        up = relation in ("greater", "at_least") or (relation in ("about", "equal") and rng.random() < 0.5)
        paper = f"{rng.normal(10, 2) if how == 'value' else null + (beyond if up else -min(beyond, 0.9)):.3f}"
        paper = "" if how != "value" and relation == "greater" and rng.random() < 0.3 else paper
        tolerance = f"{abs(rng.normal(0, 0.1 if how == 'ratio' else 1)):.3f}"
        claims.append(f"c{i},,{how},arm{a},{'' if how == 'value' else f'arm{b}'},{relation},{paper},{tolerance},")
    files = one(tmp_path, "\n".join(claims), "\n".join(rows))
    got, arms, seen = run(*files, tmp_path / "out", "--minimum", "2"), arms_of(files[1]), set()
    for row, claim in zip(got, table(files[0]), strict=True):
        pairs = sorted(set(arms[claim["arm"]]) & set(arms[claim["baseline"] or claim["arm"]]))
        if row["seeds"] in ("0", "1"):
            assert row["size"] == "unknown" and row["direction"] in ("", "cannot tell")
            continue
        value, *wide = again(claim, arms, 0.95)
        _, *narrow = again(claim, arms, 0.90)
        numbers = [float(row[column]) for column in ("ours", "low", "high", "low90", "high90")]
        assert numbers == pytest.approx([value, *wide, *narrow], rel=1e-9), claim["id"]
        if pairs and claim["how"] != "value":
            assert int(row["seeds"]) == len(pairs)
        assert (row["direction"], row["size"]) == words(claim, tuple(wide), tuple(narrow)), claim
        seen.add((row["direction"], row["size"]))
    assert {word for pair in seen for word in pair} == {
        *("", "agrees", "not shown", "contradicts", "cannot tell"), *("matches", "differs", "unknown")
    }  # fmt: skip


def test_the_published_mean_of_200_runs_matches_and_does_not_show_that_it_reaches_94(tmp_path: Path) -> None:
    got = run(FOREIGN / "airbench_claims.csv", FOREIGN / "airbench_measurements.csv", tmp_path)
    assert [(row["direction"], row["size"], row["seeds"]) for row in got] == [
        ("", "matches", "200"),
        ("", "unknown", "200"),
        ("", "differs", "200"),
    ]
    assert (tmp_path / "verdicts.csv").read_text().splitlines()[0] == VERDICTS


def test_the_made_table_has_every_word() -> None:
    claims = FOREIGN / "made_claims.csv"
    asked = {row["id"]: row for row in table(claims)}
    arms = arms_of(FOREIGN / "made_measurements.csv")
    said = set()
    for claim in asked.values():
        wide, narrow = again(claim, arms, 0.95)[1:], again(claim, arms, 0.9)[1:]
        said |= set(words(claim, wide, narrow))
    assert said == {"", "agrees", "not shown", "contradicts", "cannot tell", "matches", "differs", "unknown"}


def test_what_a_verdict_says_of_dead_runs_lonely_seeds_and_limits(tmp_path: Path) -> None:
    rows = run(FOREIGN / "made_claims.csv", FOREIGN / "made_measurements.csv", tmp_path)
    got = {row["id"]: row for row in rows}
    assert got["d-dead"]["seeds"] == "5" and "1 of 6 runs of dead died" in got["d-dead"]["why"]
    assert got["d-dead"]["direction"] == "agrees"
    assert got["d-few"]["seeds"] == "2" and "3 are the fewest" in got["d-few"]["why"]
    assert got["d-limit"]["why"] == "rate not tuned"
    assert got["d-free"]["seeds"] == "4"
    strict = run(FOREIGN / "made_claims.csv", FOREIGN / "made_measurements.csv", tmp_path, "--minimum", "6")
    assert {row["id"]: row for row in strict}["d-dead"]["direction"] == "cannot tell"
    assert {row["id"]: row for row in strict}["i-value"]["size"] == "matches"  # images, not runs


def one(
    tmp_path: Path, claim: str, measurements: str, header: str = HEADER, top: str = "arm,seed,value,n"
) -> tuple[Path, Path]:
    claims, measured = tmp_path / "claims.csv", tmp_path / "measurements.csv"
    claims.write_text(f"{header}\n{claim}\n", encoding="utf-8")
    measured.write_text(f"{top}\n{measurements}\n", encoding="utf-8")
    return claims, measured


RUNS = "a,1,3,\na,2,4,\na,3,5,\nb,1,1,\nb,2,1.5,\nb,3,2,"
GOOD = "x,It grows,difference,a,b,greater,0,,points"


@pytest.mark.parametrize(
    ("claim", "runs", "says"),
    [
        ("x,It grows,difference,a,c,greater,0,,points", RUNS, "claims.csv, row 2, column `baseline`: arm 'c' is not in"),
        ("x,It grows,difference,a,,greater,0,,points", RUNS, "claims.csv, row 2, column `baseline`: the cell is empty"),
        ("x,It grows,divide,a,b,greater,0,,points", RUNS, "claims.csv, row 2, column `how`: 'divide' is unknown"),
        ("x,It grows,difference,a,b,over,0,,points", RUNS, "claims.csv, row 2, column `relation`: 'over' is unknown"),
        ("x,It grows,difference,a,b,about,,,points", RUNS, "claims.csv, row 2, column `paper`: the cell is empty"),
        ("x,It grows,difference,a,b,about,two,,points", RUNS, "claims.csv, row 2, column `paper`: 'two' is not a number"),
        ("x,It grows,difference,a,b,about,nan,,points", RUNS, "claims.csv, row 2, column `paper`: 'nan' is not a number"),
        ("x,It grows,difference,a,b,about,2,-1,points", RUNS, "claims.csv, row 2, column `tolerance`: -1 is below zero"),
        (f"{GOOD}\n{GOOD}", RUNS, "claims.csv, row 3, column `id`: 'x' stands already in row 2"),
        (f"{GOOD},more", RUNS, "claims.csv, row 2: the row has more cells"),
        ("x,It grows,value,a,b,greater,0,,points", RUNS, "claims.csv, row 2, column `baseline`: a value has none"),
        (GOOD, RUNS + "\na,2,7,", "measurements.csv, row 8, column `seed`: arm 'a' has seed 2 already in row 3"),
        (GOOD, RUNS + "\na,2.0,7,", "measurements.csv, row 8, column `seed`: arm 'a' has seed 2 already in row 3"),
        (GOOD, RUNS + "\na,4,high,", "measurements.csv, row 8, column `value`: 'high' is not a number"),
        (GOOD, RUNS + "\na,4,NaN,", "measurements.csv, row 8, column `value`: 'NaN' is not a number"),
        (GOOD, RUNS + "\na,4,inf,", "measurements.csv, row 8, column `value`: 'inf' is not a number"),
        (GOOD, RUNS + "\na,4,1,2.5", "measurements.csv, row 8, column `n`: 2.5 is no number of images"),
        (GOOD, RUNS + "\na,,1,", "measurements.csv, row 8, column `seed`: the cell is empty"),
        ("x,It grows,ratio,a,b,greater,1,,x", RUNS + "\na,4,0,", "measurements.csv, row 8, column `value`: 0 in the ratio"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_with_file_row_and_column(
    claim: str, runs: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    claims, measured = one(tmp_path, claim, runs)
    files = ["--claims", str(claims), "--measurements", str(measured), "--out", str(tmp_path / "out")]
    assert main(["judge", *files]) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1 and "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_a_missing_column_or_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    claims, measured = one(tmp_path, GOOD, RUNS, top="arm,seed,error,n")
    out = ["--out", str(tmp_path / "out")]
    assert main(["judge", "--claims", str(claims), "--measurements", str(measured), *out]) == 2
    assert "measurements.csv, row 1: column `value` is missing" in capsys.readouterr().err
    assert main(["judge", "--claims", str(claims), "--measurements", str(tmp_path / "no.csv"), *out]) == 2
    assert "no.csv: No such file" in capsys.readouterr().err
    measured.write_bytes(b"arm,seed,value,n\n\xff\xfe,1,2,3\n")
    assert main(["judge", "--claims", str(claims), "--measurements", str(measured), *out]) == 2
    assert "measurements.csv is no CSV file in UTF-8" in capsys.readouterr().err


def test_images_need_fractions_and_their_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    claim = "x,Share,value,a,,about,0.2,0.1,,,images"
    for run_, says in (("a,1,25,100", "25 is no fraction"), ("a,1,0.25,", "the cell is empty")):
        claims, measured = one(tmp_path, claim, run_, f"{HEADER},limit,spread")
        files = ["--claims", str(claims), "--measurements", str(measured), "--out", str(tmp_path)]
        assert main(["judge", *files]) == 2
        assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("claim", "runs", "direction", "size"),
    [
        # runs that agree to the last digit, or up to rounding, are no certainty
        (GOOD, "a,1,3,\na,2,3,\na,3,3,\nb,1,1,\nb,2,1,\nb,3,1,", "cannot tell", "unknown"),
        (GOOD, "a,1,0.3,\na,2,0.5,\na,3,0.8,\nb,1,0.1,\nb,2,0.3,\nb,3,0.6,", "cannot tell", "unknown"),
        # numbers at the ends of what can be written are no crash
        ("x,,ratio,a,b,greater,1,,x", "a,1,1e99,\na,2,1e-99,\na,3,2,\nb,1,1e-99,\nb,2,1e99,\nb,3,1e-300,", "cannot tell", "unknown"),
        ("x,,ratio,a,b,less,1,,,,images", "a,1,0,50\nb,1,0,50", "cannot tell", "unknown"),
        # all runs of an arm dead
        (GOOD, "a,1,,\na,2,,\na,3,,\nb,1,1,\nb,2,1.5,\nb,3,2,", "cannot tell", "unknown"),
        # less than 2 points names no sign: the mark itself is what is claimed
        ("x,,difference,a,b,less,2,,points", "a,1,2,\na,2,2.6,\na,3,3.1,\nb,1,1,\nb,2,1.7,\nb,3,2,", "agrees", "matches"),
        # the numbers of the counter-example "over 1 point": 0.75 shows the direction, and not the size
        ("x,,difference,a,b,greater,1,,points", "a,1,0.70,\na,2,0.75,\na,3,0.80,\nb,1,0.01,\nb,2,0,\nb,3,-0.01,", "agrees", "differs"),
        # 13 -> 11 %: a gain of 0.3 is not the size that is claimed
        ("x,,difference,a,b,about,2,1,points", "a,1,0.30,\na,2,0.35,\na,3,0.25,\nb,1,0.01,\nb,2,0,\nb,3,-0.01,", "agrees", "differs"),
    ],
)  # fmt: skip
def test_words_where_a_rule_could_slip(claim: str, runs: str, direction: str, size: str, tmp_path: Path) -> None:
    header = f"{HEADER},limit,spread" if claim.endswith("images") else HEADER
    (row,) = run(*one(tmp_path, claim, runs, header), tmp_path / "out")
    assert (row["direction"], row["size"]) == (direction, size)


def test_the_report_is_one_escaped_file(tmp_path: Path) -> None:
    claim = 'x,<script>alert("1")</script> & more,difference,a,b,greater,0,,<b>points</b>'.replace('"', "'")
    run(*one(tmp_path, claim, RUNS), tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in text and "<b>" not in text and "&lt;script&gt;" in text
    assert "http" not in text and "agrees" in text


def test_thousands_of_claims_take_seconds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    runs, claims = [], []
    for i in range(2000):
        seeds = 5 + i % 3
        runs += [f"a{i},{s},{v:.4f},1000" for s, v in enumerate(rng.random(seeds))]
        runs += [f"b{i},{s},{v:.4f},1000" for s, v in enumerate(rng.random(seeds))]
        claims += [f"v{i},,value,a{i},,about,0.5,0.1,,,", f"d{i},,difference,a{i},b{i},about,0.2,0.1,,,"]
        claims += [f"i{i},,difference,a{i},b{i},less,0,,,,images"]
    files = one(tmp_path, "\n".join(claims), "\n".join(runs), f"{HEADER},limit,spread")
    start = time.perf_counter()
    assert len(run(*files, tmp_path / "out")) == 6000
    assert time.perf_counter() - start < 10
