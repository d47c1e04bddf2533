"""A CSV read back as docs/reference/columns.md says is what gradbench.load gives, type for type."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

import gradbench
from gradbench.results.columns import COLUMNS, CSV_TYPES
from gradbench.results.export import render

ROOT = Path(__file__).parents[2]


def test_the_example_of_the_page_reads_back_what_was_loaded(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = gradbench.load(ROOT / "results" / "reference" / "quick")
    assert {"ok", "skipped"} <= set(loaded.status)
    (tmp_path / "rows.csv").write_bytes(render(loaded, "csv"))
    page = next((ROOT / "docs").rglob("columns.md")).read_text(encoding="utf-8")
    example = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[0]
    names: dict = {}
    exec(example, names)
    frame = names["frame"]
    assert frame.dtypes.astype(str).to_dict() == loaded.dtypes.astype(str).to_dict()
    for name in frame:
        if frame[name].dtype == object:
            frame[name] = frame[name].where(frame[name].notna(), None)
    pd.testing.assert_frame_equal(frame, loaded)


def test_every_column_but_the_time_has_a_type() -> None:
    assert set(COLUMNS) - set(CSV_TYPES) == {"started_at"}
