# make demo | test | test-thorough | lint | bench | soak | abuse | chaos | fuzz | format | docs | site | clean. Needs Python 3.11 or newer and make.

PYTHON ?= $(shell for p in python3.14 python3.13 python3.12 python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
EXTENSION := hatch_build.py src/ime_live/gateway/stream/_fanout.c

.PHONY: help demo test test-thorough lint bench soak abuse chaos fuzz format docs site clean
.DEFAULT_GOAL := help

help:
	@sed -n 1p Makefile

demo: $(VENV)/demo
	@exec $(BIN)/ime-live demo $(ARGS)

# In three processes for each core, eight at most: they wait most of their time for other processes.
# A file's tests stay together, and share their servers.
test: $(VENV)/dev
	$(BIN)/python -m pytest --dist=loadfile --no-loadscope-reorder --numprocesses=$$($(BIN)/python \
		-c 'import os; print(min(8, 3 * (os.cpu_count() or 1)))') $(ARGS)

# As continuous integration does: more values, and five times as many examples. Some nine minutes.
test-thorough: override ARGS += -m "not long" --hypothesis-profile=thorough
test-thorough: test

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# All scenarios, or those named in ARGS; --quick and --list go there as well.
bench: $(VENV)/bench
	$(BIN)/python -m benchmarks $(ARGS)

soak: $(VENV)/bench
	$(BIN)/python -m benchmarks.soak $(ARGS)

# Clients that attack a gateway, in all ways or those named in ARGS. Some ten minutes.
abuse: $(VENV)/bench
	$(BIN)/python -m benchmarks.abuse $(ARGS)

# 300 faults under a running service, by another seed each time; --help in ARGS tells the options.
chaos: $(VENV)/dev
	$(BIN)/python -m chaos $(ARGS)

# Ten minutes for all kinds of input; NAME, --seconds and others in ARGS, see --help.
fuzz: $(VENV)/fuzz
	$(BIN)/python -m fuzz $(ARGS)

format: $(VENV)/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The tables in docs/ that come from the code.
docs: $(VENV)/dev
	$(BIN)/python -m docgen.generate

# The documents as web pages, in site/; a link that leads nowhere is an error.
site: $(VENV)/site
	$(BIN)/zensical build --clean --strict

clean:
	rm -rf $(VENV) build dist site .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and was not found"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo: pyproject.toml $(EXTENSION) | $(BIN)/python
	$(PIP) install --editable '.[demo]'
	@touch $@

$(VENV)/bench: pyproject.toml $(EXTENSION) | $(BIN)/python
	$(PIP) install --editable '.[bench]'
	@touch $@ $(VENV)/demo

$(VENV)/dev: pyproject.toml $(EXTENSION) | $(BIN)/python
	$(PIP) install --editable '.[dev]'
	@touch $@ $(VENV)/demo

$(VENV)/fuzz: pyproject.toml $(EXTENSION) | $(BIN)/python
	$(PIP) install --editable '.[fuzz]'
	@touch $@ $(VENV)/demo $(VENV)/dev

$(VENV)/site: pyproject.toml | $(BIN)/python
	$(PIP) install --editable '.[site]'
	@touch $@
