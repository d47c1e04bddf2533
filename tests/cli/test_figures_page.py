"""The commands and the example of docs/how-to/figures.md run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gradbench.report.figures import KINDS_OF_FIGURE

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "how-to" / "figures.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^gradbench (.*)$", TEXT, re.MULTILINE)


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_page_runs(gradbench, line) -> None:
    words = line.replace("results/reference", str(ROOT / "results" / "reference")).split()
    ended = gradbench(*words)
    assert ended.code == 0, ended.err
    assert ended.out
    if "-o" in words:
        assert Path(words[words.index("-o") + 1]).stat().st_size > 1000


def test_the_example_runs(monkeypatch) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    monkeypatch.chdir(ROOT)
    names: dict = {}
    (example,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(example, names)
    assert set(names["table"].series) == set(names["frame"].estimator)
    assert names["axes"].get_ylabel() == "variance"
    assert "θ-gradient" in names["caption"]


def test_the_page_names_every_kind() -> None:
    assert set(KINDS_OF_FIGURE) <= set(re.findall(r"`([a-z]+)`", TEXT))
