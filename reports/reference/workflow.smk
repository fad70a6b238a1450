# archives -> packed data -> runs -> evaluations -> verdicts -> notebooks -> reports/alexnet.html
#
#   snakemake --cores all            everything that config/config.yaml asks for
#   snakemake --cores all no_lrn     one experiment, its base, and the verdicts that they feed
#   snakemake --list-target-rules    all targets, a line each
import os
import sys

from snakemake.utils import min_version

min_version("9.19")

if not os.path.exists("config/config.yaml") or not os.path.exists(
    os.path.join(workflow.current_basedir, "plan.py")
):
    print(
        "error: the working directory lacks config/config.yaml, or the workflow lacks its code (as with gh: addresses);"
        " run snakemake in a clone, or in a folder made by `alexnet-bench init DIR`",
        file=sys.stderr,
    )
    sys.exit(2)


configfile: "config/config.yaml"


include: "rules/common.smk"


# Seconds each: on a cluster they are not worth a job.
localrules:
    configure,
    describe,
    study,
    departures,
    search_rate,
    choose_rates,


rule all:
    """Everything: data, runs, verdicts and the HTML report"""
    default_target: True
    input:
        config["report"],
        CLAIMS_OUT,


# Where jobs are run: not in dry runs, nor where rules are listed, linted or drawn.
onstart:
    hold_results()


onerror:
    report_of_the_rest()


include: "rules/data.smk"
include: "rules/runs.smk"
include: "rules/pilot.smk"
include: "rules/report.smk"
