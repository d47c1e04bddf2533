"""What is drawn: read back from matplotlib's artists, and from the files that are written."""

from __future__ import annotations

import inspect
import math
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure as Canvas

import gradbench as gb
from gradbench.core.errors import UsageError
from gradbench.report.figures import KINDS_OF_FIGURE, Asked, figures_of
from gradbench.report.plots import functions, library
from gradbench.report.plots.captions import caption_of
from gradbench.report.plots.panels import DASHES
from gradbench.report.plots.sheets import columns_of, rendered, sheet
from gradbench.results.store import Run

KEPT = Path(__file__).parents[3] / "results" / "reference"
ONE = "problem=gaussian-vae", "kl=analytic"
"""What selects one panel of the kept run quick."""
NAMES = ["$x_1$", "<script>alert(1)</script>", "100 % _of_ \\alpha {", "e^{x}$", "\U0001f9ea 漢字", "-", "two\nlines"]


@pytest.fixture(scope="module")
def quick() -> Run:
    return gb.load_run(KEPT / "quick")


@pytest.fixture
def axes():
    return Canvas(figsize=(6, 4)).add_subplot()


def lines(axes, start: str) -> list:
    return [line for line in axes.get_lines() if str(line.get_label()).startswith(start)]


def points(axes) -> list[tuple[float, float]]:
    found = [line for start in ("_marks", "_edge") for line in lines(axes, start)]
    return [pair for line in found for pair in zip(*map(np.ravel, line.get_data()), strict=True)]


@pytest.mark.parametrize("kind", KINDS_OF_FIGURE)
def test_there_is_a_function_for_each_kind_that_gives_its_axes(kind, axes) -> None:
    run = {"training": "training-stages", "size": "model-size", "claims": "layers"}.get(kind, "quick")
    select = {"training": ("objective=elbo",), "size": (), "claims": (), "tensors": (*ONE, "samples=4")}.get(kind, ONE)
    asked = {"select": select} if select else {}
    loaded = gb.load_run(KEPT / run)
    assert getattr(gb.plot, kind)(loaded, ax=axes, **asked) is axes
    (figure,) = figures_of(loaded, Asked(kind, select=select))
    expected = [(figure.x.place(m.x), figure.y.place(m.y)) for one in figure.series for m in one.marks]
    assert sorted(points(axes)) == sorted(expected)
    assert axes.get_xlabel() == figure.x.label
    axes.figure.canvas.draw()


def test_the_data_are_those_of_the_frame(axes) -> None:
    frame = gb.load(KEPT / "quick", where={"group": "phi", "problem": "sigmoid-belief", "estimator": "disarm"})
    gb.plot.variance(frame, ax=axes)
    (line,) = lines(axes, "_line")
    assert line.get_xdata().tolist() == frame.samples.tolist()
    assert line.get_ydata().tolist() == frame.variance.tolist()
    bars = {tuple(one.get_ydata()) for one in axes.get_lines() if str(one.get_label()).startswith("_bar")}
    assert bars == set(frame[["variance_low", "variance_high"]].itertuples(index=False, name=None))
    assert axes.get_xscale() == axes.get_yscale() == "log"


def test_unresolved_is_hollow_and_biased_is_dashed(axes) -> None:
    run = gb.load_run(KEPT / "discrete")
    run.frame.loc[run.frame.estimator == "disarm", "verdict"] = "unresolved"
    gb.plot.variance(run, ax=axes)
    (figure,) = figures_of(run, Asked("variance"))
    seen = set()
    for series in figure.series:
        dashed = any(mark.verdict == "biased" for mark in series.marks)
        (line,) = [one for one in axes.get_lines() if one.get_label() == f"_line {series.name}"]
        assert (line.get_linestyle() == "--") == dashed
        for mark in series.marks:
            (drawn,) = [
                one
                for one in axes.get_lines()
                if one.get_label() in (f"_marks {series.name}", f"_edge {series.name}")
                and (figure.x.place(mark.x), figure.y.place(mark.y)) in zip(*one.get_data(), strict=True)
            ]
            hollow = drawn.get_markerfacecolor() == "white"
            assert hollow == (mark.verdict == "unresolved")
            assert (drawn.get_fillstyle() == "bottom") == (mark.verdict == "biased")
            assert drawn.get_markeredgecolor() == series.style.colour
            seen.add(mark.verdict)
    assert seen == {"biased", "unbiased", "unresolved"}
    assert DASHES[1]


