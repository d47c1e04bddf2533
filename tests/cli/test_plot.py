"""gradbench plot: files, captions, and what is said where nothing can be drawn."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from gradbench.cli.plot import KindOfFigure
from gradbench.report.figures import KINDS_OF_FIGURE

QUICK = Path(__file__).parents[2] / "results" / "reference" / "quick"


def test_a_figure_is_written_and_its_caption_printed(gradbench) -> None:
    ended = gradbench("plot", QUICK, "--select", "problem=gaussian-vae", "-o", "fig.pdf")
    assert ended.code == 0
    assert Path("fig.pdf").read_bytes().startswith(b"%PDF")
    assert ended.out.startswith("Variance (trace) of one φ-gradient against L.")
    assert "Slopes of log variance against log L" in " ".join(ended.out.split())
    assert ended.err == "fig.pdf: 2 panels, 3.35 inches wide\n"


@pytest.mark.parametrize(("name", "start"), [("f.svg", b"<?xml"), ("f.png", b"\x89PNG"), ("F.PDF", b"%PDF")])
def test_the_name_of_the_file_says_its_format(gradbench, name, start) -> None:
    asked = ("--select", "problem=gaussian-vae", "--select", "kl=analytic", "--width", "page", "--caption")
    assert gradbench("plot", QUICK, "--kind", "snr", *asked, "-o", name).code == 0
    assert Path(name).read_bytes().startswith(start)


def test_what_is_drawn_can_be_had_as_json(gradbench) -> None:
    asked = ("--kind", "bias", "--group", "theta", "--select", "problem=sigmoid-belief", "--json", "-o", "f.svg")
    found = json.loads(gradbench("plot", QUICK, *asked).out)
    assert found["file"] == "f.svg"
    assert "θ-gradient" in found["caption"]
    assert {mark["series"] for mark in found["marks"]} >= {"disarm", "exact"}


def test_the_kinds_are_those_of_the_figures() -> None:
    assert [kind.value for kind in KindOfFigure] == list(KINDS_OF_FIGURE)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--kind training", "--kind training needs several train_steps; here it is 50"),
        ("--select kl=nothing", "kl is analytic, monte-carlo"),
        ("-o fig.jpg", "--output fig.jpg: unknown format of a figure 'jpg'; did you mean 'png'?"),
        ("-o nowhere/fig.pdf", "--output nowhere/fig.pdf: cannot be written (No such file or directory)"),
        ("--width narrow", "--width 'narrow': expected column, page or inches"),
        ("--baseline exact", "--baseline is what --kind ratio divides by"),
        ("--kind plane --x seconds", "--x: --kind plane has an x axis of its own; variance, snr, bias, frontier, size"),
        ("--kind claims --group theta --by kl", "--by and --group: the figure of claims is always the same; drop it"),
        ("--kind ratio --baseline exakt", "did you mean 'exact'"),
        ("--by nonsense", "unknown column or parameter of this run 'nonsense'"),
        ("--facet problem", "kl varies within a panel (analytic, monte-carlo)"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_a_line(gradbench, line, said) -> None:
    ended = gradbench("plot", QUICK, *line.split())
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert ended.err.count("\n") == 1
    assert list(Path().iterdir()) == []


def test_without_matplotlib_its_extra_is_named(gradbench, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    ended = gradbench("plot", QUICK)
    assert ended.code == 2
    assert ended.err == "error: drawing figures needs matplotlib: pip install 'gradbench[plot]'\n"


def test_series_may_be_told_apart_by_anything(gradbench) -> None:
    asked = (
        "--by",
        "kl",
        "--select",
        "problem=gaussian-vae",
        "--select",
        "estimator=pathwise",
        "--json",
        "-o",
        "f.svg",
    )
    found = json.loads(gradbench("plot", QUICK, *asked).out)
    assert [mark["series"] for mark in found["marks"]] == ["analytic KL", "analytic KL", "monte-carlo KL"]
