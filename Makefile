# make quickstart: a fine-tune from nothing, offline once the packages are there.   make test: the whole suite.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
TORCH := $(shell grep '^torch==' constraints.txt)
PACKAGERS := build==1.6.1 twine==7.0.0 check-wheel-contents==0.6.3
UNSLOTH := unsloth==2026.10.7 unsloth_zoo==2026.10.7

.PHONY: help quickstart install test test-slow lint format schema docs site package bench clean
help:
	@echo "make quickstart   install into $(VENV) and run recipes/quickstart.yaml"
	@echo "make test         install what the tests need and run them"
	@echo "make lint         ruff and mypy"
	@echo "make schema       write schemas/recipe.schema.json anew"
	@echo "make docs         write the generated pages of docs/ anew"
	@echo "make site         build docs/ as a site in build/site; a link that leads nowhere fails it"
	@echo "make package      build wheel and sdist into dist/ and check them"
	@echo "make bench        time and memory of checking a recipe, and of a run beside a bare script"

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12 quickstart"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

# torch first and by its exact version: a range may bring a newer build that nobody tested.
$(VENV)/installed: $(VENV)/made pyproject.toml constraints.txt
	$(PIP) install --quiet '$(TORCH)'
	$(PIP) install --quiet -c constraints.txt -e .
	touch $@

# Unsloth without its dependencies: the tests read its source, and importing it needs a GPU.
$(VENV)/testable: $(VENV)/installed
	$(PIP) install --quiet -c constraints.txt -e '.[test,dev,docs]'
	$(PIP) install --quiet --no-deps $(UNSLOTH)
	touch $@

install: $(VENV)/installed

quickstart: $(VENV)/installed
	$(BIN)/python -m finetune recipes/quickstart.yaml --overwrite

# One thread a worker: two workers share the cores better than each taking both.
test: $(VENV)/testable
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: $(VENV)/testable
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/testable
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/testable
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schema: $(VENV)/installed
	$(BIN)/python -m finetune schema > schemas/recipe.schema.json

docs: $(VENV)/installed
	$(BIN)/python scripts/write_docs.py

# Without torch: the site is made of pages alone.
$(VENV)/sited: $(VENV)/made pyproject.toml constraints.txt
	$(PIP) install --quiet -c constraints.txt mkdocs mkdocs-material
	touch $@

# Material for MkDocs says at each start that it is kept until May 2027 and names its successor.
site: $(VENV)/sited
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "Look at it: $(BIN)/python -m http.server -d build/site"

# In an environment of their own, since what they need is no part of the tested set.
build/packaging/made:
	$(PYTHON) -m venv build/packaging
	build/packaging/bin/python -m pip --disable-pip-version-check install --quiet $(PACKAGERS)
	touch $@

# build makes the wheel from the sdist, so that both are tried.
package: build/packaging/made
	rm -rf dist
	build/packaging/bin/python -m build
	build/packaging/bin/twine check --strict dist/*
	build/packaging/bin/check-wheel-contents dist/*.whl

bench: $(VENV)/testable
	$(BIN)/python bench/check_a_recipe.py
	$(BIN)/python bench/runner_beside_bare_script.py

clean:
	rm -rf $(VENV) outputs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
