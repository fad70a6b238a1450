"""Writes the files beside the report: claims.csv, claims.json and an RO-Crate.

The crate (ro-crate-metadata.json) says what each file is and how it was made, by the profiles Process Run Crate,
Workflow Run Crate and Workflow RO-Crate. The folder can be deposited as it is. One action stands for the runs of each study;
single steps are not described.
"""

import datetime as dt
import hashlib
import json
import math
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.files import write_text
from analysis.results.evidence import Results, Study
from analysis.verdicts.table import NUMERIC

WORKFLOW = Path(__file__).resolve().parents[2] / "workflow" / "Snakefile"
LICENSE = "https://spdx.org/licenses/BSD-2-Clause"
PAPER = "https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks"
DESCRIPTION = "Report of a run of the AlexNet reproducibility bench: a verdict on each claim of the paper of 2012."
PROFILES = [
    ("https://w3id.org/ro/wfrun/process/0.6", "Process Run Crate", "0.6"),
    ("https://w3id.org/ro/wfrun/workflow/0.6", "Workflow Run Crate", "0.6"),
    ("https://w3id.org/workflowhub/workflow-ro-crate/1.1", "Workflow RO-Crate", "1.1"),
]
ABOUT = {  # file beside the report -> format, what it is
    "claims.csv": ("text/csv", "The verdict on each claim: paper, lab log, ours with interval, evidence"),
    "claims.json": ("application/json", "The same, with the runs behind each claim"),
    "workflow.smk": ("text/plain", "The main file of the workflow that made the results, as it is in its repository"),
}  # fmt: skip


def write_beside(report: Path, title: str, claims: Path, table: pd.DataFrame, results: Results | None) -> None:
    """Write the files beside `report`, each atomically, the crate last.

    Args:
        claims: file that `table` was read from.
        results: what the verdicts stand on; None: the files then say nothing of runs and data.

    Raises:
        UserError: a file cannot be written.
    """
    folder = report.parent
    if (folder / "claims.csv").resolve() != claims.resolve():
        write_text(folder / "claims.csv", claims.read_text(encoding="utf-8"))
    write_text(folder / "claims.json", _json(claims_record(title, table, results)))
    write_text(folder / "workflow.smk", WORKFLOW.read_text(encoding="utf-8"))
    write_text(folder / "ro-crate-metadata.json", _json(crate(report, title, claims, results)))


def _json(record: dict[str, Any]) -> str:
    return json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


# claims.json ------------------------------------------------------------------------------------------------------


def claims_record(title: str, table: pd.DataFrame, results: Results | None) -> dict[str, Any]:
    """The verdict table as a record; absent values are null, infinite ends of intervals the text `inf`."""
    claims = []
    for row in table.to_dict("records"):
        record = {str(key): _plain(str(key), value) for key, value in row.items()}
        names = [*row["experiment"].split(), *row["baseline"].split()]
        record["runs"] = _runs(results, row["study"], names) if results and row["study"] else []
        claims.append(record)
    studies = [_study(results, study) for study in results.studies.values()] if results else []
    counts = table.groupby(["evidence", "verdict"]).size().items()
    counted = [{"evidence": of or None, "verdict": verdict, "claims": int(n)} for (of, verdict), n in counts]
    return {"format": 1, "title": title, "studies": studies, "counts": counted, "claims": claims}


def _plain(key: str, value: Any) -> Any:
    """Null for what is absent, a number where the text is one; values that are lists or shapes stay text."""
    if key in NUMERIC:
        return None if math.isnan(value) else float(value) if math.isfinite(value) else "inf"
    with suppress(ValueError):
        return float(value) if key in ("paper", "ours") else value or None
    return value or None


def _runs(results: Results, study: str, names: list[str]) -> list[dict[str, Any]]:
    code, rest = ("git_commit", "code_sha256"), ("config_fingerprint", "data_fingerprint", "weights_sha256")
    return [
        {"experiment": name, "seed": seed}
        | {key: run.get("provenance", {}).get(key) for key in code}
        | {key: run.get(key) for key in rest}
        for (of, name, seed), run in sorted(results.runs.items())
        if of == study and name in names
    ]


def _study(results: Results, study: Study) -> dict[str, Any]:
    runs = [run for key, run in results.runs.items() if key[0] == study.name]
    return {
        "name": study.name,
        "title": study.title,
        "tier": study.tier,
        "data": study.data,
        "finished_runs": len(runs),
        "wall_seconds": round(sum(run.get("wall_seconds") or 0 for run in runs), 1),
    }


