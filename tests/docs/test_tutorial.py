"""The tutorial prints what it says that it prints, and the notebook is the tutorial."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "docs" / "tutorial.py"
spec = importlib.util.spec_from_file_location("tutorial", FILE)
assert spec is not None
assert spec.loader is not None
tutorial = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tutorial)


def shape(text: str) -> list[str]:
    """The text with figures, units of time and rules taken out: what must be the same on every machine.

    Words stay, verdicts above all. Which estimator is marked as the cheapest depends on timings.
    """
    text = re.sub(r"[-+]?\d[\d.,]*(e-?\d+)?", "#", text)
    text = re.sub(r"# (µs|ms|s)\b", "# time", text).replace("<#", "#").replace("*", " ")
    return [" ".join(re.sub(r"─+", "─", line).split()) for line in text.splitlines()]


@pytest.mark.slow
def test_commands_print_what_the_page_says(tmp_path: Path) -> None:
    page = tutorial.PAGE.read_text(encoding="utf-8")
    for block in tutorial.BLOCK.findall(page):
        for command, said in tutorial.commands(block):
            assert shape(tutorial.run(command, tmp_path)) == shape(said), command


def test_the_notebook_is_the_page() -> None:
    page = tutorial.PAGE.read_text(encoding="utf-8")
    assert json.loads(tutorial.NOTEBOOK.read_text(encoding="utf-8")) == tutorial.notebook(page)
