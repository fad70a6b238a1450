"""The page of runs that were trained again."""

from __future__ import annotations

from analysis.report.page import Html, heading, say, stack, table
from analysis.results.evidence import Results
from analysis.results.reruns import recorded
from analysis.text import plural


def page(results: Results) -> Html | None:
    """The recorded reruns as a table below a sentence that counts them; none yet: nothing."""
    found = recorded(results)
    if not found:
        return None
    like = [one for one in found if not one.differs]
    kinds = {(one.key[0], results.studies[one.key[0]].kind(one.key[1])) for one in like}
    said = (
        f"{plural(len(like), 'run')} of {plural(len(kinds), 'kind')} {'was' if len(like) == 1 else 'were'} trained again from the start on the same "
        f"type of processor with the same code, torch and number of threads: {sum(one.same for one in like)} of {len(like)} ended with the "
        "same weights, bit for bit."
    )
    others = [one for one in found if one.differs]
    more = f"Of {len(others)} with something else, which the table names, {sum(one.same for one in others)} did."
    rows = [
        [
            " / ".join(map(str, one.key)),
            results.studies[one.key[0]].kind(one.key[1]),
            one.words,
            one.differs or "nothing",
            str(one.rerun["finished"])[:10],
            Html("<code>{}</code>").format(str(one.rerun["git_commit"])[:10]),
        ]
        for one in found
    ]
    heads = ["Run", "Kind", "Result", "What was different", "When", "Commit"]
    return stack(
        heading("Trained again"),
        say(*([said] if like else []), *([more] if others else [])),
        table(heads, rows, "Published runs that were trained a second time"),
    )
