"""Claims against a run: what was measured, and whether it bears them out."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from gradbench.claims import CONTRADICTED, REPRODUCED, UNRESOLVED, Claim, Outcome, judge, rows_of, worst
from gradbench.compare.match import TARGET, ratios_of
from gradbench.slopes import slopes, values
from gradbench.statistics.spread import quantile
from gradbench.store import Run


def verify(run: Run, claims: list[Claim]) -> list[Outcome]:
    """The outcome of each claim."""
    ok = run.ok()
    flat = [
        {**json.loads(row["problem_params"]), **json.loads(row["estimator_params"]), **row}
        for row in ok.astype(object).where(ok.notna(), None).to_dict("records")
    ]
    return [_outcome(run, claim, [{str(k): v for k, v in row.items()} for row in flat]) for claim in claims]


def _outcome(run: Run, claim: Claim, flat: list[dict[str, Any]]) -> Outcome:
    parts = [rows_of(flat, run.ok(), selection, claim.group) for selection in claim.selections()]
    missing = [s for s, rows in zip(claim.selections(), parts, strict=True) if rows.empty]
    if missing:
        return Outcome(claim, UNRESOLVED, note=f"no measured row with {_words({**missing[0], 'group': claim.group})}")
    match claim.kind:
        case "value":
            return worst(_value(claim, row) for row in parts[0].to_dict("records"))
        case "verdict":
            return worst(_verdict(claim, row) for row in parts[0].to_dict("records"))
        case "slope":
            return _slope(claim, parts[0])
        case "ratio":
            return _ratio(run, claim, parts[1], parts[0], set(claim.over))
        case "ordering":
            pairs = zip(parts, parts[1:], claim.order, claim.order[1:], strict=False)
            rising = claim.model_copy(update={"above": 1.0})
            named = [(_ratio(run, rising, low, high, set()), f"{b} over {a}") for low, high, a, b in pairs]
            return worst(Outcome(claim, o.status, o.figure, o.low, o.high, o.note or note) for o, note in named)
    raise AssertionError(claim.kind)


def _value(claim: Claim, row: dict) -> Outcome:
    figure, low, high = interval_of(row, claim.figure)
    return Outcome(claim, judge(low, high, claim.band()), figure, low, high, _at(row))


def interval_of(row: dict, figure: str) -> tuple[float, float, float]:
    """A figure of a row with its interval."""
    match figure:
        case "bias_norm":
            return row["bias_norm"], row["bias_low"], row["bias_high"]
        case "relative_bias":
            norm = row["gradient_norm"] or np.nan
            return row["relative_bias"], row["bias_low"] / norm, row["bias_high"] / norm
        case "gradient_norm":
            half = quantile(int(row["blocks"])) * row["reference_se"]
            return row["gradient_norm"], row["gradient_norm"] - half, row["gradient_norm"] + half
    return row[figure], row[f"{figure}_low"], row[f"{figure}_high"]


def _verdict(claim: Claim, row: dict) -> Outcome:
    same = row["verdict"] == claim.verdict
    status = REPRODUCED if same else UNRESOLVED if row["verdict"] == "unresolved" else CONTRADICTED
    figure, low, high = interval_of(row, "bias_norm")
    return Outcome(claim, status, figure, low, high, f"{row['verdict']}, {_at(row)}")


def _slope(claim: Claim, rows: pd.DataFrame) -> Outcome:
    found = slopes(rows)
    found = found[(found.against == claim.against) & (found.figure == claim.figure)]
    if found.empty:
        usable = int(np.isfinite(values(rows, claim.figure)[1]).sum())
        return Outcome(claim, UNRESOLVED, note=f"{usable} of {len(rows)} rows can take part; a slope needs two")
    return worst(
        Outcome(
            claim,
            judge(row["slope_low"], row["slope_high"], claim.band()),
            row["slope"],
            row["slope_low"],
            row["slope_high"],
            f"{row['points']} points",
        )
        for row in found.to_dict("records")
    )


def _ratio(run: Run, claim: Claim, below: pd.DataFrame, above: pd.DataFrame, changed: set[str]) -> Outcome:
    """The ratio of ``above`` over ``below`` on rows that agree on the target, but for the keys ``changed``."""
    keys = [name for name in TARGET if name not in changed and not (changed and name == "problem_params")]
    table = ratios_of(run, below, above, keys)
    if table.empty:
        return Outcome(claim, UNRESOLVED, note="the two sides share no target")
    name = f"{claim.figure}_ratio"
    return worst(
        Outcome(claim, _judged(row, name, claim.band()), row[name], row[f"{name}_low"], row[f"{name}_high"], _at(row))
        for row in table.to_dict("records")
    )


def _judged(row: dict, name: str, band: tuple[float, float]) -> str:
    return UNRESOLVED if pd.isna(row[name]) else judge(row[f"{name}_low"], row[f"{name}_high"], band)


def _at(row: dict) -> str:
    return f"L = {row['samples']}" if row.get("samples") is not None else ""


def _words(selection: dict[str, Any]) -> str:
    return ", ".join(f"{key} = {value}" for key, value in selection.items())
