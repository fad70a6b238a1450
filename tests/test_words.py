"""The glossary: each word that a verdict, a study or the report can show is explained, and no other."""

from __future__ import annotations

from pathlib import Path

import yaml

from analysis import summary, words
from analysis.cells import MARKS

CONFIG = Path(__file__).resolve().parent.parent / "config" / "experiments.yaml"


def test_every_verdict_strength_of_evidence_and_kind_is_explained():
    assert set(words.VERDICTS) == set(MARKS)
    assert set(words.EVIDENCE) == set(summary.EVIDENCE) - {""}
    experiments = yaml.safe_load(CONFIG.read_text())["experiments"]
    assert set(words.KINDS) == {about["kind"] for about in experiments.values()}


def test_the_glossary_holds_all_terms_folded_away():
    html = words.glossary()
    terms = [*words.VERDICTS, *words.EVIDENCE, *words.KINDS, *words.TERMS]
    assert html.count("<dt>") == html.count("<dd>") == len(terms)
    assert html.startswith("<details>") and all(f"{term}<" in html for term in terms)
