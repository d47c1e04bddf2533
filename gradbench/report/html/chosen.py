"""Which figures a page holds: sections, the views that each can be switched to, and as many panels as have room."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from gradbench.core.errors import UnknownNameError, UsageError
from gradbench.core.printable import one_line
from gradbench.report.figures import Asked, Figure, figures_of
from gradbench.report.figures.drawing import FrameRun
from gradbench.report.figures.sentences import unmeasured
from gradbench.report.html.drawn import figure_data
from gradbench.report.words import group_title
from gradbench.results.columns import IDENTITY
from gradbench.results.compare import usual_baseline
from gradbench.results.store import Run

MARKS_OF_PAGE = 40_000
"""Marks that a page may have; of more panels the first are in it, the others are left to ``gradbench plot``."""
EXACT = 20_000
"""Rows of a page, up to which coordinates are held to the last bit."""
GROUPS_DRAWN = ("phi", "theta", "all")
COST_AXES = ("samples", "evaluations", "seconds")
COST_NAMES = {"samples": "L", "evaluations": "evaluations", "seconds": "seconds"}


@dataclass(frozen=True)
class FigureView:
    """One way to draw a section."""

    kind: str
    x: str | None = None
    over: bool = False
    """Whether it shows ratios over a baseline."""

    def asked(self, group: str | None, baseline: str | None) -> Asked:
        """The figures of this view for the gradient of ``group``."""
        if self.over:
            return Asked("ratio", x=self.x, group=group, baseline=baseline, of=self.kind)
        return Asked(self.kind, x=self.x, group=group)


@dataclass(frozen=True)
class FigureSection:
    """One of the figures of a page."""

    key: str
    title: str
    about: str
    views: tuple[FigureView, ...]
    absent: str
    """What is said where a run gives no such figure."""
    taken: tuple[str, ...] = ("samples",)
    """Columns that its x axis takes, so that they tell no panels apart."""


def _views(kind: str, *costs: str | None) -> tuple[FigureView, ...]:
    """A view against each of ``costs``, then the same as ratios."""
    return tuple(FigureView(kind, x, over) for over in (False, True) for x in costs)


FIGURE_SECTIONS = (
    FigureSection(
        "variance",
        "(a) Variance",
        "How much one gradient scatters: the trace of its covariance. Switch the axis to what a gradient costs.",
        _views("variance", *COST_AXES),
        "No cell was measured.",
    ),
    FigureSection(
        "snr",
        "(b) Signal-to-noise ratio",
        "How large the exact gradient is beside the scatter of one estimate.",
        _views("snr", *COST_AXES),
        "No cell was measured.",
    ),
    FigureSection(
        "plane",
        "(c) Bias and standard deviation",
        "The two parts of the error of one gradient. Up and to the left: biased; down and to the right: noisy.",
        (FigureView("plane"),),
        "No cell was measured.",
    ),
    FigureSection(
        "frontier",
        "(d) Error against cost",
        "Mean squared error against what one gradient takes; the frontier are those that no other is better than.",
        _views("frontier", "seconds", "evaluations"),
        "No cell was measured.",
    ),
    FigureSection(
        "training",
        "(e) Variance over training",
        "The same estimators at several stages of training.",
        _views("training", None),
        "All cells were measured after as many training steps, so there is nothing to draw against them.",
        ("train_steps",),
    ),
    FigureSection(
        "tensors",
        "(f) Variance by tensor",
        "Where in the model the variance is.",
        _views("tensors", None),
        "There are no figures of single tensors.",
        ("group",),
    ),
    FigureSection(
        "size",
        "(g) Variance against size",
        "Against the number of parameters, or the one parameter that varies.",
        _views("size", None),
        "No one size or parameter varies, so there is nothing to draw against it: gradbench plot --kind size --x NAME.",
        ("problem_params", "estimator_params", "num_parameters"),
    ),
    FigureSection(
        "claims",
        "(h) Claims",
        "What the suite claims, as it was measured.",
        (FigureView("claims"),),
        "The suite makes no claim that was measured.",
    ),
)


@dataclass(frozen=True)
class Shown:
    """A run as figures are made of it."""

    name: str
    run: Run
    frame: pd.DataFrame
    """Its rows, with their block values."""
    baseline: str | None
    """What its ratios are over."""
    unmeasured: tuple[str, ...]
    """Sentences on its cells that have no figures."""
    missed: str | None = None
    """The baseline that was asked for, where the run has no such estimator."""

    @classmethod
    def of(cls, name: str, run: Run, baseline: str | None) -> Shown:
        """``run`` with the ``baseline`` that its ratios are over; the usual one where none is given, or it has none."""
        missed = baseline if baseline not in set(run.ok().estimator) else None
        baseline = None if missed else baseline
        blocks = run.block_variances()
        keys = zip(run.frame.cell_id, run.frame.group, strict=True)
        values = pd.Series([blocks.get(key) for key in keys], run.frame.index, dtype=object)
        usual = baseline if baseline or run.ok().empty else usual_baseline(run)
        return cls(name, run, run.frame.assign(block_variance=values), usual, tuple(unmeasured(run)), missed)

    def told(self, figure: Figure, view: FigureView) -> Figure:
        """``figure``, with a sentence on its baseline where that is not the one that was asked for."""
        if not (view.over and self.missed):
            return figure
        said = f"This run has no {self.missed}: its ratios are over {self.baseline}."
        return replace(figure, notes=(*figure.notes, said))


def shown_runs(runs: Sequence[tuple[str, Run]], baseline: str | None) -> list[Shown]:
    """Runs with their names, as figures are made of them. Raises UnknownNameError where none has the ``baseline``."""
    there = {name for _, run in runs for name in run.ok().estimator}
    if baseline is not None and baseline not in there:
        raise UnknownNameError("estimator", baseline, there, where="--baseline")
    return [Shown.of(name, run, baseline) for name, run in runs]


def chosen_figures(runs: Sequence[Shown]) -> list[dict[str, Any]]:
    """The sections of a page, each with its figures as plain data."""
    exact = sum(len(one.frame) for one in runs) <= EXACT
    room = MARKS_OF_PAGE // (len(runs) * len(GROUPS_DRAWN) * sum(len(section.views) for section in FIGURE_SECTIONS))
    return [_section(section, runs, room, exact) for section in FIGURE_SECTIONS]


def _section(section: FigureSection, runs: Sequence[Shown], room: int, exact: bool) -> dict[str, Any]:
    figures, left = [], 0
    for shown in runs:
        for view in section.views:
            for group in [None] if view.kind == "claims" else _groups(section, shown):
                found, more = _panels(section, view, shown, group, room)
                left = max(left, more)
                for figure in found:
                    place = {
                        "run": one_line(shown.name),
                        "against": COST_NAMES.get(view.x or "", ""),
                        "over": view.over,
                        "baseline": one_line(shown.baseline or ""),
                    }
                    title = one_line(group_title(group)) if group else ""
                    figures.append({**place, "groupTitle": title, **figure_data(figure, exact)})
    words = {"key": section.key, "title": section.title, "about": section.about, "absent": section.absent}
    return {**words, "figures": figures, "left": left}


def _groups(section: FigureSection, shown: Shown) -> Iterator[str]:
    there = set(shown.frame.group)
    yield from (name for name in GROUPS_DRAWN if name in there and not (section.key == "tensors" and name == "all"))


def _panels(
    section: FigureSection, view: FigureView, shown: Shown, group: str | None, room: int
) -> tuple[list[Figure], int]:
    """The panels that there is room for, and how many are left out."""
    if group is None:
        run, left = shown.run, 0
    else:
        rows, left = _first_panels(section, shown.frame, group, room)
        run = FrameRun(shown.run.path, rows, shown.run.manifest, unmeasured=shown.unmeasured)
    try:
        return [shown.told(figure, view) for figure in figures_of(run, view.asked(group, shown.baseline))], left
    except UsageError:
        return [], 0


def _first_panels(section: FigureSection, frame: pd.DataFrame, group: str, room: int) -> tuple[pd.DataFrame, int]:
    """The rows of the first panels, as many as there is ``room`` for, and how many panels are left out."""
    own = frame.group == group
    drawn = frame.group.str.startswith(f"{group}.") if section.key == "tensors" else own
    measured = frame.status == "ok"
    if (drawn & measured).sum() <= room:
        return frame[own | drawn | ~measured], 0
    keys = [name for name in IDENTITY if name not in (*section.taken, "estimator", "estimator_params", "group")]
    panel = frame.groupby(keys, sort=False, dropna=False).ngroup()
    marks = panel[drawn & measured].value_counts().sort_index()
    most = max(int((marks.cumsum() <= room).sum()), 1)
    kept = panel.isin(marks.index[:most])
    return frame[(own | drawn) & measured & kept], len(marks) - most
