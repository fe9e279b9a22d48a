# make help shows what there is. Only Python 3.11 (or newer), git and make are needed.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Two test processes share the cores: one thread each, or they fight.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
JOBS   ?= 2

.DEFAULT_GOAL := help
.PHONY: help install check format lint types test docs fix demo bench clean

help:  ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,docs]'
	touch $@

install: $(READY)  ## Make .venv and install wsiseg into it

check: format lint types test docs  ## What CI runs: format, lint, types, tests, docs

format: $(READY)  ## Is the code formatted?
	$(BIN)/ruff format --check .

lint: $(READY)  ## Lint
	$(BIN)/ruff check .

types: $(READY)  ## Check the types (mypy, strict)
	$(BIN)/mypy

test: $(READY)  ## Run the tests
	$(TEST_ENV) $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

docs: $(READY)  ## Build the documentation strictly, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

fix: $(READY)  ## Format and repair what can be repaired
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

demo: $(READY)  ## The whole way on synthetic slides; ends with demo/report.html
	$(BIN)/wsiseg demo --out demo

bench: $(READY)  ## Run every benchmark (long)
	for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean:  ## Remove what was built, but not .venv
	rm -rf site dist build demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
