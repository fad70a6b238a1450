# archives -> packed data -> runs -> evaluations -> verdicts -> notebooks -> reports/alexnet.html
#
#   snakemake --cores all            everything that config/config.yaml asks for
#   snakemake --cores all no_lrn     one experiment, its base, and the verdicts that they feed
#   snakemake --list-target-rules    all targets, a line each
from snakemake.utils import min_version

min_version("9.19")


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
