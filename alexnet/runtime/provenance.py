"""Which code and which computer made a result."""

import datetime
import os
import platform
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from alexnet.runtime import fingerprint

PACKAGE = Path(__file__).resolve().parents[1]
# of the environment: what libraries take instructions, and so rounding, from
ARITHMETIC = (
    "ATEN_CPU_CAPABILITY", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "NUMBA_CPU_NAME", "NVIDIA_TF32_OVERRIDE",
    "ONEDNN_DEFAULT_FPMATH_MODE", "ONEDNN_MAX_CPU_ISA",
)  # fmt: skip
PACKAGES = ("torch", "torchvision", "numpy", "numba", "pillow", "pandas", "snakemake")


def _git(*arguments: str) -> str | None:
    """What git says of the checkout that this package is in; None where it is in none, whatever repository is around it."""
    if not (PACKAGE.parent / ".git").exists():
        return None
    ours = {
        name: value for name, value in os.environ.items() if name not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    }
    own = ["git", "-c", f"safe.directory={PACKAGE.parent}"]  # whoever owns it: its code runs here already
    how: dict[str, Any] = {"cwd": PACKAGE.parent, "env": ours, "capture_output": True, "text": True, "timeout": 20}
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run([*own, *arguments], check=True, **how).stdout.strip()
    return None


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def collect(stage: str) -> dict[str, Any]:
    """Commit, dirtiness, hash of the code, Python, packages, platform, processor, cores, and variables that choose arithmetic. Null where unknown.

    Args:
        stage: of `alexnet.runtime.fingerprint.STAGES`, whose code it is.
    """
    status = _git("status", "--porcelain", "--untracked-files=no")
    return {
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": None if status is None else bool(status),
        "code_sha256": fingerprint.code_sha256(stage),
        "python": sys.version.split()[0],
        "packages": {name: version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "arithmetic": {name: os.environ[name] for name in ARITHMETIC if name in os.environ},
    }


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
