"""The examples of docs/how-to/results.md run, and give what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gradbench.results.columns import COLUMNS, REGISTRY
from tests.helpers import run_grids

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "results.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
GRID = {"problem": "gaussian-vae", "data": "digits", "hidden": 8, "latent": 1, "batch": 4, "samples": [1, 2]}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page") / "run"
    run_grids(path, GRID | {"estimators": ["pathwise"]}, replicates=32, blocks=4)
    return path


def found(run: Path, library: str) -> dict:
    (example,) = (text for text in EXAMPLES if f"import {library}\n" in text)
    names: dict = {}
    exec(example.replace("RUN", str(run)), names)
    return names


def test_gradbench(run):
    names = found(run, "gradbench")
    assert tuple(names["frame"].columns) == COLUMNS
    assert list(names["small"].columns) == ["estimator", "samples", "variance"]
    assert len(names["small"]) == 2
    assert [len(values) for values in names["blocks"].block_variance] == [4]


def test_pandas(run):
    names = found(run, "pandas")
    assert len(names["rows"]) == 2
    assert set(names["rows"]["size"]) == {"hidden=8 latent=1"}


def test_polars(run):
    pytest.importorskip("polars")
    assert found(run, "polars")["rows"].shape == (2, 3)


def test_duckdb(run):
    pytest.importorskip("duckdb")
    rows = found(run, "duckdb")["rows"]
    assert list(rows.columns) == ["estimator", "samples", "variance", "kurtosis"]
    assert len(rows) == 2
    assert rows.variance.is_monotonic_increasing


def test_names_that_hide_something_are_mentioned():
    import pandas as pd

    page = PAGE.read_text(encoding="utf-8")
    for column in REGISTRY:
        if hasattr(pd.DataFrame, column.name):
            assert f'`frame["{column.name}"]`' in page
    assert "`group` is a word of its own" in page
