# Every target makes the environment it needs; nothing but Python 3.11+ with pip and venv is expected.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-slow check bench bench-stats bench-engines lmeval-env clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(None if sys.version_info >= (3, 11) else 'posttrain-diag needs Python 3.11 or newer: make PYTHON=python3.11 ...')"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[hf,dev]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/diag analyze zoo:base --tasks builtin:zoo/S --out runs/demo
	@echo "report: runs/demo/report.html"

test: $(STAMP)
	$(BIN)/python -m pytest

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# ARGS goes to the benchmark, e.g. make bench-stats ARGS="--counts DIR --reference FILE"
bench: $(STAMP)
	$(BIN)/python -m benchmarks

bench-stats: $(STAMP)
	$(BIN)/python -m benchmarks stats $(ARGS)
	$(BIN)/python -m benchmarks zoo_stats deep_support

# Issue 4's figures. vLLM and lm-eval have environments of their own; a missing one is named in the results. ARGS as above.
bench-engines: $(STAMP)
	$(BIN)/python -m benchmarks engines $(ARGS)

lmeval-env:
	$(PYTHON) -m venv .venv-lmeval
	.venv-lmeval/bin/python -m pip install --quiet --disable-pip-version-check 'torch==2.13.0' 'lm-eval[hf]==0.4.13'

clean:
	rm -rf $(VENV) runs .pytest_cache .ruff_cache .import_linter_cache
