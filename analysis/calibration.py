"""Turns a calibration and a power table into files, and says whether they were made by the rule as it is now."""

from __future__ import annotations

import hashlib
import json
import time
from importlib.metadata import version
from pathlib import Path

from analysis.files import write_text

HERE = Path(__file__).resolve().parent
RULE = ("intervals", "inference", "verdicts", "convergence", "worlds", "simulation", "settings", "power")


def rule_sha256() -> str:
    """Checksum of the modules that a calibration depends on."""
    digest = hashlib.sha256()
    for name in RULE:
        digest.update((HERE / f"{name}.py").read_bytes())
    return digest.hexdigest()


def record(out: Path, power: Path | None, repeats: int, seed: int) -> None:
    """Write the calibration to `out`, what made it beside it (.json), and the power table to `power`."""
    from analysis.power import REPEATS, table
    from analysis.settings import all_settings
    from analysis.simulation import calibrate

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
        "rule_sha256": rule_sha256(),
        "packages": {name: version(name) for name in ("numpy", "scipy", "pandas")},
    }
    write_text(out.with_suffix(".json"), json.dumps(about, indent=1) + "\n")
