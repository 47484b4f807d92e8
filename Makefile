# The verbs of this project. `make help` lists them.

VENV := .venv
PYTHON := $(VENV)/bin/python
BASE_PYTHON ?= python3.11
TORCH_INDEX ?=  # CPU-only wheels for Linux: the index URL that pytorch.org's "Start locally" shows for CPU
JOBS ?= 2  # test processes
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
RELEASE := build/release
RELEASE_TOOLS := build==1.6.1 twine==7.0.0

.DEFAULT_GOAL := help
.PHONY: help setup demo scores readme test lint types test-fast test-slow release clean

help:  ## show this
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP)  ## make .venv with the pinned versions

demo: $(STAMP)  ## train study=quick and write its report
	$(PYTHON) -m bench study=quick
	$(PYTHON) -m analysis study=quick

scores: $(STAMP)  ## train study=scores (it says how long first) and print it beside the published numbers
	$(PYTHON) -m bench study=scores dry_run=true
	$(PYTHON) -m bench study=scores
	$(PYTHON) -m analysis study=scores
	$(PYTHON) -m analysis scores

readme: $(STAMP)  ## write the verdicts of the committed studies into README.md and results/README.md
	$(PYTHON) -m analysis scoreboard

test: lint types test-fast test-slow  ## everything CI checks

lint: $(DEV_STAMP)  ## ruff: rules and format; the order of the layers
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/lint-imports --no-cache

types: $(DEV_STAMP)  ## mypy, strict
	$(VENV)/bin/mypy

test-fast: $(DEV_STAMP)  ## the tests to run while working
	$(PYTHON) -m pytest -q -m "not slow" -n $(JOBS) --dist loadfile --durations=40

test-slow: $(DEV_STAMP)  ## the tests that take minutes
	$(PYTHON) -m pytest -q -m slow -n $(JOBS) --dist worksteal --durations=40

release:  ## sdist and wheel of the last commit in dist/, checked; publishing them is left to you
	rm -rf $(RELEASE) dist
	mkdir -p $(RELEASE)/source
	git archive HEAD -- . ':(exclude)results' | tar -x -C $(RELEASE)/source
	$(BASE_PYTHON) -m venv $(RELEASE)/tools
	$(RELEASE)/tools/bin/python -m pip install -q $(RELEASE_TOOLS)
	$(RELEASE)/tools/bin/python -m build --outdir dist $(RELEASE)/source
	$(RELEASE)/tools/bin/python -m twine check --strict dist/*
	$(RELEASE)/tools/bin/python -m tests.archives dist $(RELEASE)/source

clean:  ## remove the environment and caches; results stay
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

# A stamp is newer than what it was made from, so a second `make` installs nothing.
$(STAMP): pyproject.toml constraints.txt setup.py $(wildcard bench/kernel/source/*)
	@echo "installing the pinned packages into $(VENV): minutes, the first time only"
	@test -x $(PYTHON) || $(BASE_PYTHON) -m venv $(VENV)
	@$(if $(strip $(TORCH_INDEX)),$(PYTHON) -m pip install -q -c constraints.txt --index-url $(TORCH_INDEX) torch)
	@$(PYTHON) -m pip install -q -c constraints.txt -e .
	@touch $@

$(DEV_STAMP): $(STAMP)
	$(PYTHON) -m pip install -q -c constraints.txt -e '.[dev]'
	@touch $@
