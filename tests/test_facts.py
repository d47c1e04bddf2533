"""Published and derivable facts, measured through the whole pipeline: suite, runner, statistics, store.

Exact figures are computed here by scipy quadrature or by enumeration, independently of gradbench. A measured
variance must be within 4 of its standard errors: with 31 degrees of freedom that is an error rate of 4e-4 each.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.special import expit, logit
from scipy.stats import norm

from tests.helpers import log_error, ok_rows, row_of

pytestmark = pytest.mark.slow

CLEAR = 4.0
COSTS = {
    "quadratic": (lambda x, k: (x - k) ** 2, lambda x, k: 2 * (x - k)),
    "exp": (lambda x, k: math.exp(-k * x * x), lambda x, k: -2 * k * x * math.exp(-k * x * x)),
    "cos": (lambda x, k: math.cos(k * x), lambda x, k: -k * math.sin(k * x)),
}


def agrees(row, exact: float) -> None:
    """The measured variance is within CLEAR standard errors of the exact one, on the log scale of its interval."""
    error = log_error(row)
    assert error < 0.5, "the interval says nothing"
    assert abs(math.log(row.variance / exact)) < CLEAR * error, f"{row.variance} against {exact}, log se {error}"


def gaussian_exact(cost: str, k: float, mean: float, scale: float, estimator: str, parameter: str = "mean"):
    """Mean and variance of one-sample gradients, by quadrature."""
    value, slope = COSTS[cost]
    # the direction in which the sample, or the log-density, moves with the parameter
    path = (lambda e: 1.0) if parameter == "mean" else (lambda e: scale * e)
    score = (lambda e: e / scale) if parameter == "mean" else (lambda e: e * e - 1)

    def gradient(e: float) -> float:
        x = mean + scale * e
        if estimator == "pathwise":
            return slope(x, k) * path(e)
        return value(x, k) * score(e)

    def expect(f) -> float:
        return quad(lambda e: f(e) * norm.pdf(e), -12, 12, epsabs=1e-11, epsrel=1e-11, limit=400)[0]

    first = expect(gradient)
    return first, expect(lambda e: (gradient(e) - first) ** 2)


def bernoulli_exact(target: float, prob: float, estimator: str):
    """Mean and variance for the gradient in the logit, by enumeration of what the estimator sees."""
    f = [target**2, (1 - target) ** 2]
    true = prob * (1 - prob) * (f[1] - f[0])
    mass = [1 - prob, prob]
    match estimator:
        case "score-function":
            table = [(mass[b], f[b] * (b - prob)) for b in (0, 1)]
        case "score-function-loo":
            table = [
                (mass[a] * mass[b], 0.5 * ((f[a] - f[b]) * (a - prob) + (f[b] - f[a]) * (b - prob)))
                for a in (0, 1)
                for b in (0, 1)
            ]
        case "disarm":
            apart = 2 * min(prob, 1 - prob)
            weight = expit(abs(logit(prob))) * 0.5 * (f[1] - f[0])
            table = [(apart, weight), (1 - apart, 0.0)]
        case _:
            raise AssertionError(estimator)
    mean = sum(m * g for m, g in table)
    assert abs(mean - true) < 1e-15
    return true, sum(m * (g - mean) ** 2 for m, g in table)


@pytest.fixture(scope="module")
def gaussian(tmp_path_factory) -> pd.DataFrame:
    estimators = ["score-function", "pathwise", "fixed-sample", "double-counted"]
    return ok_rows(
        tmp_path_factory.mktemp("gaussian") / "run",
        {"problem": "gaussian-cost", "cost": "quadratic", "k": [-3, 0, 3], "estimators": estimators},
        {"problem": "gaussian-cost", "cost": "exp", "k": 0.1, "estimators": estimators},
        {"problem": "gaussian-cost", "cost": "cos", "k": 1, "estimators": estimators},
        {"problem": "gaussian-cost", "cost": "quadratic", "k": -3, "samples": 2, "estimators": ["pathwise-antithetic"]},
        replicates=16384,
    )


TABLE = [
    ("quadratic", -3, 8, 495, 4),
    ("quadratic", 0, 2, 30, 4),
    ("quadratic", 3, -4, 87, 4),
    ("exp", 0.1, -0.139980, 0.563532, 0.0162902),
    ("cos", 1, -0.510378, 0.323993, 0.267674),
]


@pytest.mark.parametrize(("cost", "k", "gradient", "score", "pathwise"), TABLE)
def test_gaussian_table(gaussian, cost, k, gradient, score, pathwise):
    rows = gaussian[(gaussian.group == "phi.mean") & gaussian.problem_params.str.contains(f'"cost":"{cost}"')]
    rows = rows[rows.problem_params.str.contains(f'"k":{float(k)},', regex=False)]
    for name, printed in (("score-function", score), ("pathwise", pathwise)):
        mean, exact = gaussian_exact(cost, k, 1, 1, name)
        # the table itself has six digits
        assert exact == pytest.approx(printed, rel=1e-5)
        assert mean == pytest.approx(gradient, rel=1e-5)
        row = row_of(rows, estimator=name, samples=1)
        assert row.gradient_norm == pytest.approx(abs(mean), rel=1e-9)
        agrees(row, exact)


def test_the_quadratic_formula_for_any_mean_and_scale():
    for mean, scale, k in [(1, 1, -3), (-2, 0.3, 1), (0.5, 2.5, 0)]:
        a = mean - k
        assert gaussian_exact("quadratic", k, mean, scale, "score-function")[1] == pytest.approx(
            a**4 / scale**2 + 14 * a**2 + 15 * scale**2, rel=1e-8
        )
        assert gaussian_exact("quadratic", k, mean, scale, "pathwise")[1] == pytest.approx(4 * scale**2, rel=1e-9)


def test_controls_on_gaussian_costs(gaussian):
    lost = gaussian[(gaussian.estimator == "fixed-sample") & (gaussian.group == "phi.mean")]
    assert len(lost) == 5
    assert ((lost.relative_bias - 1).abs() < 1e-14).all()
    assert (lost.variance == 0).all()
    assert (lost.variance_low == 0).all()
    assert (lost.variance_high == 0).all()
    assert (lost.verdict == "biased").all()
    twice = gaussian[(gaussian.estimator == "double-counted") & (gaussian.group == "phi.mean")]
    assert ((twice.bias_low <= twice.gradient_norm) & (twice.gradient_norm <= twice.bias_high)).sum() >= 4
    error = (twice.bias_sq - twice.gradient_norm**2).abs() / twice.bias_sq_se
    assert (error < CLEAR).all()


def test_unbiased_estimators_on_gaussian_costs_are_not_biased(gaussian):
    rows = gaussian[gaussian.estimator.isin(["score-function", "pathwise", "pathwise-antithetic"])]
    assert set(rows.verdict) <= {"unbiased", "unresolved"}


def test_antithetic_pairs_are_exact_for_the_mean_of_a_quadratic(gaussian):
    row = row_of(gaussian, estimator="pathwise-antithetic", group="phi.mean")
    assert row.variance == row.variance_low == row.variance_high == 0
    assert row.relative_bias < 1e-12
    assert row.snr == math.inf
    assert row.verdict == "unbiased"
    assert row_of(gaussian, estimator="pathwise-antithetic", group="phi.log_scale").variance > 0


OTHERS = [
    ("quadratic", 2.5, -0.7, 0.4),
    ("quadratic", 0.3, 2.0, 1.7),
    ("exp", 0.5, 0.2, 1.5),
    ("exp", -0.05, 0.8, 1.2),
    ("cos", 2.3, 0.3, 0.6),
]


def test_any_other_mean_scale_and_k(tmp_path):
    grids = [
        {
            "problem": "gaussian-cost",
            "cost": c,
            "k": k,
            "mean": m,
            "scale": s,
            "estimators": ["score-function", "pathwise"],
        }
        for c, k, m, s in OTHERS
    ]
    rows = ok_rows(tmp_path / "run", *grids, replicates=16384, seed=3)
    for cost, k, mean, scale in OTHERS:
        these = rows[
            rows.problem_params.str.contains(f'"k":{k},', regex=False)
            & rows.problem_params.str.contains(f'"mean":{mean},', regex=False)
        ]
        for name in ("score-function", "pathwise"):
            for parameter in ("mean", "log_scale"):
                gradient, exact = gaussian_exact(cost, k, mean, scale, name, parameter)
                row = row_of(these, estimator=name, group=f"phi.{parameter}")
                assert row.gradient_norm == pytest.approx(abs(gradient), rel=1e-6)
                agrees(row, exact)


def test_dimensions_add_up(tmp_path):
    grid = {"problem": "gaussian-cost", "cost": "cos", "k": 1, "dim": 10, "estimators": ["pathwise"]}
    row = row_of(ok_rows(tmp_path / "run", grid, replicates=4096), group="phi.mean")
    gradient, variance = gaussian_exact("cos", 1, 1, 1, "pathwise")
    assert row.gradient_norm == pytest.approx(abs(gradient) * math.sqrt(10), rel=1e-9)
    agrees(row, 10 * variance)
    assert row.variance_mean == pytest.approx(row.variance / 10, rel=1e-12)
    assert row.num_parameters == 10


BITS = [
    (0.45, 0.5, 0.025, 0.0159391, 6.25e-4, 0),
    (0.45, 0.1, 0.009, 0.00770006, 3.69e-4, 3.24e-4),
    (0.499, 0.5, 5e-4, 0.0156251, 2.5e-7, 0),
    (0.2, 0.83, None, None, None, None),
]


@pytest.fixture(scope="module")
def bernoulli(tmp_path_factory) -> pd.DataFrame:
    names = ["score-function", "score-function-loo", "disarm", "exact", "fixed-sample"]
    grids = [
        {"problem": "bernoulli-cost", "target": t, "prob": p, "samples": s, "estimators": e}
        for t, p, *_ in BITS
        for s, e in ((1, ["score-function"]), (2, names[1:]))
    ]
    return ok_rows(tmp_path_factory.mktemp("bernoulli") / "run", *grids, replicates=16384)


@pytest.mark.parametrize(("target", "prob", "gradient", "score", "loo", "disarm"), BITS)
def test_bernoulli_table(bernoulli, target, prob, gradient, score, loo, disarm):
    rows = bernoulli[
        (bernoulli.group == "phi.logits")
        & bernoulli.problem_params.str.contains(f'"target":{target}', regex=False)
        & bernoulli.problem_params.str.contains(f'"prob":{prob},', regex=False)
    ]
    for name, printed in (("score-function", score), ("score-function-loo", loo), ("disarm", disarm)):
        mean, exact = bernoulli_exact(target, prob, name)
        if printed is not None:
            assert exact == pytest.approx(printed, rel=1e-5, abs=1e-30)
            assert mean == pytest.approx(gradient, rel=1e-9)
        row = row_of(rows, estimator=name)
        assert row.gradient_norm == pytest.approx(abs(mean), rel=1e-9)
        if exact < 1e-30:
            assert row.variance == row.variance_high == 0
        else:
            agrees(row, exact)
        assert row.verdict in ("unbiased", "unresolved")
    assert row_of(rows, estimator="disarm").variance <= row_of(rows, estimator="score-function-loo").variance
    row = row_of(rows, estimator="exact")
    assert row.variance == row.variance_low == row.variance_high == 0
    assert row.verdict == "unbiased"
    assert row.relative_bias < 1e-12
    row = row_of(rows, estimator="fixed-sample")
    assert row.relative_bias == pytest.approx(1, rel=1e-14)
    assert row.verdict == "biased"


def slope(rows: pd.DataFrame) -> tuple[float, float]:
    """Least-squares slope of log variance against log L, weighted by the intervals, with its standard error."""
    x = np.log(rows.samples.to_numpy(dtype=float))
    y = np.log(rows.variance.to_numpy())
    weight = np.array([1 / log_error(row) ** 2 for row in rows.itertuples()])
    centred = x - (weight * x).sum() / weight.sum()
    precision = (weight * centred**2).sum()
    return float((weight * centred * y).sum() / precision), float(precision**-0.5)


@pytest.mark.parametrize(
    ("grid", "names"),
    [
        (
            {"problem": "gaussian-cost", "cost": "cos", "k": 1},
            ["score-function", "pathwise", "pathwise-antithetic", "score-function-learned"],
        ),
        ({"problem": "bernoulli-cost", "prob": 0.1}, ["score-function", "disarm", "gumbel-softmax"]),
        ({"problem": "sigmoid-belief", "latent": 4, "batch": 2}, ["score-function", "disarm", "gumbel-softmax"]),
        ({"problem": "gaussian-vae", "latent": 2, "hidden": 8, "batch": 2}, ["score-function", "pathwise"]),
    ],
    ids=["gaussian-cost", "bernoulli-cost", "sigmoid-belief", "gaussian-vae"],
)
def test_averages_of_independent_terms_have_slope_minus_one(tmp_path, grid, names):
    rows = ok_rows(tmp_path / "run", grid | {"samples": [2, 4, 8, 16], "estimators": names}, replicates=2048)
    for name in names:
        found, error = slope(rows[(rows.estimator == name) & (rows.group == "phi")])
        assert error < 0.1
        # estimators share no draws across L; 4 standard errors, 11 slopes: 1e-3 in all
        assert abs(found + 1) < CLEAR * error, f"{name}: {found} ± {error}"


def test_sticking_the_landing_has_no_variance_at_the_posterior(tmp_path):
    grid = {"problem": "linear-gaussian", "batch": 4, "kl": "monte-carlo", "start": "posterior", "dtype": "float64"}
    rows = ok_rows(tmp_path / "run", grid | {"estimators": ["sticking-the-landing", "pathwise"], "samples": [1, 3]})
    phi = rows[rows.group == "phi"]
    assert (phi[phi.estimator == "sticking-the-landing"].variance < 1e-10).all()
    assert (phi[phi.estimator == "pathwise"].variance > 1e-3).all()
    assert (rows.verdict != "biased").all()


def test_gumbel_softmax_trades_bias_for_variance(tmp_path):
    temperatures = [0.05, 0.2, 0.5, 1.0, 2.0]
    estimators = [{"name": "gumbel-softmax", "temperature": temperatures}]
    grid = {"problem": "bernoulli-cost", "prob": 0.1, "target": 0.45, "estimators": estimators}
    rows = ok_rows(tmp_path / "run", grid, replicates=65536)
    rows = [
        row_of(rows[rows.estimator_params.str.contains(f":{tau}}}", regex=False)], group="phi") for tau in temperatures
    ]

    def exact(tau: float) -> tuple[float, float]:
        """Mean and second moment of the relaxed gradient, over the logistic noise."""

        def gradient(u: float) -> float:
            z = expit((logit(0.1) + logit(u)) / tau)
            return 2 * (z - 0.45) * z * (1 - z) / tau

        return tuple(quad(lambda u, n=n: gradient(u) ** n, 0, 1, points=[0.9], limit=500)[0] for n in (1, 2))

    for row, tau in zip(rows, temperatures, strict=True):
        first, second = exact(tau)
        agrees(row, second - first**2)
        assert abs(row.bias_sq - (first - 0.009) ** 2) < CLEAR * row.bias_sq_se
    exact_bias = [abs(exact(tau)[0] - 0.009) for tau in temperatures[:3]]
    assert exact_bias == sorted(exact_bias)
    spread = [row.variance for row in rows]
    assert spread == sorted(spread, reverse=True)
    assert rows[-1].verdict == "biased"


def test_a_learned_or_left_out_baseline_lowers_the_variance(tmp_path):
    grid = {"problem": "sigmoid-belief", "latent": 6, "batch": 4, "samples": 2}
    names = ["score-function", "score-function-learned", "score-function-loo", "disarm"]
    rows = ok_rows(tmp_path / "run", grid | {"estimators": names})
    rows = rows[rows.group == "phi"]
    plain = row_of(rows, estimator="score-function")
    for name in names[1:]:
        assert row_of(rows, estimator=name).variance_high < plain.variance_low, name
