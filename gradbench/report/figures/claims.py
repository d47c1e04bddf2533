"""Claims as a figure: each measured figure as a share of what is claimed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradbench.core.printable import how_many, one_line
from gradbench.report.figures.axes import log_axis, names_axis
from gradbench.report.figures.model import Band, Figure, Guide, Mark, Series
from gradbench.report.figures.styles import Style
from gradbench.suite.claims import CONTRADICTED, REPRODUCED, UNRESOLVED, ClaimOutcome

STATUSES = {REPRODUCED: Style(2), CONTRADICTED: Style(1), UNRESOLVED: Style(5)}


def claims_figure(outcomes: Sequence[ClaimOutcome], suite: str) -> Figure | None:
    """The measured figures of claims as shares of what is claimed, beside what that allows; None where none has one.

    What is claimed is the value, or else the bound that the figure is to be above or below. A claim about 0 has no
    shares, and is counted in the notes.
    """
    shown = [outcome for outcome in outcomes if outcome.figure is not None and claimed(outcome)]
    if not shown:
        return None
    found: dict[str, list[Mark]] = {}
    bands = []
    for place, outcome in enumerate(reversed(shown)):
        unit = claimed(outcome)
        value, *ends = (math.nan if one is None else one / unit for one in (outcome.figure, outcome.low, outcome.high))
        words = one_line(f"{outcome.claim.claim}: {outcome.figure:.4g} [{outcome.low:.4g}, {outcome.high:.4g}]")
        mark = Mark(value, float(place), min(ends), max(ends), verdict=outcome.status, words=words)
        found.setdefault(outcome.status, []).append(mark)
        low, high = sorted(one / unit for one in outcome.claim.band())
        bands.append(Band(float(place), low, high))
    series = tuple(Series(status, style, tuple(found[status])) for status, style in STATUSES.items() if status in found)
    marks = [mark for one in series for mark in one.marks]
    ends = [end for mark in marks for end in (mark.x_low, mark.x_high)]
    edges = [edge for band in bands for edge in (band.low, band.high) if 0 < edge < math.inf]
    x = log_axis("measured / claimed", [1.0, *(mark.x for mark in marks)], [*ends, *edges])
    y = names_axis("claim", [one_line(outcome.claim.claim) for outcome in reversed(shown)])
    without = len(outcomes) - len(shown)
    notes = (f"Not drawn, as they have no figure or are about 0: {without} of {how_many(len(outcomes), 'claim')}.",)
    counts = ", ".join(f"{len(found[status])} {status}" for status in STATUSES if status in found)
    return Figure(
        "claims",
        f"Claims of {one_line(suite)}: {counts}",
        "",
        {},
        x,
        y,
        series,
        ("Bars: 95 % intervals.", "Grey: what is claimed."),
        notes=notes if without else (),
        guides=(Guide(math.inf, 1.0, 0.0),),
        bands=tuple(bands),
    )


def claimed(outcome: ClaimOutcome) -> float:
    """What a figure is held against: the value that is claimed, or the bound; 0 where there is none."""
    claim = outcome.claim
    if claim.value is not None:
        return claim.value
    return next((edge for edge in claim.band() if math.isfinite(edge)), 0.0)
