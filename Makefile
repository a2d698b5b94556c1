# Every target makes the environment it needs; nothing but Python 3.11+ with pip and venv is expected.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-slow check bench bench-stats clean

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

clean:
	rm -rf $(VENV) runs .pytest_cache .ruff_cache .import_linter_cache