def test_the_line_goes_through_no_edge_and_no_upper_limit(quick) -> None:
    for kind in ("bias", "snr"):
        axes = Canvas().add_subplot()
        getattr(gb.plot, kind)(quick, ax=axes, select=ONE)
        (figure,) = figures_of(quick, Asked(kind, select=ONE))
        off = {(m.x, m.y) for one in figure.series for m in one.marks if m.upper_limit or math.isinf(m.y)}
        on = {pair for line in lines(axes, "_line") for pair in zip(*line.get_data(), strict=True)}
        assert off
        assert not off & on


def test_slopes_stand_at_the_ends_of_lines_apart_from_each_other(quick, axes) -> None:
    gb.plot.variance(quick, ax=axes, select="problem=sigmoid-belief")
    axes.figure.canvas.draw()
    texts = [text for text in axes.texts if text.get_text()]
    assert sum(bool(re.fullmatch(r"−?\d\.\d\d \[−?\d\.\d\d, −?\d\.\d\d\]", text.get_text())) for text in texts) == 5
    assert [text.get_text() for text in texts].count("slope −1") == 1
    boxes = sorted((text.get_window_extent().y0, text.get_window_extent().y1) for text in texts)
    assert all(high <= low + 1.0 for (_, high), (low, _) in pairwise(boxes))


def test_a_guide_has_its_slope(quick, axes) -> None:
    gb.plot.variance(quick, ax=axes, select=ONE)
    (guide,) = [line for line in axes.get_lines() if line.get_linestyle() == ":"]
    x, y = guide.get_data()
    assert math.log(y[1] / y[0]) / math.log(x[1] / x[0]) == pytest.approx(-1.0)


def test_names_are_text_whatever_they_are(quick, recwarn) -> None:
    frame = quick.frame[quick.frame.problem == "sigmoid-belief"]
    renamed = frame.assign(estimator=frame.estimator.map(dict(zip(frame.estimator.unique(), NAMES, strict=True))))
    renamed = renamed.assign(problem=NAMES[0], data=NAMES[3])
    canvas = sheet(figures_of(renamed, Asked("variance")), 6.9, caption=True)
    for format_ in ("svg", "pdf"):
        assert rendered(canvas, format_)
    shown = " ".join(text.get_text() for text in canvas.findobj(mpl.text.Text)).replace("\n", " ")
    for name in NAMES:
        wanted = name.replace("$", r"\$").replace("\n", " ↵ ").replace("漢字", "\\u6f22\\u5b57")
        assert wanted.replace("\U0001f9ea", "\\U0001f9ea") in shown
    assert not [one for one in recwarn if issubclass(one.category, UserWarning)]


@pytest.mark.parametrize("format_", ["pdf", "svg", "png"])
def test_the_same_figure_is_the_same_file(format_, quick) -> None:
    figures = figures_of(quick, Asked("plane", select=ONE))
    one, two = (rendered(sheet(figures, 3.35, caption=True), format_) for _ in range(2))
    assert one == two
    assert b"CreationDate" not in one
    assert b"<dc:date>" not in one


def test_letters_are_embedded_as_truetype(quick) -> None:
    data = rendered(sheet(figures_of(quick, Asked("variance", select=ONE)), 3.35), "pdf")
    assert b"/FontFile2" in data
    assert b"/Type3" not in data


def test_a_file_has_the_width_that_is_asked_for(quick) -> None:
    data = rendered(sheet(figures_of(quick, Asked("variance")), 6.9), "pdf")
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", data)
    assert box is not None
    assert float(box[1]) == pytest.approx(6.9 * 72, abs=0.1)


