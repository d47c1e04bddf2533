"""Every kind of figure of a run: which rows it is made of, which x it has, and its panels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gradbench.core.errors import UnknownNameError, UsageError
from gradbench.core.selection import choices
from gradbench.report.figures.claims import claims_figure
from gradbench.report.figures.frontier import frontier
from gradbench.report.figures.lines import COSTS_TITLED, against_cost, against_setting
from gradbench.report.figures.model import Figure
from gradbench.report.figures.panels import Panel, Split, panels
from gradbench.report.figures.plane import plane
from gradbench.report.figures.ratios import RATIOS_OF, VARIANCE_RATIO, ratio, with_ratios_over
from gradbench.report.figures.sentences import unmeasured
from gradbench.report.figures.settings import setting_axis
from gradbench.report.figures.tensors import by_tensor
from gradbench.results.at_budget import samples_of_target
from gradbench.results.compare import where
from gradbench.results.outcomes import claims_of, verify
from gradbench.results.store import Run

KINDS_OF_FIGURE: Mapping[str, str] = {
    "variance": "variance against L, evaluations or seconds",
    "snr": "signal-to-noise ratio against the same",
    "bias": "bias against the same; upper limits where there is none to be seen",
    "plane": "bias and standard deviation, with arcs of equal mean squared error",
    "frontier": "mean squared error against time or evaluations, and the frontier",
    "training": "variance against training steps",
    "tensors": "variance, tensor by tensor",
    "size": "variance against the number of parameters, or a parameter of problem or estimator",
    "ratio": "variance over that of a baseline, with paired intervals",
    "claims": "the suite's claims, measured over claimed",
}
"""What can be drawn, in words."""
OF_COST = ("variance", "snr", "bias", "ratio")
"""Kinds whose x axis is L, evaluations or seconds."""


@dataclass(frozen=True)
class Asked:
    """What is to be drawn of a run.

    ``by`` and ``facet``: columns or parameters that tell series and panels apart. ``select``: rows, as ``key=value``.
    """

    kind: str
    x: str | None = None
    by: tuple[str, ...] = ()
    facet: tuple[str, ...] = ()
    group: str | None = None
    select: tuple[str, ...] = ()
    baseline: str | None = None
    of: str = "variance"
    """Of the kind ``ratio``: the kind of figure whose ratios are drawn, on its own axis."""


@dataclass(frozen=True)
class FrameRun(Run):
    """Rows of a run that come without its folder; with the column ``block_variance`` they can be paired."""

    unmeasured: tuple[str, ...] | None = None
    """Sentences on the cells without figures of the whole run, where these rows are some of it."""

    def block_variances(self) -> dict[tuple[str, str], np.ndarray]:
        """By cell and group, the variance block by block [K]; of the rows that have it."""
        if "block_variance" not in self.frame:
            return {}
        rows = self.frame[self.frame.block_variance.notna()]
        keys = zip(rows.cell_id, rows.group, rows.block_variance, strict=True)
        return {(cell, group): np.asarray(values, dtype=float) for cell, group, values in keys}


def as_run(rows: Run | pd.DataFrame) -> Run:
    """A run, or the frame of one, as a run."""
    return rows if isinstance(rows, Run) else FrameRun(Path("this frame"), rows.reset_index(drop=True), {})


def figures_of(run: Run | pd.DataFrame, asked: Asked) -> list[Figure]:
    """The panels of one kind of figure, in the order of the rows of the run.

    Raises UnknownNameError for a kind, group, column, parameter or baseline that there is not, UsageError where nothing
    can be drawn, saying what varies.
    """
    if asked.kind not in KINDS_OF_FIGURE:
        raise UnknownNameError("kind of figure", asked.kind, KINDS_OF_FIGURE, where="--kind")
    run = as_run(run)
    if asked.kind == "claims":
        found = claims_figure(verify(run, claims_of(run)), str(run.frame.suite.iloc[0]))
        if found is None:
            raise UsageError("nothing to draw: the suite makes no claim that was measured; choose another --kind")
        return [found]
    measured = run.ok()
    if measured.empty:
        raise UsageError(f"{run.path}: no cell of this run was measured; there is nothing to draw")
    groups = groups_asked(measured, asked)
    chosen = where(replace(run, frame=measured), asked.select, "--select").frame
    rows = chosen[chosen.group.isin(groups)]
    if rows.empty:
        raise UsageError(f"nothing to draw: no row of {', '.join(groups)} is left; widen --select")
    found = _KINDS[asked.kind](run, measured, rows, asked)
    told = run.unmeasured if isinstance(run, FrameRun) else None
    said = tuple(unmeasured(run)) if told is None else told
    return [replace(figure, notes=(*figure.notes, *said)) for figure in found]


def groups_asked(measured: pd.DataFrame, asked: Asked) -> list[str]:
    """The groups whose rows are drawn. Raises UnknownNameError for one that the run has not."""
    there = list(dict.fromkeys(measured.group))
    selected = any(text.startswith("group=") for text in asked.select)
    named = asked.group.split(",") if asked.group else []
    for name in named:
        if name not in there:
            raise UnknownNameError("group", name, there, where="--group")
    if "group" in (*asked.by, *asked.facet) or selected:
        return named or [name for name in there if selected or name in ("phi", "theta")]
    usual = named or [next((name for name in ("phi", "all") if name in there), there[0])]
    if len(usual) > 1:
        raise UsageError(f"--group names {len(usual)} groups: tell them apart with --by group or --facet group")
    return _tensors(there, usual[0]) if "tensors" in (asked.kind, asked.of) else usual


def _tensors(there: Sequence[str], group: str) -> list[str]:
    """The tensors of a group."""
    tensors = [name for name in there if "." in name and (group == "all" or name.startswith(f"{group}."))]
    if not tensors:
        raise UsageError(f"nothing to draw: the run has no figures of the tensors of {group}; choose another --group")
    return tensors


def _cost(asked: Asked, usual: str) -> str:
    x = asked.x or usual
    if x not in COSTS_TITLED:
        raise UnknownNameError("x axis", x, COSTS_TITLED, where=f"--x of --kind {asked.kind}")
    return x


def _group_of(panel: Panel) -> str:
    groups = panel.rows.group.unique()
    return str(groups[0]) if len(groups) == 1 else ""


def _split(asked: Asked, *taken: str, also: Iterable[str] = ()) -> Split:
    return Split(taken, asked.by, asked.facet, tuple(also))


def _of_cost(run: Run, measured: pd.DataFrame, rows: pd.DataFrame, asked: Asked) -> list[Figure]:
    x = _cost(asked, "samples")
    split = _split(asked, "samples", also=["hardware"] if x == "seconds" else [])
    return [
        against_cost(asked.kind, panel, _group_of(panel), x)  # pyright: ignore[reportArgumentType]
        for panel in panels(rows, measured, split)
    ]


def _ratio(run: Run, measured: pd.DataFrame, rows: pd.DataFrame, asked: Asked) -> list[Figure]:
    baseline, rows = with_ratios_over(replace(run, frame=measured), rows, asked.baseline)
    if asked.of == "tensors":
        name = asked.group or "φ and θ"
        return [by_tensor(panel, name, baseline) for panel in panels(rows, measured, _split(asked, "group"))]
    if asked.of in ("training", "size"):
        setting = ("train_steps", "training steps", rows, measured)
        x, label, table, every = setting if asked.of == "training" else setting_axis(rows, measured, asked.x)
        found = _several(panels(table, every, _split(asked, x)), x, rows, replace(asked, kind=asked.of))
        return [ratio(panel, _group_of(panel), x, baseline, label=label) for panel in found]
    x = _cost(asked, "samples")
    split = _split(asked, "samples", also=["hardware"] if x == "seconds" else [])
    of = RATIOS_OF.get(asked.of, VARIANCE_RATIO)
    return [ratio(panel, _group_of(panel), x, baseline, of) for panel in panels(rows, measured, split)]


def _plane(run: Run, measured: pd.DataFrame, rows: pd.DataFrame, asked: Asked) -> list[Figure]:
    return [plane(panel, _group_of(panel)) for panel in panels(rows, measured, _split(asked, "samples"))]


def _frontier(run: Run, measured: pd.DataFrame, rows: pd.DataFrame, asked: Asked) -> list[Figure]:
    x = _cost(asked, "seconds")
    # gradients of a bound with other L are of another target: their errors are about different gradients
    rows = rows.assign(target_samples=samples_of_target(rows))
    also = ["target_samples", *(["hardware"] if x == "seconds" else [])]
    return [
        frontier(panel, _group_of(panel), x) for panel in panels(rows, measured, _split(asked, "samples", also=also))
    ]


def _training(run: Run, measured: pd.DataFrame, rows: pd.DataFrame, asked: Asked) -> list[Figure]:
    found = _several(panels(rows, measured, _split(asked, "train_steps")), "train_steps", rows, asked)
    return [against_setting("training", panel, _group_of(panel), "train_steps", "training steps") for panel in found]


def _size(run: Run, measured: pd.DataFrame, rows: pd.DataFrame, asked: Asked) -> list[Figure]:
    x, label, table, every = setting_axis(rows, measured, asked.x)
    found = _several(panels(table, every, _split(asked, x)), x, rows, asked)
    return [against_setting("size", panel, _group_of(panel), x, label) for panel in found]


def _tensor(run: Run, measured: pd.DataFrame, rows: pd.DataFrame, asked: Asked) -> list[Figure]:
    shown = asked.group or "φ and θ"
    name = asked.group or next((one for one in ("phi", "all") if one in set(measured.group)), shown)
    return [by_tensor(panel, name) for panel in panels(rows, measured, _split(asked, "group"))]


def _several(found: list[Panel], x: str, rows: pd.DataFrame, asked: Asked) -> list[Panel]:
    """The panels with two values of ``x`` or more. Raises UsageError where there is none."""
    kept = [panel for panel in found if panel.rows[x].nunique() > 1]
    if not kept:
        name = "train_steps" if asked.kind == "training" else x
        values = choices(pd.Series(rows[name] if name in rows else found[0].rows[name]).dropna())
        raise UsageError(f"nothing to draw: --kind {asked.kind} needs several {name}; here it is {values}")
    return kept


_KINDS: Mapping[str, Callable[[Run, pd.DataFrame, pd.DataFrame, Asked], list[Figure]]] = {
    **dict.fromkeys(OF_COST, _of_cost),
    "ratio": _ratio,
    "plane": _plane,
    "frontier": _frontier,
    "training": _training,
    "size": _size,
    "tensors": _tensor,
}


def table_of(figures: Iterable[Figure]) -> pd.DataFrame:
    """What figures show, a row for each mark: panel, series, coordinates with their intervals, verdict."""
    names = ("x", "x_low", "x_high", "y", "y_low", "y_high", "upper_limit", "verdict")
    found: list[dict[str, Any]] = [
        {
            "kind": figure.kind,
            "panel": figure.panel,
            "group": figure.group,
            "series": series.name,
            "mark": mark.words,
            **{name: getattr(mark, name) for name in names},
        }
        for figure in figures
        for series in figure.series
        for mark in series.marks
    ]
    return pd.DataFrame(found)
