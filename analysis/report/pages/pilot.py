"""Errors by learning rate in a study's pilot, and the factor chosen for each net."""

from __future__ import annotations

from analysis.report.page import Html, table
from analysis.results.evidence import Study


def pilot(study: Study) -> Html | None:
    """Validation error in % of each net of the pilot by the factor on its rates, the chosen one marked; None without a pilot."""
    about = study.record.get("pilot")
    if not about:
        return None
    tried = {name: {float(f): e for f, e in rate["tried"].items()} for name, rate in about["rates"].items()}
    factors = sorted({factor for errors in tried.values() for factor in errors})
    rows = []
    for name, errors in tried.items():
        chosen = float(about["rates"][name]["factor"])
        cells = [f"{100 * errors[f]:.1f}{' ✓' * (f == chosen)}" if f in errors else "–" for f in factors]
        rows.append([name, *cells, f"{chosen:g}"])
    rows += [[name, *["–"] * len(factors), f"that of {of}"] for name, of in about.get("at_rate_of", {}).items()]
    caption = (
        f"{study.title}: validation error in % of the pilot (seed {about['seed']}, {about['epochs']} epochs) by the factor on all "
        "learning rates of the recipe; ✓: chosen, the lowest. The pilot's runs enter no verdict."
    )
    return table(["Net", *(f"× {factor:g}" for factor in factors), "Chosen"], rows, caption)
