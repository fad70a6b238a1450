"""Puts the files of the project into the wheel, from where `alexnet-bench init` takes them."""

import gzip
import tarfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

FILES = ["Containerfile", "Makefile", "Snakefile", "LICENSE", "CITATION.cff", "pyproject.toml", "setup.py"]
FILES += [
    "*.md",
    "requirements*.lock",
    "alexnet",
    "analysis",
    "config",
    "docs",
    "profiles",
    "reports/reference",
    "workflow",
]


def plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """The same bytes from the same files, whoever builds; no compiled files and nothing that a run left."""
    if member.name.endswith((".pyc", "__pycache__", "~")):
        return None
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return member


class BuildWithProject(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        out = Path(self.build_lib, "alexnet", "runtime", "project.tar.gz")
        with gzip.GzipFile(out, "wb", mtime=0) as stream, tarfile.open(fileobj=stream, mode="w") as archive:
            for pattern in FILES:
                for path in sorted(Path().glob(pattern)):
                    archive.add(path, filter=plain)


setup(cmdclass={"build_py": BuildWithProject})
