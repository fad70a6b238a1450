# The user's door. The workflow itself, a table of contents: workflow/Snakefile.
include: "workflow/Snakefile"


# Snakemake takes no default target from an included file.
rule default:
    """The same as all; what `snakemake --cores all` makes"""
    default_target: True
    input:
        rules.all.input,
