# make quick    install into .venv and run the quick suite
# make test     install into .venv and run all tests
# make lint     ruff and pyright
# make docs     write the pages of docs/ that are made from the code
# make venv     install only
PYTHON ?= python3
BIN := .venv/bin

.PHONY: quick test lint docs venv clean

quick: .venv/installed
	$(BIN)/gradbench run quick

test: .venv/installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadscope

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

docs: .venv/installed
	$(BIN)/python -m gradbench.report.pages docs

venv: .venv/installed

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	touch $@

.venv/installed-test: .venv/installed
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[test,pyro]'
	-$(BIN)/python -m pip install -q -c constraints.txt -e '.[ray]'  # not to be had for every Python: its tests are skipped then
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache
