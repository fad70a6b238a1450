# Two commands matter: `make reproduce` and `make test`. Each first brings .venv up to requirements.lock
# (minutes once, then a tenth of a second).
#   PYTHON=/path/to/python3   the Python that .venv is built with
#   ARGS="..."                more arguments for snakemake (reproduce) or pytest (test)

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help reproduce test quick verify check mutants rehearsal bench reference screenshot graph format lock hooks bootstrap clean distclean

PYTHON ?=
ARGS ?=
UV ?= uv
export PYTHON
in = env -u PYTHONPATH -u PYTHONDONTWRITEBYTECODE PYTHONNOUSERSITE=1 PATH="$$PWD/$(1)/bin:$$PATH"
in_venv := $(call in,.venv)
in_verify := $(call in,.venv-verify)
published := reports/reference
# Snakemake keeps sources in the home folder; where that cannot be written, here.
ifneq ($(shell test -w "$$HOME" || echo no),)
export XDG_CACHE_HOME ?= $(CURDIR)/.snakemake/cache
endif

help: ## show this list
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

reproduce: bootstrap ## archives to report: snakemake --cores all
	@$(in_venv) snakemake --cores all $(ARGS)

test: bootstrap ## the tests, three files at a time: some wait for servers and kills
	@$(in_venv) python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

quick: bootstrap ## the tests that train nothing, run no Snakemake and open no browser: less than two minutes
	@$(in_venv) python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not heavy" $(ARGS)

verify: ## the published verdicts and their report once more, without torch: 0.7 GB, some minutes
	@workflow/scripts/bootstrap.sh verify
	@$(in_verify) python -m analysis verify --results $(published)/results
	@$(in_verify) python -m analysis rebuild --results $(published)/results --out results/verify/alexnet.html
	@for file in claims.csv claims.json alexnet.html; do cmp $(published)/$$file results/verify/$$file; done
	@echo "claims.csv, claims.json and alexnet.html are those of $(published), byte for byte."

check: bootstrap ## formats, lint, types, import contracts, workflow, notebooks
	$(in_venv) ruff format --check .
	$(in_venv) ruff check .
	$(in_venv) mypy
	$(in_venv) lint-imports
	$(in_venv) snakefmt --check Snakefile workflow
	$(in_venv) python workflow/scripts/lint.py
	$(in_venv) nbstripout --keep-id --verify analysis/notebooks/*.ipynb

mutants: bootstrap ## small mistakes in the core that no test notices: results/mutants.csv, three quarters of an hour
	@$(in_venv) python tests/mutants.py $(ARGS)

rehearsal: bootstrap ## a set of 1.28 million small pictures, packed, drawn and evaluated, in results/rehearsal: six minutes, some GB
	@$(in_venv) python tests/rehearsal.py results/rehearsal $(ARGS)

bench: bootstrap ## ingest, loader and training step beside the usual programs: results/bench/bench.csv
	@$(in_venv) snakemake bench --cores all --forcerun bench $(ARGS)

reference: bootstrap ## the report of the published runs again, its figures and the tables in READMEs; trains nothing
	@$(in_venv) python -m analysis rebuild --results reports/reference/results --out reports/reference/alexnet.html
	@$(in_venv) python -m analysis table --claims reports/reference/claims.csv --results reports/reference/results --into reports/reference/README.md
	@$(in_venv) python -m analysis departures --results reports/reference/results --into reports/reference/README.md
	@$(in_venv) python -m analysis answer --claims reports/reference/claims.csv --results reports/reference/results --into README.md

screenshot: ## reports/reference/report.png, the first screen of the published report (needs chromium)
	@chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1280,900 \
	    --screenshot=$(published)/report.png "file://$$PWD/reports/reference/alexnet.html"

graph: bootstrap ## reports/reference/rules.svg, which rule needs which (needs graphviz)
	@$(in_venv) snakemake --cores 1 --rulegraph 2>/dev/null | tred | dot -Tsvg > $(published)/rules.svg

format: bootstrap ## rewrite sources as `make check` wants them
	$(in_venv) ruff format .
	$(in_venv) ruff check --fix .
	$(in_venv) snakefmt Snakefile workflow
	$(in_venv) nbstripout --keep-id analysis/notebooks/*.ipynb

hooks: bootstrap ## run the fast checks before each commit
	@$(in_venv) pre-commit install

# The second lock holds the same versions: its constraint is the first.
lock: ## renew both lock files from pyproject.toml (needs uv; ARGS=--upgrade takes the newest versions)
	@command -v $(UV) >/dev/null || { echo "error: make lock needs uv; install it or name it: make lock UV=/path/to/uv" >&2; exit 2; }
	@renew() { cp "$$1" "$$1.new"; \
	    $(UV) pip compile "$${@:3}" --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
	        --no-annotate --no-header --quiet $(ARGS) -o "$$1.new"; \
	    { echo "# Exact versions and hashes of everything in $$2, for Linux and Python 3.11 to 3.14."; \
	      echo "# Made from pyproject.toml by \`make lock\`; do not edit by hand."; cat "$$1.new"; } > "$$1"; rm "$$1.new"; }; \
	renew requirements.lock .venv pyproject.toml --extra dev; \
	renew requirements-verify.lock .venv-verify --group pyproject.toml:verify -c requirements.lock

bootstrap:
	@workflow/scripts/bootstrap.sh

clean: ## remove the report, the demo's results and every cache; results of other studies stay
	rm -rf results/demo results/describe results/claims reports/alexnet.html reports/claims.csv reports/claims.json
	rm -rf reports/ro-crate-metadata.json reports/workflow.smk
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find alexnet analysis tests workflow -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## also remove .venv and Snakemake's memory of past runs; results of other studies stay
	rm -rf .venv .venv-verify .bootstrap.lock .bootstrap-verify.lock .snakemake
