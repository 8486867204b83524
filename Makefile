# cryotwin: everything runs from a virtual environment that these targets make in .venv.
# Needs make, a POSIX shell and Python 3.11, 3.12 or 3.13.
#   make demo PYTHON=/path/to/python3.12     to choose the interpreter
#   make test ARGS="tests/imaging -x"        to pass arguments on to pytest

# The first of these that runs, is in range and can make a virtual environment.
CANDIDATES := python3.13 python3.12 python3.11 python3
IN_RANGE := import ensurepip, sys, venv; raise SystemExit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for python in $(CANDIDATES); do \
	"$$python" -c '$(IN_RANGE)' >/dev/null 2>&1 && { echo "$$python"; break; }; done)

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALLED := $(VENV)/installed
INSTALLED_DEV := $(VENV)/installed-dev
PACKAGES := imaging datasets models recovery pipelines
# mypy finds modules by folder: a tree of links shows it the names that setuptools' package-dir gives.
TYPING := build/typing

.DEFAULT_GOAL := help
.PHONY: help install demo test lint style types format bench zoo limits clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/make \1@\2/p' $(firstword $(MAKEFILE_LIST)) \
		| while IFS=@ read -r name text; do printf '%-14s %s\n' "$$name" "$$text"; done

install: $(INSTALLED_DEV) ## install cryotwin and the development tools into .venv

demo: $(INSTALLED) ## from a structure to orientations, a map and a report, in demo/
	$(BIN)/cryotwin demo --out demo

test: $(INSTALLED_DEV) ## run the tests in two processes, less those marked slow or gpu
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not gpu" $(ARGS)

lint: style types ## check style (ruff) and types (mypy, strict)

style: $(INSTALLED_DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED_DEV)
	@mkdir -p $(TYPING)/cryotwin
	@for package in $(PACKAGES); do ln -sfn ../../../$$package $(TYPING)/cryotwin/$$package; done
	MYPYPATH=$(TYPING) $(BIN)/mypy $(PACKAGES:%=-p cryotwin.%)

format: $(INSTALLED_DEV) ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED_DEV) ## time what matters (tests/benchmarks)
	$(BIN)/python -m pytest tests/benchmarks --override-ini='python_files=bench_*.py' -m "not gpu" $(ARGS)

zoo: $(INSTALLED_DEV) ## compare the models of the zoo, for docs/: make zoo ARGS="--help"
	PYTHONPATH=tests/benchmarks $(BIN)/python -m zoo $(ARGS)

limits: $(INSTALLED_DEV) ## measure recovery against its limit, for docs/: make limits ARGS="--help"
	PYTHONPATH=tests/benchmarks $(BIN)/python -m recovery_limits $(ARGS)

clean: ## remove .venv, caches and build folders
	rm -rf $(VENV) build dist cryotwin.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11, 3.12 or 3.13 that can make a virtual" \
		"environment was found (tried: $(CANDIDATES)); name one: make PYTHON=/path/to/python3.12" >&2; exit 2; }
	@"$(PYTHON)" -c '$(IN_RANGE)' 2>/dev/null || { echo "make: PYTHON=$(PYTHON) is not a Python 3.11," \
		"3.12 or 3.13 that can make a virtual environment" >&2; exit 2; }
	"$(PYTHON)" -m venv $(VENV)

# Stamps: a second call installs nothing unless the requirements changed.
$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet -c constraints.txt -e .
	@touch $@

$(INSTALLED_DEV): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet -c constraints.txt -e '.[dev]'
	@touch $(INSTALLED) $@
