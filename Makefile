# Two commands matter: `make run` and `make test`. The others are shorthands.
SHELL := /bin/sh
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
BIN := .venv/bin
HOME_DIR ?= .ratchet
ARGS ?=
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help install run test lint types contracts deps readme check docs bench chaos up loop clean

help: ## List the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

install: .venv/.installed ## Create .venv with everything pinned; the command is then .venv/bin/ratchet

# The stamp is written last, so that an install that did not end is done again. One that was killed in the middle may
# have left half a package behind, and a .venv may be of a Python that is gone: both are made anew.
.venv/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Ratchet needs Python 3.11 or newer on the PATH" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Ratchet needs Python 3.11 or newer; choose one with: make install PYTHON=python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || { echo "This Python cannot make a virtual environment; install its venv package (python3-venv) or choose another with PYTHON=" >&2; exit 1; }
	@echo "Installing into .venv (a minute or two the first time) ..." >&2
	@test ! -e .venv/.installing || rm -rf .venv
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { rm -rf .venv; "$(PYTHON)" -m venv .venv; }
	@touch .venv/.installing
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dask,dev,postgres]' || { rm -f .venv/.installing; exit 1; }
	@rm -f .venv/.installing
	@$(BIN)/python -m flows.engine templates
	@touch $@

run: install ## Make the sample events and run the main job on them
	@$(BIN)/python examples/make_events.py --out examples/events.jsonl
	@$(BIN)/ratchet learn examples/events.jsonl --home $(HOME_DIR) $(ARGS)

test: install ## Install and pass the tests, in two processes; each file stays in one
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(ARGS)

lint: install ## Style, and what is wrong at sight
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check .

types: install ## Types, strictly
	@$(BIN)/mypy --no-error-summary

contracts: install ## Who may import whom
	@$(BIN)/lint-imports --no-cache

deps: install ## Dependencies that are missing or dead
	@$(BIN)/deptry .

readme: install ## Every command and folder in README.md exists
	@$(BIN)/python -m pytest tests/test_readme.py

check: lint types contracts deps readme ## All that is not a test of behaviour

docs: install ## Write the generated parts of docs/ again
	@$(BIN)/python docs/generate.py

bench: install ## Measure everything in benchmarks/RESULTS.md again (about half an hour)
	@$(BIN)/python -m benchmarks.run $(ARGS)

chaos: install ## Kill the main job at 500 seeded points, and 24 processes of a week of production (an hour)
	@$(BIN)/python -m pytest tests/flows/test_crash.py tests/flows/test_week.py --kills 500 --week-kills 24 $(ARGS)

up: install ## Start Prefect, MLflow, a worker and the gateway, until Ctrl-C
	@$(BIN)/ratchet up --home $(HOME_DIR) $(ARGS)

loop: install ## Play a week of production with real servers, in a few minutes, and check every step
	@$(BIN)/python examples/week.py $(ARGS)

clean: ## Remove what the commands above made
	rm -rf .venv .ratchet .ratchet-week build dist *.egg-info examples/events.jsonl .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
