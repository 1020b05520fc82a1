# Two commands: `make up` and `make test`. Each needs nothing but Python 3.11+ and a package index.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
ARGS ?=

.PHONY: up test lint types unit e2e chaos bench bench-alerts load kafka format clean

up: $(VENV)/.embedded
	@exec $(BIN)/onpace up $(ARGS)

test: lint types unit e2e

lint: $(VENV)/.all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.all # each has a core to itself
	@$(BIN)/mypy & mypy=$$!; $(BIN)/pyright --pythonpath $(BIN)/python; pyright=$$?; wait $$mypy && exit $$pyright

unit: $(VENV)/.all
	$(BIN)/pytest -m "not e2e and not chaos" -n 2 --dist loadfile $(ARGS)

e2e: $(VENV)/.all
	$(BIN)/pytest -m e2e -n 2 --dist loadfile $(ARGS)

# Every fault in full, 48 minutes; ONPACE_CHAOS=short has fewer rounds, ONPACE_CHAOS_SEED=n repeats a run.
chaos: $(VENV)/.all
	$(BIN)/pytest -m chaos -s $(ARGS)

bench: $(VENV)/.all
	$(BIN)/python docs/benchmarks/throughput.py

bench-alerts: $(VENV)/.all
	$(BIN)/python docs/benchmarks/alerting.py $(ARGS)

# 20 million events: half an hour and 15 GiB of disk; smaller with ARGS="--events 2000000 --ids 500000".
load: $(VENV)/.all
	$(BIN)/python docs/benchmarks/load.py $(ARGS)

kafka: $(VENV)/.embedded
	@exec $(BIN)/python -m onpace.deploy.local_kafka $(ARGS)

format: $(VENV)/.all
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("OnPace needs Python 3.11 or newer, this is " + sys.version) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.embedded: $(BIN)/python pyproject.toml constraints.txt
	@echo 'installing into $(VENV): about a minute, once'
	$(PIP) -e '.[embedded,apprise]'
	@touch $@

$(VENV)/.all: $(BIN)/python pyproject.toml constraints.txt
	@echo 'installing into $(VENV), with the tools for tests: some minutes, once'
	$(PIP) -e '.[all]'
	@touch $@ $(VENV)/.embedded

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
