"""The formulas of docs/explanation/intervals.md, in numpy as they stand there, give the intervals of kept runs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t as student

import gradbench as gb
from gradbench.results.columns import BY_NAME, REGISTRY

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "explanation" / "intervals.md").read_text(encoding="utf-8")
RUN = ROOT / "results" / "reference" / "quick"
COLUMNS = ["estimator", "samples", "group", "problem", "kl", "blocks", "replicates", "block_variance"]
COLUMNS += [
    "variance",
    "variance_low",
    "variance_high",
    "mse",
    "mse_low",
    "mse_high",
    "bias_sq",
    "bias_low",
    "bias_high",
]


@pytest.fixture(scope="module")
def rows():
    frame = gb.load(RUN, COLUMNS, {"group": ["phi", "theta"]})
    return frame[frame.variance > 0]


def skewness(x: np.ndarray) -> float:
    away = x - x.mean()
    blocks = len(x)
    return math.sqrt(blocks - 1) / (blocks - 2) * float((away**3).mean() / (away**2).mean() ** 1.5)


def hall(u: float, a: float) -> float:
    return 3 / a * (float(np.cbrt(1 + a * (u - a / 6))) - 1)


def test_every_column_with_an_interval_is_on_the_page() -> None:
    with_interval = [column.name for column in REGISTRY if column.interval or column.error]
    assert len(with_interval) > 5
    for name in with_interval:
        assert f"`{name}`" in PAGE, name
        assert name in BY_NAME


def test_variance(rows) -> None:
    for row in rows.itertuples():
        x = np.array(row.block_variance)
        t, a = student.ppf(0.975, len(x) - 1), skewness(x)
        error = x.std(ddof=1) / (math.sqrt(len(x)) * x.mean()) * math.sqrt(1 + 2 * a**2)
        below = error * hall(t, a)
        assert row.variance == pytest.approx(x.mean(), rel=1e-9)
        assert row.variance_high == pytest.approx(x.mean() * (1 - error * hall(-t, a)), rel=1e-6)
        assert row.variance_low == pytest.approx(x.mean() * math.exp(-(below + below**2 / 2)), rel=1e-6)


def test_mse_of_two_parts(rows) -> None:
    """Where bias is measured with a control variate, or variance by datapoints: in these runs everywhere."""
    for row in rows.itertuples():
        bias_low, bias_high = min(row.bias_low**2, row.bias_sq), row.bias_high**2
        low = row.mse - math.hypot(row.variance - row.variance_low, row.bias_sq - bias_low)
        high = row.mse + math.hypot(row.variance_high - row.variance, bias_high - row.bias_sq)
        assert row.mse_low == pytest.approx(min(max(low, row.variance_low), row.mse), rel=1e-6)
        assert row.mse_high == pytest.approx(high, rel=1e-6)


def test_ratio_of_paired_blocks(rows) -> None:
    over = gb.rank(gb.load_run(RUN), "score-function-loo")[1]
    bits = rows[(rows.problem == "sigmoid-belief") & (rows.group == "phi") & (rows.samples == 2)]
    x, y = (np.array(bits[bits.estimator == name].block_variance.iloc[0]) for name in ("score-function-loo", "disarm"))
    z = y / y.mean() - x / x.mean()
    error = z.std(ddof=1) / math.sqrt(len(z)) * math.sqrt(1 + 2 * skewness(z) ** 2)
    t = student.ppf(0.975, len(z) - 1)
    found = over[(over.estimator_b == "disarm") & (over.samples == 2) & (over.group == "phi")].iloc[0]
    assert found.variance_ratio == pytest.approx(y.mean() / x.mean(), rel=1e-9)
    assert found.variance_ratio_low == pytest.approx(y.mean() / x.mean() * math.exp(-t * error), rel=1e-6)
    assert found.variance_ratio_high == pytest.approx(y.mean() / x.mean() * math.exp(t * error), rel=1e-6)
