"""The picture says the slopes that are exact, and is written in the formats that it promises."""

from __future__ import annotations

from pathlib import Path

import pytest

import gradbench as gb
from gradbench.report.picture import write_picture


def titles(figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]


def test_every_panel_says_its_slope() -> None:
    figure = gb.draw_what_moves(lambda z: (z - 1) ** 2, mean=2.5, scale=0.5, prob=0.6, f=(4.0, 1.5))
    said = [title.split("\n")[1] for title in titles(figure)]
    assert said == [
        "✓ score function: slope −2.50",
        "✗ nothing flows: slope 0",
        "✓ score function: slope 3.00",
        "✓ pathwise: slope 3.00",
        "✗ lost: slope 0, not 3.00",
        "✗ counted twice: slope 6.00",
    ]
    assert figure._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("settings", [{"cost": lambda z: 0 * z}, {"f": (2.0, 2.0)}, {"prob": 0.99}, {"step": -0.4}])
def test_what_a_learner_may_try_is_drawn(settings: dict) -> None:
    figure = gb.draw_what_moves(**settings)
    assert len(titles(figure)) == 6
    figure.draw_without_rendering()  # which lays it out, and raises where it cannot


@pytest.mark.parametrize(("ending", "begins"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_it_is_written(tmp_path: Path, ending: str, begins: bytes) -> None:
    file = tmp_path / f"answer.{ending}"
    write_picture(file)
    assert file.read_bytes().startswith(begins)
    if ending == "svg":
        text = file.read_text(encoding="utf-8")
        assert "pathwise: slope −4.00" in text
        assert "<dc:date>" not in text
