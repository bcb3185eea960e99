# Every command makes the environment that it needs, once: a virtual environment in .venv.
# `make test` and `make demo` need Python 3.10 or newer with pip, and nothing else.

PYTHON ?= python3
VENV ?= .venv
BIN = $(abspath $(VENV))/bin
READY = $(VENV)/.ready

export NO_MKDOCS_2_WARNING = 1

.PHONY: help demo test test-all lint docs bench format clean

help:
	@echo "make demo      all three doors on a small project with planted faults"
	@echo "make test      the quick tests"
	@echo "make test-all  all tests"
	@echo "make lint      ruff, mypy, the docs, what is generated, the floors"
	@echo "make docs      regenerate the rule pages and build the docs into site/"
	@echo "make bench     time what must be quick"
	@echo "make format    format the code and fix what can be fixed"

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "regcheck needs Python 3.10 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[torch,dev]'
	@touch $(READY)

# A door is meant to find the planted faults, which is exit code 1; anything else is a failure of the demo.
DOOR = sh -c 'echo; echo "$$ $$*"; "$(BIN)/$$0" "$$@" 2>&1; code=$$?; echo "(exit code $$code)"; test $$code -eq 1'

demo: $(READY)
	@cd fixtures/projects/quickstart && \
	$(DOOR) regcheck scan . && \
	$(DOOR) regcheck audit $(DEMO_TARGETS) && \
	$(DOOR) pytest --regcheck -q -p no:randomly -p no:cacheprovider

test: $(READY)
	$(BIN)/python -m pytest

test-all: $(READY)
	$(BIN)/python -m pytest -m ""

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python docs/generate.py --check
	$(BIN)/mkdocs build --strict --quiet
	$(BIN)/python -m pytest -q tests/test_floors.py

docs: $(READY)
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --strict

bench: $(READY)
	$(BIN)/python benchmarks/startup.py

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) site build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
