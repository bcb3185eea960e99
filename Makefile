# Every command needs Python 3.10 or newer with pip only, and creates the virtual environment .venv once.

PYTHON ?= python3
VENV ?= .venv
BIN = $(abspath $(VENV))/bin
RUNTIME = $(VENV)/.runtime
READY = $(VENV)/.ready
RELEASE = .venv-release

export NO_MKDOCS_2_WARNING = 1

.PHONY: help demo test test-all test-torch lint docs plots readme bench gpu field dist format clean

help:
	@echo "make demo      run all three doors on a small project with planted faults"
	@echo "make test      run the quick tests"
	@echo "make test-all  run all tests"
	@echo "make test-torch VERSION=2.7.1  run the quick tests with another torch, in an environment of its own"
	@echo "make lint      run ruff and mypy, build the docs, check generated files and imports"
	@echo "make docs      regenerate rule pages and module map, build the docs into site/"
	@echo "make plots     repeat the measurements of the docs' plots, and draw them"
	@echo "make readme    put the current output of the commands into the README and the tutorial"
	@echo "make bench     run the benchmarks"
	@echo "make field     check regcheck against the labelled benchmark"
	@echo "make dist      build what a release uploads into dist/, twice, and check it"
	@echo "make gpu       run selftest, proofs and a sample of the zoo on a GPU, if there is one"
	@echo "make format    format the code and apply the fixes of ruff"

# Debian's Python has pip and venv, but no ensurepip without a further package.
WITHOUT_ENSUREPIP = { $(PYTHON) -m venv --clear --without-pip $(VENV) && \
	$(PYTHON) -m pip --python $(BIN)/python install --quiet pip; }

$(RUNTIME): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "regcheck needs Python 3.10 or newer")'
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || $(WITHOUT_ENSUREPIP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[torch]' pytest
	@touch $(RUNTIME)

$(READY): $(RUNTIME)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[torch,dev]'
	@touch $(READY)

# A door must find the planted faults (exit code 1); the demo fails otherwise.
DOOR = sh -c 'echo; echo "$$ $$0 $$*"; "$(BIN)/$$0" "$$@" 2>&1; code=$$?; echo "(exit code $$code)"; test $$code -eq 1'

DEMO_TARGETS = $(addprefix quickstart.,attention:ReviewTransformer pictures:PictureNet pictures:SpatialNet \
	tabular:BagOfWords tabular:SensorNet tabular:QuietSensorNet)

demo: $(RUNTIME)
	@cd fixtures/projects/quickstart && \
	$(DOOR) regcheck scan . && \
	$(DOOR) regcheck audit $(DEMO_TARGETS) && \
	$(DOOR) pytest --regcheck -q -p no:randomly -p no:cacheprovider

test: $(READY)
	$(BIN)/python -m pytest -n auto

test-all: $(READY)
	$(BIN)/python -m pytest -n auto -m ""

# Other versions of torch bring CUDA, and need 6 GB. `TESTS` names the tests, all by default.
test-torch:
	@test -n "$(VERSION)" || { echo "name a version: make test-torch VERSION=2.7.1"; exit 2; }
	test -x .venv-torch-$(VERSION)/bin/pip || $(PYTHON) -m venv .venv-torch-$(VERSION)
	grep -v '^torch==' constraints.txt > .venv-torch-$(VERSION)/constraints.txt
	.venv-torch-$(VERSION)/bin/pip install --quiet --constraint .venv-torch-$(VERSION)/constraints.txt \
		torch==$(VERSION) --editable '.[torch,dev]'
	.venv-torch-$(VERSION)/bin/python -m pytest -n auto $(TESTS)

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
	$(BIN)/python benchmarks/editor.py
	$(BIN)/python benchmarks/audit.py
	$(BIN)/python benchmarks/record.py
	$(BIN)/python benchmarks/fake.py
	$(BIN)/python benchmarks/watch.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/proof.py --quick

field: $(READY)
	$(BIN)/python -m benchmarks.field --check

# Hatchling takes the time of the archives from SOURCE_DATE_EPOCH: so a commit has the same bytes wherever it is built.
dist:
	rm -rf dist build/again && $(PYTHON) -m venv $(RELEASE)
	$(RELEASE)/bin/pip install --quiet --constraint constraints.txt build twine cyclonedx-bom
	for folder in dist build/again; do \
		SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(RELEASE)/bin/python -m build --outdir $$folder . || exit 1; done
	for file in dist/*; do cmp $$file build/again/$$(basename $$file) || exit 1; done
	$(RELEASE)/bin/twine check --strict dist/*
	$(PYTHON) -m venv --clear --without-pip build/clean
	$(RELEASE)/bin/pip --python build/clean/bin/python install --quiet dist/*.whl
	$(RELEASE)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		--output-file dist/regcheck.cdx.json build/clean/bin/python

gpu: $(READY)
	$(BIN)/python benchmarks/gpu.py

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) $(RELEASE) .venv-torch-* site build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
