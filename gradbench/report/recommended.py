"""What `recommend` says: for each target and L, or at a budget, sentences with their evidence; and the same as data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Group, RenderableType
from rich.padding import Padding

from gradbench.report.equal_cost_tables import amount, spending
from gradbench.report.figures.cells import differing, telling
from gradbench.report.format import interval, number, percent
from gradbench.report.labels import Varying, estimator_label, varying_parameters
from gradbench.report.plain import Text
from gradbench.report.words import group_title, without_gradient
from gradbench.results.columns import IDENTITY, PARAMETERS, POINT, listed
from gradbench.results.export import records
from gradbench.results.recommending import RATIO, Advice
from gradbench.suite.equal_cost import EqualCost

FIGURES_OF_ADVICE = (
    "estimator", "estimator_params", "samples", "verdict", "mse", "mse_low", "mse_high", "variance", "variance_low",
    "variance_high", "relative_bias", "bias_norm", "bias_low", "bias_high", "evaluations", "seconds", "seconds_low",
    "seconds_high",
)  # fmt: skip
"""Columns of every row of `--json`; at a budget those at it, beside the best the ratio, come with them."""
MOST_NAMED = 6
"""Estimators that one sentence names; --json has all."""


def advice_text(advice: Sequence[Advice], run: pd.DataFrame, group: str, cost: EqualCost | None) -> RenderableType:
    """A heading for each target, and its sentences. ``run``: all measured rows, which tell what varies."""
    varying = varying_parameters(run)
    some = pd.concat([one.target for one in advice])
    told = [name for name in (*POINT, "hardware") if some[name].nunique(dropna=False) > 1 or name == "problem"]
    keys = {column: differing(some, column) for column in PARAMETERS}
    parts: list[RenderableType] = []
    previous = None
    for one in advice:
        heading = telling(one.target.iloc[0].to_dict(), told, keys)
        if heading != previous:
            parts += [*([""] if previous is not None else []), Text(heading, style="bold")]
        previous = heading
        for index, sentence in enumerate(sentences(one, varying, cost)):
            parts.append(Padding(Text(sentence), (0, 0, 0, 2 if index == 0 else 4)))
    error = "mean squared error"
    measure = f"{error} × time" if cost is None else f"{error} at {spending(cost.budget or 0, cost.unit)}"
    footer = f"{group_title(group)}-gradient; best: least {measure}; intervals: 95 %; told apart at 5 % (Holm)"
    return Group(*parts, "", Text(footer, style="dim"))


def sentences(advice: Advice, varying: Varying, cost: EqualCost | None) -> Iterator[str]:
    """What is said of one target, the advice first."""
    at = f"L = {advice.target.samples.iloc[0]}: " if cost is None else ""

    def name(row: Any) -> str:
        label = estimator_label(row.estimator, row.estimator_params, varying)
        return label if cost is None else f"{label} with L = {row.samples}"

    if advice.best.empty:
        yield f"{at}{_none_advised(advice)}."
    for row in advice.best.itertuples():
        yield f"{at}take {name(row)}: {_evidence(row, cost)}."
    if len(advice.alike):
        yield f"Cannot be told from it: {_named(advice.alike, name, _ratio_words)}."
    elif len(advice.best) and len(advice.worse):
        whose = "neither found nor declared" if len(advice.declared_biased) else "not"
        yield f"Every other that is {whose} biased is certainly worse."
    if len(advice.worse):
        what = "error × time" if cost is None else "error"
        yield f"Worse, by {what} over its: {_named(advice.worse, name, _ratio_words)}."
    if len(advice.frontier) > 1:
        against = "time" if cost is None or cost.unit == "seconds" else cost.unit
        yield f"Frontier of error against {against} of one gradient, cheapest first: {_named(advice.frontier, name)}."
    if len(advice.errorless):
        yield f"No error at all: {_named(advice.errorless, name, lambda row: _price(row, cost))}."
    if len(advice.biased):
        yield f"Biased, so not advised: {_named(advice.biased, name, _bias_words)}."
    if len(advice.declared_biased):
        yield f"Declared biased, not yet shown here: {_named(advice.declared_biased, name, _limit_words)}."
    if len(advice.unknown):
        yield f"Not told of: {_named(advice.unknown, name, _why_unknown)}."
    if len(advice.dear) and cost is not None:
        yield f"Over the budget: {_named(advice.dear, name, lambda row: _price(row, cost))}."


def _none_advised(advice: Advice) -> str:
    """Why there is no best."""
    found = (
        (advice.biased, "is found biased"),
        (advice.declared_biased, "is declared biased"),
        (advice.unknown, "has no error or no cost that is known"),
        (advice.dear, "costs more than the budget, which buys no gradient of it"),
    )
    why = tuple(words for rows, words in found if len(rows))
    if not why:
        return "no estimator has an error"
    return f"none to advise: every estimator {'that has an error ' if len(advice.errorless) else ''}{listed(why)}"


def _evidence(row: Any, cost: EqualCost | None) -> str:
    """Error with its interval, cost, and what is known of the bias."""
    if cost is None:
        error = f"MSE {number(row.mse)} {interval(row.mse_low, row.mse_high)}"
        spent = f"{amount(row.seconds, 'seconds')} a gradient"
    else:
        error = f"MSE {number(row.mse_at)} {interval(row.mse_at_low, row.mse_at_high)}"
        spent = f"{number(row.gradients)} gradients of {_price(row, cost)}"
    limit = _share(row, row.bias_high)
    bias = f"bias at most {limit}" if row.verdict == "unbiased" else f"bias unresolved, at most {limit}"
    return f"{error}, {spent}, {bias}"


def _price(row: Any, cost: EqualCost | None) -> str:
    unit = "seconds" if cost is None else cost.unit
    said = amount(getattr(row, unit), unit)
    return said if unit == "seconds" else f"{said} {unit}"


def _ratio_words(row: Any) -> str:
    if pd.isna(row.ratio):
        return "ratio not known"
    return f"{number(row.ratio)} {interval(row.ratio_low, row.ratio_high)} ×"


def _bias_words(row: Any) -> str:
    return f"{_share(row, row.bias_norm)}"


def _limit_words(row: Any) -> str:
    return f"at most {_share(row, row.bias_high)}"


def _share(row: Any, bias: float) -> str:
    """A bias as a share of ‖g‖; of √variance where that is 0."""
    if without_gradient(row.gradient_norm, row.variance):
        return f"{percent(bias / row.variance**0.5)} of √variance"
    return f"{percent(bias / row.gradient_norm)} of ‖g‖" if row.gradient_norm > 0 else number(bias)


def _why_unknown(row: Any) -> str:
    if pd.isna(row.mse):
        return "no reference"
    if np.isinf(row.variance_high):
        return "rare values of f may be missing" if row.variance > 0 else "every draw gave one gradient"
    return "not timed"


def _named(rows: pd.DataFrame, name: Any, said: Any = None) -> str:
    """Names with what is said of each in brackets, the first few."""
    words = [name(row) + (f" ({said(row)})" if said else "") for row in rows.head(MOST_NAMED).itertuples()]
    more = len(rows) - MOST_NAMED
    return ", ".join(words) + (f" and {more} more" if more > 0 else "")


def advice_records(advice: Sequence[Advice], cost: EqualCost | None) -> list[dict[str, Any]]:
    """The same as plain data: the target's identity, then rows by what is said of them."""
    found = []
    for one in advice:
        first = one.target.iloc[:1]
        shared = [name for name in IDENTITY if not name.startswith("estimator")]
        if cost is not None and one.target.samples.nunique() > 1:
            shared.remove("samples")
        names = list(FIGURES_OF_ADVICE)
        names += [] if cost is None else ["gradients", "mse_at", "mse_at_low", "mse_at_high"]
        compared = [*names, *RATIO, "p_adjusted"]
        kinds = dict.fromkeys(("frontier", "errorless", "biased", "declared_biased", "unknown", "dear"), names)
        best = records(one.best[names])
        found.append(
            {
                **records(first[shared])[0],
                **({"at": cost.unit, "budget": cost.budget} if cost is not None else {}),
                "best": best[0] if best else None,
                "alike": records(one.alike[compared]),
                "worse": records(one.worse[compared]),
                **{kind: records(getattr(one, kind)[columns]) for kind, columns in kinds.items()},
            }
        )
    return found
