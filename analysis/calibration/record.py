"""Writes calibration and power tables, with what tells whether the rule still behaves as it did then."""

import time
from importlib.metadata import version
from pathlib import Path

from analysis.calibration.power import REPEATS, table
from analysis.calibration.scenarios import all_settings
from analysis.calibration.simulation import Setting, calibrate, verdicts_in
from analysis.files import write_json, write_text
from analysis.paper.claims import load_claims

SAMPLED = 100  # campaigns of one setting of each kind


def behaviour() -> list[str]:
    """What the rule says now in one setting of each kind and evidence: a line each, the same for the same rule."""
    claims = {claim.id: claim for claim in load_claims()}
    by_kind: dict[tuple[str, str], list[Setting]] = {}
    for setting in all_settings():
        by_kind.setdefault((setting.kind, setting.evidence), []).append(setting)
    lines = []
    for (kind, evidence), settings in by_kind.items():
        for setting in settings[:: max(1, len(settings) // 3)]:
            counts = sorted(verdicts_in(setting, claims, SAMPLED, 1).items())
            said = (f"{n} {' and '.join(filter(None, words))}" for words, n in counts)
            lines.append(f"{kind}, {evidence}: {', '.join(said)}")
    return lines


def record(out: Path, power: Path | None, repeats: int, seed: int) -> None:
    """Write the calibration to `out`, what made it beside it (.json), and the power table to `power`."""
    start = time.monotonic()
    calibrated = calibrate(all_settings(), repeats, seed)
    write_text(out, calibrated.to_csv(index=False, float_format="%.9g", lineterminator="\n"))
    command = f"python -m analysis calibrate --out {out.name} --repeats {repeats} --seed {seed}"
    if power:
        powers = table(REPEATS, seed)
        write_text(power, powers.to_csv(index=False, float_format="%.9g", lineterminator="\n"))
        command += f" --power {power.name}"
    about = {
        "command": command,
        "repeats": repeats,
        "seed": seed,
        "power_repeats": REPEATS if power else None,
        "settings": len(calibrated),
        "seconds": round(time.monotonic() - start),
        "behaviour": behaviour(),
        "packages": {name: version(name) for name in ("numpy", "scipy", "pandas")},
    }
    write_json(out.with_suffix(".json"), about, indent=1)
