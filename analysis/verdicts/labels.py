"""The words of the verdict table, each with its mark, its colour, its meaning and how a sentence says it: the one place for all.

A word is a label of two axes, direction and size (`stats.axes`), and of the evidence. "Replicated" is the word of the ACM (artifact
review, version 1.1) and of ReScience for a result that an independent implementation obtains again, as this bench is one;
"reproduced" would mean that the authors' own program was run again.
"""

from dataclasses import dataclass

from analysis.stats import axes


@dataclass(frozen=True)
class Label:
    """One word; `tone` names its colour in the template, `said` is the predicate for one claim and for several."""

    word: str
    mark: str
    tone: str
    means: str
    said: tuple[str, str]


REPLICATED, NOT_REPLICATED = "replicated", "not replicated"
AGREES, CONTRADICTS = "direction agrees", "direction contradicts"
NOT_SHOWN, CANNOT_TELL, HOLDS, HOLDS_NOT = axes.NOT_SHOWN, axes.CANNOT_TELL, "holds", "does not hold"
MISCOUNTS, DIFFERS = "paper miscounts", "text differs from program"
PENDING, NOT_TESTABLE, CITED = "pending", "not testable", "cited"

LABELS = {
    label.word: label
    for label in (
        Label(REPLICATED, "✓", "good", "At the paper's scale, by this independent implementation: direction agrees (where there is one) and size matches: the 95 % interval lies on the paper's side of no effect, the 90 % interval within the range that counts as the paper's value.", ("is replicated", "are replicated")),
        Label(HOLDS, "✓", "good", "Untrained: the count agrees with the printed number, text and authors' program agree, or a document says the same.", ("holds without training", "hold without training")),
        Label(AGREES, "↗", "mild", "The 95 % interval lies on the paper's side of no effect. Says nothing about the size, which at the paper's scale differs or is not settled.", ("agrees in direction with the paper", "agree in direction with the paper")),
        Label(NOT_SHOWN, "○", "odd", "The 95 % interval includes no effect, and the 90 % interval leaves out the paper's: what was measured has another size than printed, nearly always a smaller one, and its direction is open.", ("shows no effect of the printed size", "show no effect of the printed size")),
        Label(CONTRADICTS, "↘", "bad", "On lesser evidence: the 95 % interval lies on the other side of no effect.", ("contradicts the paper's direction", "contradict the paper's direction")),
        Label(NOT_REPLICATED, "✗", "bad", "At the paper's scale: the 95 % interval lies on the other side of no effect, or shows no side and misses the range that counts as the paper's value.", ("is not replicated", "are not replicated")),
        Label(HOLDS_NOT, "✗", "bad", "Untrained: the count disagrees with the printed number, and nothing explains it.", ("does not hold", "do not hold")),
        Label(MISCOUNTS, "≠", "odd", "The printed number contradicts other numbers of the paper, or of the files that it points to.", ("is a miscount of the paper", "are miscounts of the paper")),
        Label(DIFFERS, "≠", "odd", "The text describes a setting that the authors' program does not have.", ("differs from the authors' program", "differ from the authors' program")),
        Label(CANNOT_TELL, "~", "", "Measured, but the numbers, or the way they were obtained, decide neither way; they may still lean to one side. The reason stands in its row.", ("is undecided", "are undecided")),
        Label(PENDING, "…", "", "Not run yet, or an absolute number that only the paper's own data at full size can test.", ("is pending", "are pending")),
        Label(NOT_TESTABLE, "∅", "", "A definition or a statement without a measure; the reason stands in its row.", ("cannot be tested", "cannot be tested")),
        Label(CITED, "”", "", "The paper quotes somebody else's result.", ("is quoted", "are quoted")),
    )
}  # fmt: skip
FOR = (REPLICATED, AGREES)  # words of measured claims that speak for the paper
AGAINST = (NOT_REPLICATED, CONTRADICTS)
OPEN = (CANNOT_TELL, NOT_SHOWN)
COUNTED = (HOLDS, HOLDS_NOT, MISCOUNTS, DIFFERS)
WEAK = (AGREES, NOT_SHOWN, CONTRADICTS, CANNOT_TELL, PENDING)


@dataclass(frozen=True)
class Evidence:
    """What a verdict rests on: beside a count, in a sentence, and the words that it can say."""

    short: str
    means: str
    words: tuple[str, ...]


EVIDENCE = {  # the weakest first
    "": Evidence("no evidence", "", (PENDING, NOT_TESTABLE, CITED)),
    "demo": Evidence("demo data", "Pictures that the bench generates; proves the machinery and says nothing about ImageNet.", WEAK),
    "proxy": Evidence("proxy data", "Real pictures of other data than the paper's.", WEAK),
    "reduced scale": Evidence("paper's data, reduced", "The paper's data with a smaller network, smaller pictures, fewer classes or a shorter training, or a lossy copy of them.", WEAK),
    "document": Evidence("by a document", "Settled by reading: a line of the authors' program, or a page of the time, says the same; nothing is run.", (HOLDS,)),
    "arithmetic": Evidence("untrained", "Counted on the full-size network, or read in the authors' program; nothing is trained.", (*COUNTED, NOT_TESTABLE)),
    "paper scale": Evidence("paper scale", "The paper's data, the full network, the full training (or, on CIFAR-10, until the mark is reached).", (REPLICATED, AGREES, NOT_SHOWN, NOT_REPLICATED, CANNOT_TELL, PENDING, HOLDS, HOLDS_NOT)),
}  # fmt: skip
STRENGTH = tuple(EVIDENCE)
# measured, on less than the paper's data and size
LESSER = tuple(name for name, evidence in EVIDENCE.items() if evidence.words is WEAK)
MEASURED = (*LESSER, "paper scale")
ALLOWED = {name: evidence.words for name, evidence in EVIDENCE.items()}


def label(direction: str, size: str, evidence: str) -> str:
    """The word for a measured number by its two axes; lesser evidence than the paper's scale knows no size."""
    if evidence != "paper scale":
        return {"": PENDING, axes.AGREES: AGREES, axes.CONTRADICTS: CONTRADICTS}.get(direction, direction)
    if direction in ("", axes.AGREES) and size == axes.MATCHES:
        return REPLICATED
    if direction == axes.AGREES:
        return AGREES
    if direction == axes.CONTRADICTS or size == axes.DIFFERS:
        return NOT_REPLICATED
    return direction or CANNOT_TELL