@pytest.mark.parametrize(
    ("kind", "width"), [("variance", 3.35), ("tensors", 6.9), ("ratio", 6.9), ("plane", 3.35), ("frontier", 6.9)]
)
def test_nothing_sticks_out_of_the_sheet(kind, width, quick) -> None:
    select = ("samples=4",) if kind == "tensors" else ()
    canvas = sheet(figures_of(quick, Asked(kind, select=select)), width, caption=True)
    with library.drawing():
        canvas.canvas.draw()
    sheet_box = canvas.bbox
    for text in canvas.findobj(mpl.text.Text):
        if text.get_text() and text.get_visible():
            box = text.get_window_extent()
            assert box.x0 >= sheet_box.x0 - 1, text
            assert box.x1 <= sheet_box.x1 + 1, text
            assert box.y0 >= sheet_box.y0 - 1, text
            assert box.y1 <= sheet_box.y1 + 1, text


def test_panels_fill_their_rows(quick) -> None:
    figures = figures_of(quick, Asked("bias"))
    assert [columns_of(figures, width) for width in (3.35, 6.9)] == [1, 3]


def test_more_panels_than_a_sheet_holds_are_refused(quick) -> None:
    many = pd.concat([quick.frame.assign(seed=seed) for seed in range(5)])
    with pytest.raises(UsageError, match=r"15 panels, more than the 12 of one file .* --select"):
        sheet(figures_of(many, Asked("variance")), 6.9)


def test_one_axes_takes_one_panel(quick, axes) -> None:
    with pytest.raises(UsageError, match=r"3 panels .*gaussian-vae · analytic KL.*select"):
        gb.plot.variance(quick, ax=axes)


def test_the_settings_of_the_user_stay_as_they_are(quick, axes) -> None:
    before = dict(mpl.rcParams)
    gb.plot.variance(quick, ax=axes, select=ONE)
    assert dict(mpl.rcParams) == before
    assert library.SETTINGS["font.size"] != before["font.size"]


def test_a_caption_says_of_which_panels_its_findings_are(quick) -> None:
    said = caption_of(figures_of(quick, Asked("snr")))
    names = ("gaussian-vae · analytic KL", "sigmoid-belief · analytic KL")
    for name, series in zip(
        names, ("double-counted 0.50 [0.49, 0.51]", "score-function 0.50 [0.49, 0.50]"), strict=True
    ):
        assert f"{name}: Slopes of log ‖g‖ / √variance against log L, with 95 % intervals: {series}" in said
    assert f"{names[1]}: Found biased: fixed-sample, gumbel-softmax." in said
    assert said.count("Bias is not noise: a signal-to-noise ratio can prefer a biased estimator.") == 1
    assert said.endswith(". Of the run's 28 cells 2 skipped.")  # which is of the whole run
    heavy = quick.frame.assign(kurtosis=quick.frame["kurtosis"].where(quick.frame.problem != "sigmoid-belief", 99.0))
    said = caption_of(figures_of(replace(quick, frame=heavy), Asked("variance")))
    assert f"{names[1]}: Heavy tails (kurtosis above 30): " in said
    (alone,) = figures_of(quick, Asked("variance", select=("problem=sigmoid-belief",)))
    assert " Slopes of log variance against log L, with 95 % intervals: score-function −1.00" in caption_of([alone])


def test_captions_and_data_are_there_without_a_drawing(quick) -> None:
    said = gb.plot.caption(quick, "variance", select=ONE)
    for word in (
        "gaussian-vae",
        "digits",
        "50 training steps",
        "elbo",
        "analytic KL",
        "float32",
        "8192 replicates",
        "φ",
    ):
        assert word in said
    table = gb.plot.data(quick, "variance", select=ONE)
    rows = quick.ok()
    rows = rows[(rows.group == "phi") & (rows.problem == "gaussian-vae") & (rows.kl == "analytic")]
    assert sorted(table.y) == sorted(rows.variance)


def test_every_public_function_says_what_it_draws() -> None:
    own = {name for name, f in inspect.getmembers(functions, inspect.isfunction) if f.__module__ == functions.__name__}
    assert {name for name in own if not name.startswith("_")} == {*KINDS_OF_FIGURE, "caption", "data"}
