"""`alexnet-bench init DIR`: the project's files from an installed wheel, for who has no clone."""

import argparse
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

from alexnet.errors import UserError

FILES = Path(__file__).with_name("project.tar.gz")  # setup.py puts it into the wheel
PACKAGE = "alexnet-reproducibility-bench"


def init(folder: Path) -> None:
    """Write workflow, definitions, code and published results into `folder`, which is new or empty.

    UserError if the folder holds something or cannot be written, or the bench was not installed from a wheel.
    """
    if not FILES.exists():
        raise UserError(f"{Path(__file__).parents[2]} is a clone and holds all files already; run snakemake there")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UserError(f"{folder} is not empty; name a new folder")
        with tarfile.open(FILES) as archive:
            archive.extractall(folder, filter="data")
    except OSError as error:
        raise UserError(f"cannot write to {error.filename or folder}: {error.strerror or error}") from None


def main() -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="alexnet-bench", description="Checks the numbers of the AlexNet paper.")
    parser.add_argument("--version", action="version", version=f"{PACKAGE} {version(PACKAGE)}")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("init", help="write the project's files into a new folder")
    verb.add_argument("folder", type=Path, metavar="DIR")
    folder = parser.parse_args().folder
    try:
        init(folder)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"Written. Next: cd {folder}, then `snakemake --cores all`; what else there is, README.md says.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
