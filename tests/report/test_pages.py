"""The pages of docs/ made from the declarations are up to date."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradbench.report.pages import pages

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", pages())
def test_the_page_is_what_the_code_declares(name):
    assert (DOCS / name).read_text(encoding="utf-8") == pages()[name], "run make docs"
