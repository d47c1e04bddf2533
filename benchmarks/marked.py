"""The place of a table in a page: between two comments that name it."""

from __future__ import annotations

from pathlib import Path


def put(file: Path, marker: str, table: str) -> None:
    """Replace what stands in ``file`` between ``<!-- marker -->`` and ``<!-- end of marker -->`` by ``table``."""
    text = file.read_text(encoding="utf-8")
    start, end = f"<!-- {marker} -->\n", f"<!-- end of {marker} -->"
    before, after = text.split(start)[0], text.split(end)[1]
    file.write_text(f"{before}{start}{table}\n{end}{after}", encoding="utf-8")
