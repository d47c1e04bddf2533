"""Pages to look at, and what stands in them."""

from __future__ import annotations

import base64
import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

KEPT = Path(__file__).parents[3] / "results" / "reference"
SCRIPT = "<script>alert(1)</script>"
IMAGE = "<img src=x onerror=alert(1)>"


def hostile_run(folder: Path) -> Path:
    """The kept run ``quick`` in a folder whose name is a tag, with another for an estimator and for its title."""
    run = shutil.copytree(KEPT / "quick", folder / IMAGE)
    manifest = json.loads((run / "manifest.json").read_text())
    del manifest["checksum"]  # it is edited on purpose
    manifest["suite_resolved"]["title"] = f"{SCRIPT} & 'quotes' \"too\""
    manifest["processor"] = SCRIPT
    for cell in manifest["suite_resolved"]["cells"]:
        cell["estimator"] = SCRIPT if cell["estimator"] == "disarm" else cell["estimator"]
    (run / "manifest.json").write_text(json.dumps(manifest))
    table = pq.read_table(run / "results.parquet")
    names = [SCRIPT if name == "disarm" else name for name in table["estimator"].to_pylist()]
    reasons = [IMAGE if text and "antithetic" in text else text for text in table["message"].to_pylist()]
    for name, values in (("estimator", names), ("message", reasons)):
        table = table.set_column(table.column_names.index(name), name, pa.array(values, pa.string()))
    pq.write_table(table.replace_schema_metadata(None), run / "results.parquet")
    return run


class Elements(HTMLParser):
    """The tags of a page with their attributes, and the texts of its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._in_script = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag."""
        self.tags.append((tag, dict(attrs)))
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        """Leave a script."""
        self._in_script = self._in_script and tag != "script"

    def handle_data(self, data: str) -> None:
        """Keep the text of a script."""
        if self._in_script:
            self.scripts[-1] += data


def data_of(page: str) -> dict[str, Any]:
    """What is embedded in a page for its script."""
    return json.loads(next(text for text in Elements(page).scripts if text.startswith('{"rows"')))


def unpacked(rows: dict[str, Any]) -> dict[str, list[Any]]:
    """The columns of packed rows, decoded by their definition; None where there is no value."""
    found: dict[str, list[Any]] = {}
    for column in rows["columns"]:
        if "same_as" in column:
            found[column["name"]] = found[column["same_as"]]
            continue
        values = column["values"] if "values" in column else numbers(column)
        codes = column.get("codes")
        if codes is not None:
            width = 1 if len(values) <= 2**8 else 2 if len(values) <= 2**16 else 4
            which = np.frombuffer(base64.b64decode(codes), f"<u{width}") if codes else np.zeros(rows["length"], int)
            values = [values[code] for code in which]
        found[column["name"]] = list(values)
    return found


def numbers(column: dict[str, Any]) -> list[float | None]:
    """The numbers of a packed column."""
    data = np.frombuffer(base64.b64decode(column["data"]), "<f4" if column["bits"] == 32 else "<f8")
    return [None if np.isnan(value) else float(value) for value in data]
