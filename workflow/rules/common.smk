# The plan of all rules (workflow/plan.py), the environment of their jobs, and what happens when they start or fail.
import json
import os
import subprocess
import sys
from pathlib import Path

from snakemake.utils import validate

# The bench is imported from the folder of this workflow, and `python` in a rule is the Python that runs Snakemake.
ROOT = Path(workflow.current_basedir).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
os.environ.setdefault("USER", str(os.getuid()))  # Snakemake asks; in containers an id may have no name

from alexnet.experiments import definitions
from alexnet.experiments.resolve import fingerprint
from alexnet.runtime import gpu_leases, interruption, workflow_lock
from workflow import snakemake_internals as internals
from workflow.mistakes import Checked, checked
from workflow.plan import Plan, words

# Jobs end, at their next checkpoint, with the process that started them.
os.environ[interruption.WORKFLOW] = str(os.getpid())
internals.limit(
    workflow, "gpu", max(1, len(gpu_leases.cards()))
)  # as many runs at once as there are cards for

checked(definitions.check)(config, "config", "config")
validate(config, "../schemas/config.schema.yaml")

plan = Checked(checked(Plan)(ROOT, config, checkpoints))
RESULTS, DEFINITIONS, STUDIES, KNOWN, ROOM = plan.results, plan.folder, plan.studies, plan.known, plan.room
CLAIMS_OUT = str(Path(config["report"]).with_name("claims.csv"))

# Where archives are searched. In the environment and not in params: moving archives repacks nothing.
os.environ["ALEXNET_DATA"] = os.pathsep.join(plan.archives)
os.environ.update(ALEXNET_DOWNLOADS=json.dumps(config["downloads"]))
os.environ.update(ALEXNET_REPACKED=os.pathsep.join(config["repacked"]))

if internals.is_main(workflow):
    workflow_lock.remove_torn(Path(RESULTS))
LOCKS = []  # held until this process ends


wildcard_constraints:
    study="[A-Za-z0-9_]+",
    experiment="[a-z0-9_]+",
    seed="0|[1-9][0-9]*",
    race="[a-z0-9_]+",
    set="[A-Za-z0-9_]+",
    split="train|val|test",
    page="[A-Za-z0-9_]+",


def hold_results():
    """Hold the results folder, unless all that is made is a draft of what is there."""
    draft = {"draft", "describe", "study", "departures", "preflight"}
    if internals.is_main(workflow) and not internals.planned(workflow) <= draft:
        LOCKS.append(checked(workflow_lock.take)(Path(RESULTS)))


def report_of_the_rest():
    """After a failed job the report of everything else, if a report was asked for, and a sentence about each failure.

    Jobs that were told to end have not failed.
    """
    failed = sorted(internals.failed_logs(workflow).items())
    failed = [(log, line) for log, line in failed if not interruption.is_word_of(line)]
    if not failed or "report" not in internals.asked_for(workflow):
        return
    settings = Path(RESULTS, "draft", "config.json")
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(json.dumps(dict(config)))
    call = ["--cores", "1", "--nolock", "--quiet", "all", "--configfile", str(settings)]
    done = subprocess.run([sys.executable, "-m", "snakemake", *call, "--", "draft"])
    for log, line in failed:
        print(f"failed: {log}: {line}", file=sys.stderr)
    if done.returncode == 0:
        made = Path(config["report"]).parent / "draft" / Path(config["report"]).name
        print(f"the report without what failed: {made}", file=sys.stderr)
