"""Claims against a run: what was measured, and whether it bears them out."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from gradbench.core.canonical import canonical
from gradbench.core.errors import RunError
from gradbench.results.at_budget import at_budget, with_cost
from gradbench.results.cell_counts import NOT_MEASURED
from gradbench.results.columns import BY_NAME, IDENTITY, PARAMETERS, TARGET, identity_of
from gradbench.results.compare.match import ratios_of
from gradbench.results.parameters import parameters
from gradbench.results.slopes import figure_values, slopes
from gradbench.results.store import Run
from gradbench.statistics.spread import quantile
from gradbench.suite.claims import (
    CONTRADICTED,
    REPRODUCED,
    UNRESOLVED,
    Claim,
    ClaimOutcome,
    judge,
    matches,
    rows_of,
    worst,
)


def claims_of(run: Run) -> list[Claim]:
    """The claims of the suite that was run, from its manifest. Raises RunError where they cannot be read."""
    try:
        return [Claim.model_validate(table) for table in run.manifest["suite_resolved"].get("expect", [])]
    except (ValidationError, TypeError) as error:
        raise RunError(f"{run.path / 'manifest.json'}: its claims cannot be read; run the suite again") from error


def verify(run: Run, claims: Sequence[Claim]) -> list[ClaimOutcome]:
    """The outcome of each claim."""
    if not claims:
        return []
    ok = run.ok()
    flat = [{**parameters(row), **row} for row in ok.astype(object).where(ok.notna(), None).to_dict("records")]
    rows = [{str(k): v for k, v in row.items()} for row in flat]
    cells = _cells(run)
    return [_with_losses(_outcome(run, claim, rows), cells) for claim in claims]


def _outcome(run: Run, claim: Claim, flat: list[dict[str, Any]]) -> ClaimOutcome:
    parts = [rows_of(flat, run.ok(), selection, claim.group) for selection in claim.selections()]
    missing = [s for s, rows in zip(claim.selections(), parts, strict=True) if rows.empty]
    if missing:
        return ClaimOutcome(
            claim, UNRESOLVED, note=f"no measured row with {_words({**missing[0], 'group': claim.group})}"
        )
    match claim.kind:
        case "value":
            rows = parts[0] if claim.cost is None else at_budget(parts[0], claim.cost)
            return worst((_value(claim, row, at) for row, at in _placed(rows)), claim.band())
        case "verdict":
            return worst(_verdict(claim, row, at) for row, at in _placed(parts[0]))
        case "slope":
            return _slope(claim, parts[0])
        case "ratio":
            return _ratio(run, claim, parts[1], parts[0])
        case "ordering":
            pairs = zip(parts, parts[1:], claim.order, claim.order[1:], strict=False)
            named = [(_ordered(run, claim, low, high), f"{b} over {a}") for low, high, a, b in pairs]
            return worst((replace(o, note=f"{note}, {o.note}") for o, note in named), (1.0, math.inf))
    raise AssertionError(claim.kind)


@dataclass(frozen=True)
class _Cell:
    """A cell of the suite that was run, and what became of it."""

    flat: dict[str, Any]
    status: str
    message: str


def _cells(run: Run) -> list[_Cell]:
    first = run.frame.drop_duplicates("cell_id").set_index("cell_id")
    ends = {str(key): (row["status"], row["message"]) for key, row in first.iterrows()}
    found = []
    for cell in run.manifest["suite_resolved"].get("cells", []):
        status, message = ends.get(cell["cell_id"], (NOT_MEASURED, None))
        found.append(_Cell({**parameters(cell), **identity_of(cell)}, status, str(message or "")))
    return found


def _with_losses(outcome: ClaimOutcome, cells: list[_Cell]) -> ClaimOutcome:
    """``outcome`` with the cells that the claim is about and that have no figures; it is then not reproduced.

    Of a claim about cells that are partly skipped, those that can be measured decide.
    """
    selections = outcome.claim.selections()
    named = [cell for cell in cells if any(matches(cell.flat, selection) for selection in selections)]
    lost = [cell for cell in named if cell.status in ("failed", NOT_MEASURED)]
    if not lost and any(cell.status == "ok" for cell in named):
        return outcome
    lost = lost or [cell for cell in named if cell.status == "skipped"]
    if not lost:
        return outcome
    status = UNRESOLVED if outcome.status == REPRODUCED else outcome.status
    few = "the cell" if len(named) == 1 else f"all {len(named)} cells" if len(lost) == len(named) else ""
    note = f"{few or f'{len(lost)} of {len(named)} cells'} {lost[0].status}"
    note += f": {lost[0].message}" if lost[0].message else ""
    measured = outcome.note if outcome.figure is not None else ""
    return replace(outcome, status=status, note="; ".join(word for word in (measured, note) if word))


def _value(claim: Claim, row: dict, at: str) -> ClaimOutcome:
    if claim.cost is None:
        figure, low, high = interval_of(row, claim.figure)
    else:
        column = claim.cost.column(claim.figure)
        figure, low, high = (row[f"{column}{end}"] for end in ("", "_low", "_high"))
        if pd.isna(figure):
            needed = f"one gradient takes {row[claim.cost.unit]:g} {claim.cost.unit}, more than the budget"
            return ClaimOutcome(claim, UNRESOLVED, note=f"{needed}, {at}")
    return ClaimOutcome(claim, judge(low, high, claim.band()), figure, low, high, at)


def interval_of(row: dict, figure: str) -> tuple[float, float, float]:
    """A figure of a row with its interval."""
    column, value = BY_NAME[figure], row[figure]
    if column.interval is None:
        assert column.error is not None, f"{figure} has no interval"
        half = quantile(int(row["blocks"])) * row[column.error]
        return value, value - half, value + half
    scale = (row[column.over] or np.nan) if column.over else 1.0
    low, high = column.interval
    return value, row[low] / scale, row[high] / scale


def _verdict(claim: Claim, row: dict, at: str) -> ClaimOutcome:
    same = row["verdict"] == claim.verdict
    status = REPRODUCED if same else UNRESOLVED if row["verdict"] == "unresolved" else CONTRADICTED
    figure, low, high = interval_of(row, "bias_norm")
    norm = None if pd.isna(row["relative_bias"]) else row["gradient_norm"]
    return ClaimOutcome(claim, status, figure, low, high, f"{row['verdict']}, {at}", norm)


def _slope(claim: Claim, rows: pd.DataFrame) -> ClaimOutcome:
    found = slopes(rows if claim.cost is None else with_cost(rows, claim.cost), [claim.against])
    found = found[found.figure == claim.figure]
    if found.empty:
        usable = int(np.isfinite(figure_values(rows, claim.figure)[1]).sum())
        return ClaimOutcome(claim, UNRESOLVED, note=f"{usable} of {len(rows)} rows can take part; a slope needs two")
    outcomes = (
        ClaimOutcome(
            claim,
            judge(row["slope_low"], row["slope_high"], claim.band()),
            row["slope"],
            row["slope_low"],
            row["slope_high"],
            f"{row['points']} points",
        )
        for row in found.to_dict("records")
    )
    return worst(outcomes, claim.band())


def _ratio(run: Run, claim: Claim, below: pd.DataFrame, above: pd.DataFrame) -> ClaimOutcome:
    """The ratio of ``above`` over ``below`` on rows that agree in everything but the keys of ``over``."""
    changed = set(claim.over)
    # another estimator or objective has parameters of its own
    own = {f"{name}_params" for name in ("estimator", "objective") if name in changed}
    keys = [name for name in IDENTITY if name not in changed | own]
    below, above = (_without(rows, changed) for rows in (below, above))
    return _of_pairs(claim, ratios_of(run, below, above, keys, claim.cost), claim.band())


def _ordered(run: Run, claim: Claim, below: pd.DataFrame, above: pd.DataFrame) -> ClaimOutcome:
    """The ratio of ``above`` over ``below`` on rows of the same target, which is to be larger than 1."""
    return _of_pairs(claim, ratios_of(run, below, above, list(TARGET), claim.cost), (1.0, math.inf))


def _of_pairs(claim: Claim, table: pd.DataFrame, band: tuple[float, float]) -> ClaimOutcome:
    if table.empty:
        return ClaimOutcome(claim, UNRESOLVED, note="the two sides share no target")
    name = f"{claim.figure if claim.cost is None else claim.cost.column(claim.figure)}_ratio"
    found = (
        ClaimOutcome(claim, UNRESOLVED, note=f"{row['why']}, {at}")
        if row["why"]
        else ClaimOutcome(claim, _judged(row, name, band), row[name], row[f"{name}_low"], row[f"{name}_high"], at)
        for row, at in _placed(table)
    )
    return worst(found, band)


def _without(rows: pd.DataFrame, keys: set[str]) -> pd.DataFrame:
    """``rows`` without ``keys`` among their parameters."""

    def left(text: str) -> str:
        return canonical({key: value for key, value in json.loads(text).items() if key not in keys})

    return rows.assign(**{name: rows[name].map(left) for name in PARAMETERS})


def _judged(row: dict, name: str, band: tuple[float, float]) -> str:
    return UNRESOLVED if pd.isna(row[name]) else judge(row[f"{name}_low"], row[f"{name}_high"], band)


def _placed(rows: pd.DataFrame) -> Iterator[tuple[dict[str, Any], str]]:
    """Each row, and where it is: L, and whatever else tells it from the others."""
    records = [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]
    own = ("problem", "problem_params", "objective", "objective_params")
    held = [{name: row[name] for name in own if name in row} for row in records]
    places = [{name: row[name] for name in row if name not in PARAMETERS} | parameters(row) for row in held]
    keys = {key for place in places for key in place}
    varying = sorted(key for key in keys if len({json.dumps(place.get(key)) for place in places}) > 1)
    for row, place in zip(records, places, strict=True):
        words = [
            f"{key} = {place[key]:g}" if isinstance(place[key], float) else f"{key} = {place[key]}"
            for key in varying
            if key in place
        ]
        yield row, ", ".join([*words, *_samples(row)])


def _samples(row: dict[str, Any]) -> Iterator[str]:
    """L of a row; of a ratio, that of both sides where they differ."""
    if row.get("samples") is not None:
        yield f"L = {row['samples']}"
    elif row.get("samples_a") is not None:
        yield f"L = {row['samples_b']} over L = {row['samples_a']}"


def _words(selection: dict[str, Any]) -> str:
    return ", ".join(f"{key} = {value}" for key, value in selection.items())
