"""What figures hold of a run: every row once, at its own coordinates, beside none of another cell."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gradbench.core.errors import UnknownNameError, UsageError
from gradbench.report.figures import KINDS_OF_FIGURE, PALETTE, SHAPES, Asked, figures_of, table_of
from gradbench.report.figures.frontier import undominated
from gradbench.report.plots.captions import caption_of
from gradbench.results.columns import IDENTITY
from gradbench.results.compare import rank
from gradbench.results.slopes import slopes
from gradbench.results.store import Run, load_run
from gradbench.statistics.spread import quantile

KEPT = Path(__file__).parents[3] / "results" / "reference"
NEEDED = {"training": "training-stages", "size": "model-size", "claims": "layers"}
"""Kept runs that a kind needs."""


def kept(name: str) -> Run:
    return load_run(KEPT / name)


@pytest.fixture(scope="module")
def quick() -> Run:
    return kept("quick")


def marks(run: Run, kind: str, **asked) -> list:
    return [mark for figure in figures_of(run, Asked(kind, **asked)) for one in figure.series for mark in one.marks]


@pytest.mark.parametrize("kind", KINDS_OF_FIGURE)
def test_every_kind_is_made_of_a_kept_run(kind, quick) -> None:
    run = kept(NEEDED[kind]) if kind in NEEDED else quick
    figures = figures_of(run, Asked(kind))
    assert figures
    for figure in figures:
        assert figure.kind == kind
        assert figure.title in figure.caption
        assert kind == "claims" or "replicates" in figure.caption
        assert len({one.name for one in figure.series}) == len(figure.series)
        for mark in (mark for one in figure.series for mark in one.marks):
            for axis, value in ((figure.x, mark.x), (figure.y, mark.y)):
                place = axis.place(value)
                assert place is not None
                assert axis.low <= place <= axis.high
    table = table_of(figures)
    assert len(table) == sum(len(one.marks) for figure in figures for one in figure.series)


@pytest.mark.parametrize("kind", KINDS_OF_FIGURE)
def test_a_caption_says_nothing_twice_and_has_no_gaps(kind, quick) -> None:
    caption = caption_of(figures_of(kept(NEEDED[kind]) if kind in NEEDED else quick, Asked(kind)))
    assert "  " not in caption


def test_a_panel_that_is_named_by_what_tells_it_apart_is_named_once(quick) -> None:
    asked = Asked("variance", facet=("samples",), select=("problem=gaussian-vae", "kl=analytic"))
    assert " Panels: L = 1 | L = 4. " in caption_of(figures_of(quick, asked))


@pytest.mark.parametrize("kind", ["variance", "snr", "bias", "plane", "frontier"])
def test_each_row_is_drawn_once(kind, quick) -> None:
    rows = quick.ok()
    drawn = [mark.row for mark in marks(quick, kind)]
    assert sorted(drawn) == sorted(rows.index[rows.group == "phi"])


@pytest.mark.parametrize("x", ["samples", "evaluations", "seconds"])
def test_coordinates_are_those_of_the_rows(x, quick) -> None:
    found = {mark.row: mark for mark in marks(quick, "variance", x=x)}
    for row in quick.ok().loc[list(found)].itertuples():
        mark = found[row.Index]
        assert (mark.x, mark.y) == (getattr(row, x), row.variance)
        assert (mark.y_low, mark.y_high) == (row.variance_low, row.variance_high)
        assert mark.verdict == row.verdict
        assert x != "seconds" or (mark.x_low, mark.x_high) == (row.seconds_low, row.seconds_high)
        assert x == "seconds" or math.isnan(mark.x_low)


def test_signal_to_noise_has_the_interval_of_variance_and_norm(quick) -> None:
    run = kept("bounds")  # whose norms have errors
    found = {mark.row: mark for mark in marks(run, "snr")}
    for row in run.ok().loc[list(found)].itertuples():
        mark = found[row.Index]
        assert mark.y == pytest.approx(math.sqrt(row.snr))
        of_norm = quantile(row.blocks) * row.reference_se / row.gradient_norm if row.gradient_norm else 0.0
        below = math.hypot(math.log(row.variance_high / row.variance) / 2, of_norm)
        assert mark.y_low == pytest.approx(mark.y * math.exp(-below))
    exact = [mark for mark in marks(quick, "snr") if math.isinf(mark.y)]
    assert {mark.row for mark in exact} == {
        row.Index for row in quick.ok().itertuples() if row.group == "phi" and row.variance == 0
    }


def test_bias_is_an_upper_limit_where_its_interval_reaches_0(quick) -> None:
    found = {mark.row: mark for mark in marks(quick, "bias")}
    for row in quick.ok().loc[list(found)].itertuples():
        mark = found[row.Index]
        assert mark.upper_limit == (row.bias_low == 0 and row.bias_high > 0)
        shown = row.bias_high if mark.upper_limit else row.bias_norm
        assert mark.y == pytest.approx(shown / row.gradient_norm)
    assert {mark.upper_limit for mark in found.values()} == {True, False}


def test_bias_without_a_gradient_is_no_share(quick) -> None:
    frame = quick.frame.copy()
    frame.loc[frame.problem == "sigmoid-belief", "gradient_norm"] = 0.0
    labels = {figure.cell["problem"].split()[0]: figure.y.label for figure in figures_of(frame, Asked("bias"))}
    assert labels == {"gaussian-vae": "‖bias‖ / ‖g‖", "sigmoid-belief": "‖bias‖"}


def test_no_panel_mixes_cells(quick) -> None:
    rows = quick.ok()
    for figure in figures_of(quick, Asked("variance")):
        drawn = rows.loc[[mark.row for one in figure.series for mark in one.marks]]
        free = {"samples", "estimator", "estimator_params"}
        assert [name for name in IDENTITY if name not in free and drawn[name].nunique(dropna=False) > 1] == []
    assert [figure.panel for figure in figures_of(quick, Asked("variance"))] == [
        "gaussian-vae · analytic KL",
        "gaussian-vae · monte-carlo KL",
        "sigmoid-belief · analytic KL",
    ]


def test_seeds_are_panels_or_series_and_never_averaged(quick) -> None:
    two = pd.concat([quick.frame, quick.frame.assign(seed=1)])
    asked = Asked("variance", select=("problem=sigmoid-belief",))
    assert [figure.panel for figure in figures_of(two, asked)] == ["seed 0", "seed 1"]
    (figure,) = figures_of(two, replace(asked, by=("estimator", "seed")))
    names = [one.name for one in figure.series]
    assert {"disarm · seed 0", "disarm · seed 1"} <= set(names)
    with pytest.raises(UsageError, match=r"seed varies within a panel \(0, 1\).*--select seed=…"):
        figures_of(two, replace(asked, facet=("problem",)))


def test_styles_are_those_of_the_run_whatever_is_selected(quick) -> None:
    def styles(**asked) -> dict[str, int]:
        found = figures_of(quick, Asked(**asked))
        return {one.name: one.style.index for figure in found for one in figure.series}

    whole = styles(kind="variance")
    assert sorted(whole.values()) == list(range(len(whole)))
    for asked in ({"kind": "plane"}, {"kind": "variance", "select": ("kl=monte-carlo",)}, {"kind": "tensors"}):
        some = styles(**asked)
        assert some.items() <= whole.items()
    assert len(SHAPES) % len(PALETTE) != 0
    assert len({(PALETTE[i % len(PALETTE)], SHAPES[i % len(SHAPES)]) for i in range(77)}) == 77


def test_slopes_are_those_of_the_tables(quick) -> None:
    rows = quick.ok()
    fitted = slopes(rows[rows.group == "phi"], ["samples"])
    fitted = fitted[fitted.figure == "variance"]
    found = [
        (figure.cell["problem"].split()[0], one.name, one.slope.value, one.slope.low, one.slope.high)
        for figure in figures_of(quick, Asked("variance"))
        for one in figure.series
        if one.slope is not None
    ]
    columns = ["problem", "estimator", "slope", "slope_low", "slope_high"]
    assert sorted(found) == sorted(fitted[columns].itertuples(index=False, name=None))
    assert len(found) > 5


def test_no_slope_is_fitted_against_times() -> None:
    assert {one.slope for f in figures_of(kept("quick"), Asked("variance", x="seconds")) for one in f.series} == {None}


def test_guides_have_the_slopes_that_theory_has(quick) -> None:
    def guides(kind: str) -> set[float]:
        return {guide.slope for figure in figures_of(quick, Asked(kind)) for guide in figure.guides}

    assert guides("variance") == {-1.0}
    assert guides("snr") == {0.5, -0.5}
    assert guides("bias") == set()
    (_, single, _) = figures_of(quick, Asked("variance"))
    assert single.guides == ()  # one L has no slope


def test_ratios_are_those_of_compare(quick) -> None:
    name, ranked = rank(replace(quick, frame=quick.ok()), "score-function")
    ranked = ranked[(ranked.group == "phi") & (ranked.cell_id_a != ranked.cell_id_b)].set_index("cell_id_b")
    found = {quick.frame.cell_id[mark.row]: mark for mark in marks(quick, "ratio", baseline=name)}
    assert set(found) == set(ranked.index)
    noiseless = set(quick.ok().index[quick.ok().variance == 0])
    for cell, mark in found.items():
        expected = tuple(ranked.loc[cell, ["variance_ratio", "variance_ratio_low", "variance_ratio_high"]])
        assert (mark.y, mark.y_low, mark.y_high) == ((0.0, 0.0, 0.0) if mark.row in noiseless else expected)
    assert noiseless & {mark.row for mark in found.values()}
    (first, _) = figures_of(quick, Asked("ratio", baseline=name))
    assert "paired block by block" in first.caption
    (first, _) = figures_of(quick.frame, Asked("ratio", baseline=name))  # a frame has no blocks
    assert "not paired" in first.caption


def test_what_has_no_bound_is_drawn_at_an_edge_and_said(quick) -> None:
    frame = quick.frame.copy()
    rows = frame.index[(frame.estimator == "fixed-sample") & (frame.group == "phi")]
    frame.loc[rows, ["variance_high", "mse_high", "bias_high"]] = math.inf
    frame.loc[rows, "bias_low"] = 0.0
    figure = figures_of(frame, Asked("variance"))[0]
    (series,) = (one for one in figure.series if one.name == "fixed-sample")
    assert {mark.y_high for mark in series.marks} == {math.inf}
    assert figure.y.infinity is not None
    assert figure.y.place(math.inf) == figure.y.infinity < figure.y.high
    assert "No upper bound, so that the bar goes on to the edge: fixed-sample." in figure.caption
    assert "edge marked 0" in figure.caption
    assert figures_of(frame, Asked("bias"))[0].y.infinity is not None
    ratio = figures_of(frame, Asked("ratio", baseline="score-function"))[0]
    assert {m.y_high for one in ratio.series if one.name == "fixed-sample" for m in one.marks} == {math.inf}


def test_what_is_not_known_is_counted(quick) -> None:
    frame = quick.frame.copy()
    frame.loc[frame.estimator == "disarm", "seconds"] = math.nan
    (figure,) = figures_of(frame, Asked("frontier", select=("problem=sigmoid-belief",)))
    assert "Not drawn, as the figure is not known: 2 of 14 marks." in figure.caption
    assert "Of the run's 28 cells 2 skipped." in figure.caption


def test_a_parameter_of_an_estimator_may_be_the_axis() -> None:
    (figure,) = figures_of(kept("temperature"), Asked("size"))
    assert (figure.x.label, figure.x.ticks) == ("temperature", (0.1, 0.25, 0.5, 1.0))
    assert "gumbel-softmax" in {one.name for one in figure.series}
    params = kept("temperature").frame.estimator_params
    for mark in (mark for one in figure.series for mark in one.marks):
        assert mark.x == json.loads(params[mark.row])["temperature"]
    (by,) = figures_of(
        kept("temperature"), Asked("variance", by=("temperature",), select=("estimator=gumbel-softmax",))
    )
    assert [one.name for one in by.series] == [f"temperature={value:g}" for value in figure.x.ticks]


def test_arcs_are_of_equal_error(quick) -> None:
    arcs = [arc for figure in figures_of(quick, Asked("plane")) for arc in figure.arcs]
    assert arcs
    for arc in arcs:
        assert np.hypot(arc.x, arc.y) == pytest.approx(arc.error)


def test_nothing_on_the_frontier_is_beaten(quick) -> None:
    for figure in figures_of(quick, Asked("frontier")):
        drawn = [mark for one in figure.series for mark in one.marks]
        assert figure.frontier == undominated(drawn)
        for x, y in figure.frontier:
            assert not any(m.x <= x and m.y <= y and (m.x, m.y) != (x, y) for m in drawn)
        for mark in drawn:
            assert any(x <= mark.x and y <= mark.y for x, y in figure.frontier)


def test_bounds_of_other_samples_have_frontiers_of_their_own() -> None:
    run = kept("bounds")
    more = pd.concat([run.frame, run.frame.assign(samples=16)])
    for figure in figures_of(more, Asked("frontier", select=("objective=iwae",))):
        assert {mark.words for one in figure.series for mark in one.marks} in ({"L = 8"}, {"L = 16"})


def test_claims_are_measured_over_claimed() -> None:
    (figure,) = figures_of(kept("layers"), Asked("claims"))
    bands = {band.at: band for band in figure.bands}
    for one in figure.series:
        for mark in one.marks:
            band = bands[mark.y]
            assert (band.low <= mark.x_low and mark.x_high <= band.high) == (one.name == "reproduced")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Asked("training"), "--kind training needs several train_steps; here it is 50"),
        (Asked("size"), "several sizes, or a parameter with several values"),
        (Asked("claims"), "makes no claim that was measured"),
        (Asked("variance", select=("kl=none",)), "--select kl=none: no row .* matches; kl is analytic, monte-carlo"),
        (Asked("variance", select=("kl",)), "--select 'kl': expected key=value"),
        (Asked("variance", group="psi"), "--group: unknown group 'psi'"),
        (Asked("variance", group="phi,theta"), "tell them apart with --by group or --facet group"),
        (Asked("variance", x="second"), "unknown x axis 'second'; did you mean 'seconds'"),
        (Asked("variance", by=("temprature",)), "unknown column or parameter of this run 'temprature'; did you mean"),
        (Asked("ratio", baseline="disarn"), "did you mean 'disarm'"),
        (Asked("size", x="decoder"), "unknown x axis 'decoder'"),
        (Asked("varience"), "unknown kind of figure 'varience'; did you mean 'variance'"),
    ],
)
def test_what_cannot_be_drawn_is_said(asked, said, quick) -> None:
    with pytest.raises(UsageError, match=said):
        figures_of(quick, asked)


def test_a_run_without_figures_has_none(quick) -> None:
    with pytest.raises(UsageError, match="nothing to draw"):
        figures_of(replace(quick, frame=quick.frame[quick.frame.status != "ok"]), Asked("variance"))
    assert issubclass(UnknownNameError, UsageError)
