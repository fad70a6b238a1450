"""The verdict table as text: Markdown for the README, and commands that Snakemake understands."""

import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.verdicts.table import COLUMNS


def row(**values):
    return dict.fromkeys(COLUMNS, "") | values


@pytest.fixture
def claims_csv(tmp_path):
    rows = [
        row(id="a", statement="Counted", evidence="arithmetic", verdict="holds", ours="3", paper="3"),
        row(id="b", statement="Not run", verdict="pending", paper="1"),
        row(id="d", statement="Absolute", evidence="proxy", verdict="pending", paper="37.5", ours="41", unit="%"),
        row(
            id="c", statement="Trained", evidence="proxy", study="imagenette", verdict="direction agrees", unit="points",
            paper="1.4", relation="about", lab_value="1.37", ours="2.5", low="0.25", high="4.75", n="3925", seeds="2",
        ),
    ]  # fmt: skip
    path = tmp_path / "claims.csv"
    pd.DataFrame(rows, columns=COLUMNS).to_csv(path, index=False)
    return path


def test_markdown_counts_all_rows_and_lists_the_trained_ones(claims_csv, capsys):
    assert main(["table", "--claims", str(claims_csv)]) == 0
    out = capsys.readouterr().out
    assert "| evidence | direction agrees | holds | pending |" in out
    assert "| proxy | 1 |  | 1 |" in out
    (line,) = [line for line in out.splitlines() if "`c`" in line]
    assert [cell.strip() for cell in line.strip("|").split("|")] == [
        "Trained (`c`)", "1.4 points", "1.37 points", "2.50 [0.25, 4.75]", "3,925", "2",
        "proxy: imagenette", "direction agrees",
    ]  # fmt: skip
    assert not any(f"`{name}`" in out for name in "abd")


def test_markdown_names_the_copy_of_the_data(claims_csv, capsys):
    table = pd.read_csv(claims_csv, dtype=str).fillna("")
    table.loc[table["id"] == "c", ["evidence", "study", "dataset"]] = ["paper scale", "cifar10", "cifar10-jpeg75"]
    table.loc[table["id"] == "c", "verdict"] = "direction agrees"
    table.to_csv(claims_csv, index=False)
    assert main(["table", "--claims", str(claims_csv)]) == 0
    assert "| paper scale: cifar10 (cifar10-jpeg75) | direction agrees (lossy copy) |" in capsys.readouterr().out


def test_markdown_goes_between_the_marks_and_nowhere_else(claims_csv, tmp_path, capsys):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- verdicts:start -->\nstale\n<!-- verdicts:end -->\nafter\n")
    for _ in range(2):
        assert main(["table", "--claims", str(claims_csv), "--into", str(readme)]) == 0
    text = readme.read_text()
    assert text.startswith("before\n<!-- verdicts:start -->\n\n| evidence")
    assert text.endswith("|\n\n<!-- verdicts:end -->\nafter\n")
    assert "stale" not in text
    readme.write_text("no marks")
    assert main(["table", "--claims", str(claims_csv), "--into", str(readme)]) == 2
    assert "<!-- verdicts:start -->" in capsys.readouterr().err
    assert readme.read_text() == "no marks"
