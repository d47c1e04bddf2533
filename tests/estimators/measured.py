"""Figures of whole runs (suite, runner, statistics, store) against exact ones computed here, apart from gradbench.

A measured variance must be within CLEAR of its standard errors: with 31 degrees of freedom that is an error rate of
4e-4 each.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from tests.helpers import log_error, ok_rows, row_of

CLEAR = 4.0
COSTS = {
    "quadratic": (lambda x, k: (x - k) ** 2, lambda x, k: 2 * (x - k)),
    "exp": (lambda x, k: math.exp(-k * x * x), lambda x, k: -2 * k * x * math.exp(-k * x * x)),
    "cos": (lambda x, k: math.cos(k * x), lambda x, k: -k * math.sin(k * x)),
}
"""Cost and slope."""

Integrand = Callable[[float, float, float, float, float], float]
"""(f, slope, noise, how z moves with the parameter, score) -> one sample's gradient."""

GAUSSIANS = [
    ("quadratic", -3.0, 1.0, 1.0),
    ("quadratic", 0.0, 1.0, 1.0),
    ("quadratic", 3.0, 1.0, 1.0),
    ("exp", 0.1, 1.0, 1.0),
    ("cos", 1.0, 1.0, 1.0),
    ("quadratic", 2.5, -0.7, 0.4),
    ("quadratic", 0.3, 2.0, 1.7),
    ("exp", 0.5, 0.2, 1.5),
    ("exp", -0.05, 0.8, 1.2),
    ("cos", 2.3, 0.3, 0.6),
]
"""Cost, k, mean and scale: those of the published table, and others."""
BITS = [(0.45, 0.5), (0.45, 0.1), (0.499, 0.5), (0.2, 0.83)]
"""Target and probability of one bit, f = (b − target)²."""


def agrees(row: Any, exact: float) -> None:
    """The measured variance is within CLEAR standard errors of the exact one, on the log scale of its interval."""
    error = log_error(row)
    assert error < 0.5, "the interval says nothing"
    assert abs(math.log(row.variance / exact)) < CLEAR * error, f"{row.variance} against {exact}, log se {error}"


def by_quadrature(
    cost: str, k: float, mean: float, scale: float, parameter: str, gradient: Callable[..., float]
) -> tuple[float, float]:
    """Mean and variance of one-sample gradients in ``mean`` or ``log_scale``, by scipy's quadrature.

    ``gradient`` (f, slope along the path, score) makes one sample's gradient.
    """
    value, slope = COSTS[cost]

    def at(e: float) -> float:
        x = mean + scale * e
        path, score = (1.0, e / scale) if parameter == "mean" else (scale * e, e * e - 1)
        return gradient(value(x, k), slope(x, k) * path, score)

    def expect(f: Callable[[float], float]) -> float:
        return quad(lambda e: f(e) * norm.pdf(e), -12, 12, epsabs=1e-11, epsrel=1e-11, limit=400)[0]

    first = expect(at)
    return first, expect(lambda e: (at(e) - first) ** 2)


def gaussian_costs(out: Path, name: str, gradient: Callable[..., float]) -> None:
    """One sample of an estimator on every Gaussian cost: norm and variance are those by quadrature; it has no bias."""
    keys = ("cost", "k", "mean", "scale")
    grids = [{"problem": "gaussian-cost", **dict(zip(keys, at, strict=True)), "estimators": [name]} for at in GAUSSIANS]
    rows = ok_rows(out, *grids, replicates=16384, seed=3)
    assert set(rows.verdict) <= {"unbiased", "unresolved"}
    for cost, k, mean, scale in GAUSSIANS:
        text = f'"cost":"{cost}"', f'"k":{k},', f'"mean":{mean},', f'"scale":{scale}'
        these = rows[[all(part in params for part in text) for params in rows.problem_params]]
        for parameter in ("mean", "log_scale"):
            first, variance = by_quadrature(cost, k, mean, scale, parameter, gradient)
            row = row_of(these, group=f"phi.{parameter}")
            assert row.gradient_norm == pytest.approx(abs(first), rel=1e-6)
            agrees(row, variance)


def one_bit(out: Path, name: str, samples: int, table: Callable[[float, float], list[tuple[float, float]]]) -> None:
    """An estimator on one bit: norm and variance are those of ``table`` (target, p) -> [(mass, gradient)], no bias."""
    grids = [
        {"problem": "bernoulli-cost", "target": t, "prob": p, "samples": samples, "estimators": [name]} for t, p in BITS
    ]
    rows = ok_rows(out, *grids, replicates=16384)
    for target, prob in BITS:
        text = f'"target":{target}', f'"prob":{prob},'
        row = row_of(rows[[all(part in params for part in text) for params in rows.problem_params]], group="phi.logits")
        mean, variance = of_table(table(target, prob))
        assert mean == pytest.approx(prob * (1 - prob) * (1 - 2 * target), rel=1e-12), "the table is biased itself"
        assert row.gradient_norm == pytest.approx(abs(mean), rel=1e-9)
        assert row.verdict in ("unbiased", "unresolved")
        if variance < 1e-30:
            assert row.variance == row.variance_low == row.variance_high == 0
        else:
            agrees(row, variance)


def of_table(table: list[tuple[float, float]]) -> tuple[float, float]:
    """Mean and variance of a table of (mass, value)."""
    mean = sum(mass * value for mass, value in table)
    return mean, sum(mass * (value - mean) ** 2 for mass, value in table)


def slope(rows: pd.DataFrame) -> tuple[float, float]:
    """Least-squares slope of log variance against log L, weighted by the intervals, with its standard error."""
    x = np.log(rows.samples.to_numpy(dtype=float))
    y = np.log(rows.variance.to_numpy())
    weight = np.array([1 / log_error(row) ** 2 for row in rows.itertuples()])
    centred = x - (weight * x).sum() / weight.sum()
    precision = (weight * centred**2).sum()
    return float((weight * centred * y).sum() / precision), float(precision**-0.5)


def averages(out: Path, name: str, grid: dict[str, Any]) -> None:
    """The variance falls as 1 / L, as that of an average of L independent terms: 4 standard errors, 6e-5."""
    rows = ok_rows(out, grid | {"samples": [2, 4, 8, 16], "estimators": [name]}, replicates=2048)
    found, error = slope(rows[rows.group == "phi"])
    assert error < 0.1
    assert abs(found + 1) < CLEAR * error, f"{name}: {found} ± {error}"
