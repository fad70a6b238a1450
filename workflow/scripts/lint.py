"""Runs `snakemake --lint` as a gate: its remarks, less those that do not fit this workflow.

Each exception says why. Anything else that the linter finds is printed, with exit code 1.
"""

import re
import subprocess
import sys

EXCEPTIONS = {
    r"Specify a conda environment or container for each rule": (
        "one environment, locked with hashes, serves every rule (requirements.lock)"
    ),
    r"Param (results|out|work|notebooks) is a prefix of input or output file but hardcoded": (
        "the commands take a folder and find in it what is there; the workflow is made for a shared file system"
    ),
    r"Environment variable (PATH|PYTHONPATH|ALEXNET_DATA)\b.* used but not asserted": (
        "each is optional, so its absence is no error"
    ),
}


def remarks(text: str) -> list[tuple[str, str]]:
    """(where, title) of each remark in the linter's output."""
    where, found = "", []
    for line in text.splitlines():
        if match := re.match(r"Lints for (.*):$", line):
            where = match[1]
        elif match := re.match(r"    \* (.*?):?$", line):
            found.append((where, match[1]))
    return found


def main() -> int:
    """Exit code 0 if nothing but exceptions was found."""
    done = subprocess.run(["snakemake", "--lint"], capture_output=True, text=True)
    output = done.stdout + done.stderr
    found = remarks(output)
    if done.returncode and not found:
        print(output, file=sys.stderr)
        return 1
    left = [(where, title) for where, title in found if not any(re.match(e, title) for e in EXCEPTIONS)]
    for where, title in left:
        print(f"{where}: {title}")
    print(f"snakemake --lint: {len(left)} remarks, {len(found) - len(left)} more fall under listed exceptions")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
