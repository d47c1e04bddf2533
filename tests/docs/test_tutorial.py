"""The tutorial prints what it says that it prints, and the notebook is the tutorial."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "docs" / "tutorial.py"
spec = importlib.util.spec_from_file_location("tutorial", FILE)
assert spec is not None
assert spec.loader is not None
tutorial = importlib.util.module_from_spec(spec)
sys.modules["tutorial"] = tutorial  # where its dataclasses look for their annotations
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


@pytest.mark.slow
def test_the_cells_compute_and_draw_what_the_page_says() -> None:
    page = tutorial.PAGE.read_text(encoding="utf-8")
    given = tutorial.cells(page)
    assert sum(bool(cell.picture) for cell in given) == 2
    for done, said in zip(tutorial.executed(given), given, strict=True):
        assert shape(done.printed) == shape(said.printed), said.code
        assert done.picture.startswith(b"\x89PNG") == bool(said.file), said.code


CHANGED = """
phi = 0.6
f0, f1 = 2, -4
log_joint = [-1, -2, -3, -4, -5, -6, -7, -8]
mean, scale = 0, 2
samples = 5000


def cost(z):
    return 0.5 * z**2 + z
"""


@pytest.mark.slow
def test_the_numbers_of_the_first_cell_may_be_changed() -> None:
    first, *others = tutorial.cells(tutorial.PAGE.read_text(encoding="utf-8"))
    names = re.compile(r"^(?:def )?(\w+)(?:, (\w+))?(?: =|\()", re.MULTILINE)
    assert names.findall(first.code) == names.findall(CHANGED)
    printed = [cell.printed for cell in tutorial.executed([dataclasses.replace(first, code=CHANGED), *others])]
    bit, gaussian = printed[1], printed[4]
    assert "∇ of the sum                       -6.000\n" in bit
    # E f = σ²/2 = 2, by hand: in the mean μ + 1, in log scale σ²
    (exact,) = re.findall(r"exact, by quadrature +(\S+) +(\S+)", gaussian)
    assert [float(value) for value in exact] == pytest.approx([1.0, 4.0], abs=1e-3)
    (dropped,) = re.findall(r"hold of z dropped +(\S+) ± (\S+) +(\S+) ± (\S+)", gaussian)
    mean, its_error, scale, scale_error = map(float, dropped)
    assert abs(mean - 1) < 3 * its_error  # 6 standard errors, seeded
    assert abs(scale - (4 - 2)) < 3 * scale_error


def test_the_notebook_is_the_page() -> None:
    page = tutorial.PAGE.read_text(encoding="utf-8")
    assert json.loads(tutorial.NOTEBOOK.read_text(encoding="utf-8")) == tutorial.notebook(page)
