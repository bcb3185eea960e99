# Every command needs Python 3.10 or newer with pip only, and creates the virtual environment .venv once.

PYTHON ?= python3
VENV ?= .venv
BIN = $(abspath $(VENV))/bin
READY = $(VENV)/.ready

export NO_MKDOCS_2_WARNING = 1

.PHONY: help demo test test-all lint docs plots readme bench field format clean

help:
	@echo "make demo      run all three doors on a small project with planted faults"
	@echo "make test      run the quick tests"
	@echo "make test-all  run all tests"
	@echo "make lint      run ruff and mypy, build the docs, check generated files and imports"
	@echo "make docs      regenerate rule pages and module map, build the docs into site/"
	@echo "make plots     repeat the measurements of the docs' plots, and draw them"
	@echo "make readme    put the current output of the commands into the README and the tutorial"
	@echo "make bench     run the benchmarks"
	@echo "make field     check regcheck against the labelled benchmark"
	@echo "make format    format the code and apply the fixes of ruff"

# Debian's Python has pip and venv, but no ensurepip without a further package.
WITHOUT_ENSUREPIP = { $(PYTHON) -m venv --clear --without-pip $(VENV) && \
	$(PYTHON) -m pip --python $(BIN)/python install --quiet pip; }

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "regcheck needs Python 3.10 or newer")'
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || $(WITHOUT_ENSUREPIP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[torch,dev]'
	@touch $(READY)

# A door must find the planted faults (exit code 1); the demo fails otherwise.
DOOR = sh -c 'echo; echo "$$ $$0 $$*"; "$(BIN)/$$0" "$$@" 2>&1; code=$$?; echo "(exit code $$code)"; test $$code -eq 1'

DEMO_TARGETS = $(addprefix quickstart.,attention:ReviewTransformer pictures:PictureNet pictures:SpatialNet \
	tabular:BagOfWords tabular:SensorNet tabular:QuietSensorNet)

demo: $(READY)
	@cd fixtures/projects/quickstart && \
	$(DOOR) regcheck scan . && \
	$(DOOR) regcheck audit $(DEMO_TARGETS) && \
	$(DOOR) pytest --regcheck -q -p no:randomly -p no:cacheprovider

test: $(READY)
	$(BIN)/python -m pytest -n auto

test-all: $(READY)
	$(BIN)/python -m pytest -n auto -m ""

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python docs/generate.py --check
	$(BIN)/python docs/module_map.py --check
	$(BIN)/mkdocs build --strict --quiet
	$(BIN)/python -m pytest -q tests/test_floors.py
	$(BIN)/regcheck scan src

docs: $(READY)
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/module_map.py
	$(BIN)/mkdocs build --strict

plots: $(READY)
	$(BIN)/python docs/plots.py

readme: $(READY)
	$(BIN)/python docs/readme.py

bench: $(READY)
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/trips.py
	$(BIN)/python benchmarks/scan.py
	$(BIN)/python benchmarks/audit.py
	$(BIN)/python benchmarks/record.py
	$(BIN)/python benchmarks/fake.py
	$(BIN)/python benchmarks/watch.py
	$(BIN)/python benchmarks/proof.py --quick

field: $(READY)
	$(BIN)/python -m benchmarks.field --check

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) site build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
