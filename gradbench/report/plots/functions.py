"""``gb.plot``: figures of a frame on matplotlib's axes, one function for each kind.

Each takes the rows of a run (as `gb.load` gives them, or a run) and draws the one panel that they make:
``gb.plot.variance(frame, ax=axes)``. Where they make several, it says what varies; choose with ``select`` or pandas.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from gradbench.core.errors import UsageError
from gradbench.report.figures import Asked, Figure, figures_of, table_of
from gradbench.report.plots.captions import caption_of
from gradbench.report.plots.lettering import drawable
from gradbench.report.plots.library import drawing
from gradbench.report.plots.panels import draw_panel
from gradbench.report.plots.sheets import legend_handles, legend_series
from gradbench.results.store import Run

Rows = pd.DataFrame | Run
Names = str | Sequence[str]


def variance(frame: Rows, ax: Any = None, *, x: str = "samples", **options: Any) -> Any:
    """Variance of one gradient against ``x`` (samples, evaluations, seconds), log-log, with the slope of each line.

    ``options`` of this and all others: ``group`` ("phi"), ``by`` (columns or parameters that tell series apart),
    ``select`` ("samples=4", one or several), ``legend`` (True). Returns the axes, new ones unless ``ax`` is given.
    Raises UsageError where nothing can be drawn, or more than one panel.
    """
    return _drawn(frame, ax, "variance", x=x, **options)


def snr(frame: Rows, ax: Any = None, *, x: str = "samples", **options: Any) -> Any:
    """Signal-to-noise ratio ‖g‖ / √variance against ``x``, with guides of slope ±½; see `variance`."""
    return _drawn(frame, ax, "snr", x=x, **options)


def bias(frame: Rows, ax: Any = None, *, x: str = "samples", **options: Any) -> Any:
    """Bias against ``x``, upper limits as arrows where none is to be seen; see `variance`."""
    return _drawn(frame, ax, "bias", x=x, **options)


def plane(frame: Rows, ax: Any = None, **options: Any) -> Any:
    """Bias against standard deviation, with arcs of equal mean squared error; see `variance`."""
    return _drawn(frame, ax, "plane", **options)


def frontier(frame: Rows, ax: Any = None, *, x: str = "seconds", **options: Any) -> Any:
    """Mean squared error against what one gradient costs, and the frontier; see `variance`."""
    return _drawn(frame, ax, "frontier", x=x, **options)


def training(frame: Rows, ax: Any = None, **options: Any) -> Any:
    """Variance against training steps; see `variance`."""
    return _drawn(frame, ax, "training", **options)


def tensors(frame: Rows, ax: Any = None, **options: Any) -> Any:
    """Variance tensor by tensor of ``group``; see `variance`."""
    return _drawn(frame, ax, "tensors", **options)


def size(frame: Rows, ax: Any = None, *, x: str | None = None, **options: Any) -> Any:
    """Variance against ``x``: num_parameters, latent_dim or a parameter; without it the one that varies."""
    return _drawn(frame, ax, "size", x=x, **options)


def ratio(frame: Rows, ax: Any = None, *, baseline: str | None = None, x: str = "samples", **options: Any) -> Any:
    """Variance over that of ``baseline``, with 95 % intervals; see `variance`.

    Intervals are paired where block values are there: of a run, ``gb.load_run(path)``, or of a frame that was loaded
    with its column ``block_variance``.
    """
    return _drawn(frame, ax, "ratio", x=x, baseline=baseline, **options)


def claims(frame: Run, ax: Any = None, **options: Any) -> Any:
    """The claims of a run's suite, measured over claimed; of a run (`gb.load_run`), whose manifest has them."""
    return _drawn(frame, ax, "claims", **options)


def caption(frame: Rows, kind: str, **options: Any) -> str:
    """What stands below a figure of that kind: the cell, how to read it, what stands against it."""
    options.pop("legend", None)
    return caption_of(figures_of(frame, _asked(kind, **options)))


def data(frame: Rows, kind: str, **options: Any) -> pd.DataFrame:
    """What a figure of that kind shows, a row for each mark of each panel."""
    options.pop("legend", None)
    return table_of(figures_of(frame, _asked(kind, **options)))


def _asked(
    kind: str,
    *,
    x: str | None = None,
    by: Names = (),
    group: str | None = None,
    select: Names = (),
    baseline: str | None = None,
) -> Asked:
    return Asked(kind, x, _names(by), (), group, _names(select), baseline)


def _names(given: Names) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _drawn(frame: Rows, ax: Any, kind: str, *, legend: bool = True, **options: Any) -> Any:
    figure = _only(figures_of(frame, _asked(kind, **options)))
    with drawing():
        if ax is None:
            from matplotlib import pyplot

            ax = pyplot.subplots(layout="constrained")[1]
        height = ax.get_window_extent().height / ax.figure.dpi
        draw_panel(figure, ax, height)
        if figure.panel:
            ax.set_title(drawable(figure.panel), loc="left")
        if legend:
            handles = legend_handles(legend_series([figure]), [figure])
            ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    return ax


def _only(figures: list[Figure]) -> Figure:
    """The one panel. Raises UsageError where there are several."""
    if len(figures) == 1:
        return figures[0]
    told = "; ".join(figure.panel for figure in figures[:3])
    raise UsageError(
        f"the rows make {len(figures)} panels ({told}{'; …' if len(figures) > 3 else ''}): choose one, such as with "
        'select="kl=analytic", or let what varies tell series apart with by'
    )
