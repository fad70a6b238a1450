"""What the workflow takes from inside of Snakemake, because its public surface has nothing like it.

A test runs each of these under the version that is installed, and fails for one that was not seen.
"""

from pathlib import Path
from typing import Any

SEEN = ("9.27.1",)  # versions of Snakemake under which all of this worked


def is_main(workflow: Any) -> bool:
    """Whether this is the process that was called, and not one of its jobs."""
    return bool(workflow.is_main_process)


def limit(workflow: Any, resource: str, most: int) -> None:
    """Let jobs take so much of a resource together, if the command line and the profile do not say."""
    if is_main(workflow) and resource not in workflow.global_resources:
        workflow.register_resource(resource, type(workflow.global_resources["_cores"])(resource, most))


def explain(workflow: Any, rule: str, text: str) -> None:
    """Give a rule that was made in a loop the line that `--list-target-rules` shows of it."""
    workflow.get_rule(rule).docstring = text


def planned(workflow: Any) -> set[str]:
    """Names of the rules that will run. For `onstart`."""
    return {job.rule.name for job in workflow.dag.needrun_jobs()}


def asked_for(workflow: Any) -> set[str]:
    """Names of all rules that the targets stand on, done or not. For `onerror`."""
    return {job.rule.name for job in workflow.dag.jobs}


def failed_logs(workflow: Any) -> dict[Path, str]:
    """Logs of the jobs that failed, with the last line of each. For `onerror`."""
    logs = [Path(str(job.log[0])) for job in workflow.scheduler.failed if job.log]
    return {log: (log.read_text().splitlines() or [""])[-1] for log in logs if log.exists()}
