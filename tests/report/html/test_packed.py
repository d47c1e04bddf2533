"""What is packed for the page is what the run holds."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from gradbench.report.html import packed
from gradbench.report.html.embedding import embedded_json
from gradbench.results.columns import COLUMNS
from gradbench.results.store import load
from tests.report.html.pages import KEPT, unpacked


def told(column: pd.Series) -> list:
    """A column as plain values, None where there is none."""
    return [None if pd.isna(value) else value for value in column]


def test_every_column_of_a_run_comes_back_to_the_last_bit():
    frame = load(KEPT / "bounds")[list(COLUMNS)]
    rows = packed.packed_rows(frame, [])
    assert (rows["length"], rows["exact"], rows["complete"]) == (len(frame), True, True)
    found = unpacked(rows)
    assert list(found) == list(COLUMNS)
    for name in COLUMNS:
        expected = told(frame[name])
        if name == "started_at":
            expected = [value.isoformat() for value in expected]
        assert found[name] == expected, name


def test_what_numbers_of_javascript_skip_is_kept_as_text():
    frame = pd.DataFrame(
        {"seed": pd.array([2**53 + 1, 2**63 - 1, None], "Int64"), "samples": pd.array([1, 2, 2**53], "Int64")}
    )
    found = unpacked(packed.packed_rows(frame, []))
    assert found == {"seed": [str(2**53 + 1), str(2**63 - 1), None], "samples": [1, 2, 2**53]}


@pytest.mark.parametrize("count", [1, 2, 256, 257, 65536, 65537])
def test_codes_are_as_wide_as_they_must_be(count):
    values = [f"name {index % count}" for index in range(count + 3)]
    frame = pd.DataFrame({"estimator": values, "variance": np.arange(count + 3) % count / 7})
    found = unpacked(packed.packed_rows(frame, []))
    assert found["estimator"] == values
    assert found["variance"] == list(frame.variance)


def test_infinities_and_nothing_are_told_apart():
    frame = pd.DataFrame({"variance_high": [math.inf, -math.inf, math.nan, 0.0, -0.0]})
    assert unpacked(packed.packed_rows(frame, []))["variance_high"] == [math.inf, -math.inf, None, 0.0, 0.0]


def test_where_there_is_no_room_figures_are_shortened_then_left_out(monkeypatch):
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"estimator": ["a", "b"] * 500, "variance": random.lognormal(size=1000), "mse": random.lognormal(size=1000)}
    )
    whole = packed.packed_rows(frame, [])
    monkeypatch.setattr(packed, "BYTES_OF_ROWS", 20_000)
    shorter = packed.packed_rows(frame, ["variance"])
    monkeypatch.setattr(packed, "BYTES_OF_ROWS", 10_000)
    fewer = packed.packed_rows(frame, ["variance"])
    assert [(rows["exact"], rows["complete"]) for rows in (whole, shorter, fewer)] == [
        (True, True),
        (False, True),
        (False, False),
    ]
    assert list(unpacked(fewer)) == ["estimator", "variance"]
    np.testing.assert_allclose(unpacked(fewer)["variance"], frame.variance, rtol=6e-8)


def test_texts_that_a_reader_would_obey_are_made_visible():
    frame = pd.DataFrame({"estimator": ["a\u202eb", "a\x1bb", None]})
    assert unpacked(packed.packed_rows(frame, []))["estimator"] == ["a\\u202eb", "a\\x1bb", None]


def test_no_text_ends_the_element_that_it_is_in():
    text = str(embedded_json({"</script>": ["<!--", "\u2028", "&amp;", math.inf, math.nan]}))
    assert text == '{"\\u003c/script\\u003e":["\\u003c!--","\\u2028","\\u0026amp;","inf",null]}'
