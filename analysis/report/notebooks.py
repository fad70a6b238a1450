"""Executes a notebook on a results folder; the copy exists only if every cell ran."""

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from analysis.errors import UserError
from analysis.files import write_text

RESULTS, CLAIMS = "ALEXNET_RESULTS", "ALEXNET_CLAIMS"  # variables of the environment that name what a page is about
TIMEOUT = 600  # seconds a cell may take
ROOM = 87  # bytes of a temporary folder below which sockets can be made: the system takes 107 of their whole path


def execute(notebook: Path, results: Path, claims: Path, out: Path) -> None:
    """Run `notebook` in a kernel of its own and write the executed copy to `out`.

    The kernel finds `results` and the verdict table `claims` through environment variables, whatever its working
    directory. It talks through sockets in a private folder, not through ports. Kernel and settings are those of this
    Python, whatever kernels, start-up files and styles of plots the user has.

    Raises:
        UserError: the notebook cannot be read, a cell failed (the half-executed copy lies beside `out` with the
            ending .failed.ipynb), or the kernel did not start or died.
    """
    import nbformat
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    book = _read(notebook)
    for path, name in ((results, "results folder"), (claims, "verdict table")):
        if not path.exists():
            raise UserError(f"{name} {path} does not exist; make it (`python -m analysis check` writes the table)")
    failed = out.with_suffix(".failed.ipynb")
    place = tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(prefix="nb-", dir=place if len(os.fsencode(place)) <= ROOM else "/tmp"))
    try:
        _run(book, folder, results.resolve(), claims.resolve())
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        write_text(failed, nbformat.writes(book))
        raise UserError(f"{notebook}: {_sentence(book, error)}; the half-executed copy is {failed}") from None
    except (OSError, RuntimeError) as error:
        raise UserError(f"{notebook}: the kernel did not start ({_plain(error)})") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    failed.unlink(missing_ok=True)
    write_text(out, nbformat.writes(book))


def _read(path: Path) -> Any:
    import nbformat

    try:
        return nbformat.read(path, as_version=4)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, KeyError, AttributeError, nbformat.ValidationError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{path} is not a notebook ({reason})") from None


def _run(book: Any, folder: Path, results: Path, claims: Path) -> None:
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    own = KernelSpecManager(kernel_dirs=[])  # the kernel of this Python, not one elsewhere of the same name
    manager = AsyncKernelManager(transport="ipc", kernel_spec_manager=own, connection_file=str(folder / "k.json"))
    package = Path(__file__).resolve().parents[2]
    paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        RESULTS: str(results),
        CLAIMS: str(claims),
        "PYTHONPATH": os.pathsep.join(paths),
        "IPYTHONDIR": str(folder),  # no history, no start-up files of the user
        "PYTHONSTARTUP": "",
        "MPLBACKEND": "agg",
        "MATPLOTLIBRC": os.devnull,
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    client = NotebookClient(book, timeout=TIMEOUT, km=manager, resources={"metadata": {"path": str(package)}})
    client.execute(env=environment, cleanup_kc=True)
    for cell in book.cells:  # times of this execution would make every copy differ
        cell.metadata.pop("execution", None)


def _sentence(book: Any, error: Exception) -> str:
    """Which cell failed and the exception in one line."""
    for number, cell in enumerate(book.cells, start=1):
        for output in cell.get("outputs", []):
            if output.get("output_type") == "error":
                return f"cell {number} failed with {output['ename']}: {_plain(output['evalue'])}"
    return f"it stopped with {type(error).__name__}: {_plain(error)}"


def _plain(error: object) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
    return " ".join(text.splitlines()[-1].split()) if text else type(error).__name__
