"""The glossary: verdicts, strengths of evidence, kinds of experiments and measures."""

from __future__ import annotations

from analysis.report.badges import badge
from analysis.report.page import Html, folded, joined, say, stack
from analysis.verdicts.labels import EVIDENCE, LABELS, STRENGTH

TERMINOLOGY = (
    "A verdict names two things: the direction of an effect (agrees, not shown, contradicts, cannot tell) and its size (matches, "
    "differs, unknown). Replicated is meant as the ACM and ReScience mean it: this is an independent implementation; to reproduce "
    "would be to run the authors' own program again."
)
KINDS = {
    "base": "The network that the others are compared with.",
    "ablation": "The base with one part taken away, or one choice of the paper undone.",
    "departure": "The base with one point of the printed text in place of what the authors' program does.",
    "variant": "The base with another reading of the text.",
    "recipe": "A complete set of settings: the printed text, the authors' program, or another source.",
    "race": "A net of Fig. 1, at several learning rates, until its running training error falls to the mark.",
}
TERMS = {
    "top-1, top-5 error": "Share of test images whose true class is not the first, or not among the first five, of the net's answers.",
    "centre view, ten views": "Each image is seen once, cut from its middle; or ten times, from its corners and middle and mirrored, and the "
    "ten outputs are averaged (section 4.1).",
    "running training error": "Mean error of an epoch's minibatches while the net learns from them, so it lags behind the net.",
    "mark": "Where the paper says a direction, or \"several\", in words: the number that counts as it, chosen before any run. Of a race: "
    "the training error that ends it.",
    "lossy copy": "The paper's images, but packed again as JPEG; stands beside a verdict until the official archive is used.",
    "points": "Difference of two percentages.",
    "seed": "Number from which a run draws its initial weights, its order of images and its noise. Runs that differ only in it show how much is luck.",
    "interval": "Range that holds the true value in 95 of 100 repetitions of all this, with the noise of seeds and of test images.",
    "bound (≥, ≤)": "Some run never reached its mark, so the number is only known to be at least, or at most, this.",
    "tower": "Half of the network, on a device of its own; the two exchange their maps at some layers (section 3.2).",
    "LRN": "Local response normalisation (section 3.3).",
    "lab log": "What the authors' own files of 2012 recorded.",
    "thread-hours": "Hours of a run times the processor threads that it had.",
}  # fmt: skip


def glossary() -> Html:
    """All terms, folded away."""
    verdicts = _terms([(badge(label.word, ""), label.means) for label in LABELS.values()])
    evidence = {name: EVIDENCE[name].means for name in reversed(STRENGTH) if name}
    groups = (("Evidence", evidence), ("Kinds of experiments", KINDS), ("Measures", TERMS))
    rest = (
        Html("<h4>{}</h4>{}").format(
            title, _terms([(Html("<b>{}</b>").format(word), text) for word, text in found.items()])
        )
        for title, found in groups
    )
    return folded("What the words mean", stack(Html("<h4>Verdicts</h4>"), say(TERMINOLOGY), verdicts, *rest))


def _terms(rows: list[tuple[Html, str]]) -> Html:
    return Html("<dl>{}</dl>").format(joined(Html("<dt>{}</dt><dd>{}</dd>").format(*row) for row in rows))
