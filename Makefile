# Two commands matter: `make run` and `make test`. The others are shorthands.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
HOME_DIR ?= .ratchet
.DEFAULT_GOAL := help

.PHONY: help install run test lint types contracts deps check docs bench chaos clean

help: ## List the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

install: .venv/.installed ## Create .venv with everything pinned; the command is then .venv/bin/ratchet

.venv/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Ratchet needs Python 3.11 or newer on the PATH"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Ratchet needs Python 3.11 or newer; PYTHON=/path/to/python3.11 make ... chooses one"; exit 1; }
	@echo "Installing into .venv (a minute or two the first time) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dask,dev]'
	@$(BIN)/python -m flows.engine templates
	@touch $@

run: install ## Make the sample events and run the main job on them
	@$(BIN)/python examples/make_events.py --out examples/events.jsonl
	@$(BIN)/ratchet learn examples/events.jsonl --home $(HOME_DIR)

test: install ## Install and pass the tests
	@$(BIN)/python -m pytest

lint: install
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: install
	@$(BIN)/mypy

contracts: install
	@$(BIN)/lint-imports

deps: install
	@$(BIN)/deptry .

check: lint types contracts deps ## Lint, types, import contracts, dead dependencies

docs: install ## Write the generated parts of docs/ again
	@$(BIN)/python docs/generate.py

bench: install ## Measure everything in benchmarks/RESULTS.md again (about half an hour)
	@$(BIN)/python -m benchmarks.run

clean: ## Remove what the commands above made
	rm -rf .venv .ratchet build *.egg-info examples/events.jsonl