# RO-Crate ---------------------------------------------------------------------------------------------------------


def crate(report: Path, title: str, claims: Path, results: Results | None) -> dict[str, Any]:
    """The metadata of the folder of the report, as JSON-LD."""
    from rocrate.model.contextentity import ContextEntity
    from rocrate.rocrate import ROCrate

    folder = report.parent
    made = ROCrate(version="1.3")
    end = _times(results.runs.values() if results else ()).get("endTime")
    end = end or dt.datetime.fromtimestamp(int(claims.stat().st_mtime), dt.UTC).isoformat()
    made.name = title
    made.description = DESCRIPTION
    terms = {"@type": "CreativeWork", "name": "BSD 2-Clause License", "description": "Use with the notice kept"}
    made.license = made.add(ContextEntity(made, LICENSE, terms))
    made.datePublished = end
    profiles = [
        made.add(ContextEntity(made, url, {"@type": ["CreativeWork", "Profile"], "name": name, "version": version}))
        for url, name, version in PROFILES
    ]
    made.root_dataset["conformsTo"] = profiles
    article = {"@type": "ScholarlyArticle", "name": "ImageNet Classification with Deep Convolutional Neural Networks"}
    made.root_dataset["about"] = made.add(ContextEntity(made, PAPER, article))
    workflow = made.add_workflow(
        folder / "workflow.smk",
        "workflow.smk",
        main=True,
        lang="snakemake",
        lang_version=re.findall(r'^min_version\("(.+)"\)', WORKFLOW.read_text(encoding="utf-8"), re.MULTILINE)[0],
        properties=_file(folder / "workflow.smk", *ABOUT["workflow.smk"]) | {"name": "AlexNet reproducibility bench"},
    )
    kinds = {report.name: ("text/html", title), **ABOUT}
    files = [
        made.add_file(folder / name, name, properties=_file(folder / name, *kinds[name]))
        for name in (report.name, "claims.csv", "claims.json")
    ]
    if results and results.studies:
        for study in results.studies.values():
            _action(made, workflow, files, results, study)
    else:
        made.add_action(workflow, "#report", result=files, properties={"name": "Report", "endTime": end})
    made.root_dataset["mentions"] = made.get_by_type("CreateAction")
    generated: dict[str, Any] = made.metadata.generate()
    return generated


def _file(path: Path, kind: str, description: str) -> dict[str, Any]:
    data = path.read_bytes()
    about = {"contentSize": str(len(data)), "sha256": hashlib.sha256(data).hexdigest()}
    return {"name": path.name, "description": description, "encodingFormat": kind} | about


def _action(made: Any, workflow: Any, files: list[Any], results: Results, study: Study) -> None:
    """The execution of the workflow for one study: archives in, report out, from the first start to the last end."""
    from rocrate.model.contextentity import ContextEntity

    archives = []
    for (of, _), manifest in results.manifests.items():
        for archive in manifest.get("archives", []) if of == study.name else ():
            about = {
                "@type": "CreativeWork",  # not in the folder, and nowhere to be fetched without an account
                "name": archive["file"],
                "contentSize": str(archive["bytes"]),
                "sha256": archive["sha256"],
            }
            url = f"urn:hash::sha256:{archive['sha256']}"
            archives.append(made.dereference(url) or made.add(ContextEntity(made, url, about)))
    runs = [run for key, run in sorted(results.runs.items()) if key[0] == study.name]
    commits = sorted({str(run.get("provenance", {}).get("git_commit")) for run in runs} - {"None"})
    about = {
        "name": f"Study {study.name}: {study.title}",
        "description": f"{study.data} {len(runs)} finished runs, made at commits: {', '.join(commits) or 'unknown'}.",
    }
    made.add_action(
        workflow,
        f"#study-{study.name}",
        object=archives[0] if len(archives) == 1 else archives,
        result=files,
        properties=about | _times(runs),
    )


def _times(runs: Iterable[dict[str, Any]]) -> dict[str, str]:
    """First start and last end of all sessions, ISO 8601, as properties of an action; what is not recorded is left out."""
    sessions = [session for run in runs for session in run.get("sessions", [])]
    begun, ended = ([str(of[key]) for of in sessions if of.get(key)] for key in ("started", "finished"))
    return ({"startTime": min(begun)} if begun else {}) | ({"endTime": max(ended)} if ended else {})
