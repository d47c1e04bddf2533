# make quick    install into .venv and run the quick suite
# make test     install into .venv and run all tests
# make lint     ruff and pyright
# make docs     write what docs/ and README.md have from the code: pages, and what commands print
# make site     build the site of docs/, to be opened without a network: site/index.html
# make venv     install only
PYTHON ?= python3
BIN := .venv/bin

.PHONY: quick test test-venv lint docs site venv clean

quick: .venv/installed
	$(BIN)/gradbench run quick

test: .venv/installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadscope

test-venv: .venv/installed-test

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

docs: .venv/installed-test
	$(BIN)/python -m gradbench.cli.pages docs
	$(BIN)/python docs/executed.py

site: .venv/installed-test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "open site/index.html"

venv: .venv/installed

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	touch $@

.venv/installed-test: .venv/installed
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[test,docs,plot,report,pyro]'
	-$(BIN)/python -m pip install -q -c constraints.txt -e '.[ray]'  # not to be had for every Python: its tests are skipped then
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv build dist site .pytest_cache .ruff_cache
