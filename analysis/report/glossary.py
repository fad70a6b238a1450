"""The glossary: verdicts, strengths of evidence, kinds of experiments and measures."""

from analysis.report.page import Html, render
from analysis.verdicts.labels import EVIDENCE, LABELS, STRENGTH


def glossary() -> Html:
    """All terms, folded away; words of verdicts and of evidence as their tables say them, the strongest evidence first."""
    evidence = [(name, EVIDENCE[name]) for name in reversed(STRENGTH)]
    return render("glossary.html.j2", labels=LABELS.values(), evidence=evidence)
