"""The glossary: each word that a verdict, a study or the report can show is explained, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from alexnet.experiments import definitions
from analysis.report import glossary
from analysis.text import plural, series, tally
from analysis.verdicts.labels import ALLOWED, EVIDENCE, LABELS

CONFIG = Path(__file__).resolve().parent.parent / "config"


def test_every_verdict_strength_of_evidence_and_kind_is_explained():
    assert {word for allowed in ALLOWED.values() for word in allowed} == set(LABELS)
    style = (Path(glossary.__file__).parent / "template" / "style.css").read_text()
    assert all(f".v-{label.tone} " in style for label in LABELS.values() if label.tone)
    assert all(label.means and label.mark and len(label.said) == 2 for label in LABELS.values())
    assert all(evidence.short and evidence.words for evidence in EVIDENCE.values())
    assert [name for name, evidence in EVIDENCE.items() if not evidence.means] == [""]
    experiments = definitions.load(str(CONFIG))["experiments"]
    kinds = glossary.glossary().partition("Kinds of experiments")[2].partition("</dl>")[0]
    assert set(re.findall(r"<dt><b>(.*?)</b>", kinds)) == {about["kind"] for about in experiments.values()}


def test_the_glossary_holds_all_terms_folded_away():
    html = glossary.glossary()
    terms = [*LABELS, *filter(None, EVIDENCE)]
    assert html.count("<dt>") == html.count("<dd>") > len(terms) + 15
    assert html.startswith("<details>") and all(f"{term}<" in html for term in terms)


def test_counts_read_as_english_at_zero_one_two_and_many() -> None:
    assert [plural(n, "run") for n in (0, 1, 2, 1234)] == ["0 runs", "1 run", "2 runs", "1,234 runs"]
    words = ["a", "b", "c", "d"]
    assert [series(words[:n]) for n in (0, 1, 2, 4)] == ["", "a", "a and b", "a, b, c and d"]
    said = (("is worse", "are worse"), ("is better", "are better"), ("is open", "are open"))

    def sentence(*counts: int) -> str:
        return tally((n, *words) for n, words in zip(counts, said, strict=True))

    assert (
        sentence(0, 0, 0) == ""
        and sentence(1, 0, 0) == "1 is worse"
        and sentence(0, 2, 1) == "2 are better and 1 is open"
    )
    assert sentence(1, 2, 3) == "1 is worse, 2 are better and 3 are open"
