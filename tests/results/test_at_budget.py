"""Figures of the average of the gradients that one budget buys: against what the average itself has."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from gradbench.core.errors import UnknownNameError, UsageError
from gradbench.objectives import DEPENDING_ON_SAMPLES, OBJECTIVES, depends_on_samples
from gradbench.results.at_budget import FIGURES_AT_BUDGET, at_budget, brought_to, with_cost
from gradbench.results.columns import COLUMNS, COSTS
from gradbench.results.compare import INCOMPARABLE, compare_runs, rank
from gradbench.results.compare.at_equal_cost import weighted
from gradbench.results.compare.ratios import Ratio, exact_ratio
from gradbench.suite.equal_cost import EqualCost
from tests import exactly
from tests.helpers import point_of, run_grids, task_of

EVALUATIONS = EqualCost("evaluations")
BITS = {
    "problem": "bernoulli-cost",
    "dim": 10,
    "prob": 0.2,
    "estimators": ["score-function", "disarm", "ugc", "local-expectation", "gumbel-softmax", "exact"],
    "samples": [2, 4],
}
"""Of ten bits at p = 0.2, UGC is DisARM with an evaluation more for each pair."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_grids(tmp_path_factory.mktemp("at") / "run", BITS, replicates=1024, blocks=32).run


@pytest.fixture(scope="module")
def rows(run):
    return run.ok()[run.ok().group == "phi"]


def one(rows, estimator, samples=2):
    return rows[(rows.estimator == estimator) & (rows.samples == samples)].iloc[0]


def made(**given) -> pd.DataFrame:
    """A row of figures as a run has them."""
    row = {
        **dict.fromkeys(("problem", "problem_params", "data", "kl", "objective_params", "device", "dtype"), "-"),
        "objective": "elbo",
        "train_steps": 0,
        "noise": "latent",
        "seed": 0,
        "group": "phi",
        "samples": 1,
        "variance": 8.0,
        "variance_low": 6.0,
        "variance_high": 11.0,
        "evaluations": 2.0,
        "gradient_norm": 3.0,
        "seconds": 0.1,
        "seconds_low": 0.09,
        "seconds_high": 0.12,
        "bias_norm": 2.0,
        "bias_low": 1.5,
        "bias_high": 2.5,
        "mse": 12.0,
        "mse_low": 9.5,
        "mse_high": 15.5,
    }
    return pd.DataFrame([row | given])


def test_an_average_of_score_functions_is_one_of_more_samples():
    """L samples cost L and have 1 / L of the variance, exactly: at as many evaluations all L are the same."""
    task = [task_of(point_of("bernoulli-cost", prob=0.3), "score-function", samples) for samples in (1, 2, 4)]
    exact = [exactly.exact_variance(t, count=8) for t in task]
    frame = pd.concat(
        [made(samples=L, evaluations=float(L), variance=v) for L, v in zip((1, 2, 4), exact, strict=True)]
    )
    found = at_budget(frame, EVALUATIONS)
    assert found.variance_at.to_numpy() == pytest.approx(exact[2], rel=1e-12)
    assert set(found.budget) == {4.0}
    assert list(found.gradients) == [4, 2, 1]


def test_bias_does_not_average_out():
    found = at_budget(made(), EqualCost("evaluations", 16.0)).iloc[0]
    assert (found.gradients, found.variance_at, found.mse_at) == (8.0, 1.0, 5.0)
    assert found.snr_at == 9.0
    assert (found.variance_at_low, found.variance_at_high) == (pytest.approx(6 / 8), pytest.approx(11 / 8))
    # mse / 8 + 7 bias² / 8, arms added
    assert found.mse_at_low == pytest.approx(5 - (2.5 + 7 * (4 - 2.25)) / 8)
    assert found.mse_at_high == pytest.approx(5 + (3.5 + 7 * (6.25 - 4)) / 8)
    much = at_budget(made(), EqualCost("evaluations", 2e12)).iloc[0]
    assert (much.mse_at, much.mse_at_low, much.mse_at_high) == pytest.approx((4.0, 2.25, 6.25))


def test_one_gradient_is_what_was_measured():
    found = at_budget(made(), EVALUATIONS).iloc[0]
    for figure in ("variance", "mse"):
        for end in ("", "_low", "_high"):
            assert found[f"{figure}_at{end}"] == pytest.approx(found[f"{figure}{end}"], rel=1e-12)


def test_a_budget_below_one_gradient_buys_none():
    found = at_budget(made(), EqualCost("evaluations", 1.9)).iloc[0]
    assert found.gradients == pytest.approx(0.95)
    assert found[[name for name in FIGURES_AT_BUDGET if "_at" in name]].isna().all()
    assert at_budget(made(evaluations=0.1 * 3), EqualCost("evaluations", 0.3)).variance_at.notna().all()


def test_what_has_no_noise_sets_no_budget():
    exact = made(samples=2, variance=0.0, variance_low=0.0, variance_high=0.0, evaluations=1024.0)
    found = at_budget(pd.concat([made(), exact], ignore_index=True), EVALUATIONS)
    assert list(found.budget) == [2.0, 2.0]
    assert found.variance_at.isna().tolist() == [False, True]
    alone = at_budget(exact, EVALUATIONS).iloc[0]
    assert (alone.budget, alone.variance_at, alone.variance_at_high, alone.snr_at) == (1024.0, 0.0, 0.0, np.inf)


def test_an_upper_end_that_is_unknown_stays_so():
    unseen = {"variance": 0.0, "variance_low": 0.0, "variance_high": np.inf, "bias_high": np.inf, "mse_high": np.inf}
    for budget in (2.0, 64.0):
        found = at_budget(made(**unseen), EqualCost("evaluations", budget)).iloc[0]
        assert found.variance_at_high == found.mse_at_high == np.inf


def test_intervals_at_equal_seconds_hold_that_of_the_time():
    found = at_budget(made(), EqualCost("seconds", 1.0)).iloc[0]
    assert found.variance_at == pytest.approx(0.8)
    assert found.variance_at_high == pytest.approx(0.8 * np.exp(np.hypot(np.log(11 / 8), np.log(1.2))))
    assert found.variance_at_low == pytest.approx(0.8 * np.exp(-np.hypot(np.log(8 / 6), np.log(0.1 / 0.09))))


def test_intervals_at_equal_seconds_cover():
    """95 % of 4000 repetitions, within 4 standard errors of that share; those of the variance alone would miss."""
    generator = np.random.default_rng(0)
    errors = {"variance": 0.1, "seconds": 0.15}
    logs = {name: error * generator.standard_normal(4000) for name, error in errors.items()}
    ends = {"": 0.0, "_low": -1.96, "_high": 1.96}
    given = {f"{n}{end}": np.exp(logs[n] + z * errors[n]) for n in errors for end, z in ends.items()}
    frame = pd.concat([made()] * 4000, ignore_index=True).assign(**given)
    found = at_budget(frame, EqualCost("seconds", 10.0))
    covered = ((found.variance_at_low < 0.1) & (found.variance_at_high > 0.1)).mean()
    assert covered == pytest.approx(0.95, abs=4 * np.sqrt(0.05 * 0.95 / 4000))
    short = ((found.variance_low * found.seconds < 1) & (found.variance_high * found.seconds > 1)).mean()
    assert short < 0.8


def test_each_l_of_a_bound_is_a_target_of_its_own():
    bound = pd.concat([made(objective="iwae", samples=L, evaluations=float(L)) for L in (1, 8)])
    assert list(at_budget(bound, EVALUATIONS).budget) == [1.0, 8.0]
    assert list(at_budget(bound.assign(objective="elbo"), EVALUATIONS).budget) == [8.0, 8.0]
    assert list(at_budget(bound.assign(objective="of a plugin elsewhere"), EVALUATIONS).budget) == [1.0, 8.0]


def test_objectives_declare_whether_l_is_part_of_them():
    assert {name for name in OBJECTIVES.lines if OBJECTIVES[name].reduces_together()} == DEPENDING_ON_SAMPLES
    assert [name for name in OBJECTIVES if depends_on_samples(name)] == [
        n for n in OBJECTIVES if n in DEPENDING_ON_SAMPLES
    ]


def test_slopes_do_not_depend_on_the_budget():
    frame = pd.concat([made(samples=L, evaluations=float(L), objective="iwae") for L in (1, 2)])
    assert list(with_cost(frame, EVALUATIONS).variance) == [8.0, 16.0]
    assert list(with_cost(frame, EqualCost("evaluations", 1.0)).variance.isna()) == [False, True]


def test_all_rows_of_a_run_keep_their_columns(run):
    found = brought_to(run.frame, EVALUATIONS)
    assert tuple(found.columns) == (*COLUMNS, *FIGURES_AT_BUDGET)
    assert len(found) == len(run.frame)
    pd.testing.assert_frame_equal(found[list(COLUMNS)], run.frame)


def test_an_evaluation_more_for_the_same_variance_shows(run):
    _, table = rank(run, "disarm", cost=EVALUATIONS)
    table = table[table.group == "phi"]
    same, more = (table[(table.estimator_b == "ugc") & (table.samples_b == samples)].iloc[0] for samples in (2, 4))
    assert same.cost_ratio == 1.5
    assert same.variance_at_ratio == pytest.approx(1.5, rel=1e-6), "on the same draws"
    assert same["mark"] == "worse"
    assert (more.samples_a, more.cost_ratio) == (2, 3.0), "over the baseline at its smallest L"
    assert more.variance_at_ratio_low < 1.5 < more.variance_at_ratio_high
    assert not ((table.estimator_b == "disarm") & (table.samples_b == 2)).any(), "the baseline itself has no ratio"


def test_the_interval_of_a_ratio_moves_with_the_count_alone(run):
    _, table = rank(run, "disarm", cost=EVALUATIONS)
    for end in ("", "_low", "_high"):
        wanted = table[f"variance_ratio{end}"] * table.cost_ratio
        known = (table.variance_ratio > 0) & table.variance_ratio.notna()
        assert table.loc[known, f"variance_at_ratio{end}"].to_numpy() == pytest.approx(wanted[known].to_numpy())


def test_what_has_no_variance_has_none_at_any_budget(run):
    _, table = rank(run, "disarm", cost=EVALUATIONS)
    exact = table[(table.estimator_b == "exact") & (table.group == "phi")].iloc[0]
    assert (exact.variance_at_ratio, exact["mark"]) == (0.0, "better")
    assert np.isnan(exact.mse_at_ratio), "one gradient costs more than the budget that the others are at"
    _, table = rank(run, "disarm", cost=EqualCost("evaluations", 64.0))
    exact = table[(table.estimator_b == "exact") & (table.group == "phi")].iloc[0]
    assert np.isnan(exact.variance_at_ratio)
    assert exact["mark"] == INCOMPARABLE
    assert exact["why"] == "one gradient takes 1024 evaluations, more than the budget of 64"


def test_the_mean_squared_error_of_a_biased_one_gains_less(run, rows):
    for budget in (16.0, 4096.0):
        cost = EqualCost("evaluations", budget)
        _, table = rank(run, "disarm", figure="mse", cost=cost)
        row = table[(table.estimator_b == "gumbel-softmax") & (table.samples_b == 2) & (table.group == "phi")].iloc[0]
        found = at_budget(rows, cost)
        wanted = one(found, "gumbel-softmax").mse_at / one(found, "disarm").mse_at
        assert row.mse_at_ratio == pytest.approx(wanted, rel=0.01)
    assert wanted > 4 * one(rows, "gumbel-softmax").mse / one(rows, "disarm").mse


def test_runs_at_equal_cost(run):
    table = compare_runs(run, run, cost=EqualCost("seconds"))
    noisy = table[table.variance_a > 0]
    assert (noisy.variance_at_ratio == 1).all()
    doubled = type(run)(run.path, run.frame.assign(evaluations=2 * run.frame.evaluations), run.manifest)
    table = compare_runs(run, doubled, cost=EVALUATIONS)
    noisy = table[table.variance_a > 0]
    assert noisy.variance_at_ratio.to_numpy() == pytest.approx(2.0)
    assert set(noisy["mark"]) == {"worse"}
    assert noisy.mse_at_ratio.notna().all(), "both are at one budget"


def test_other_figures_and_costs_are_refused(run):
    with pytest.raises(UsageError, match="variance or mse can be compared, not seconds"):
        rank(run, figure="seconds", cost=EVALUATIONS)
    with pytest.raises(UnknownNameError):
        rank(run, figure="varianc")
    assert COSTS == ("evaluations", "seconds")


def test_counts_are_known_without_error():
    assert exact_ratio(2, 3) == Ratio(1.5, 1.5, 1.5, 0.0)
    assert exact_ratio(2, 2).p == 1.0
    half = Ratio(0.5, 0.4, 0.6, 1e-9)
    found = weighted(half, exact_ratio(1, 2), 32)
    assert (found.value, found.low, found.high) == pytest.approx((1.0, 0.8, 1.2))
    assert found.p == pytest.approx(1.0)


def test_a_ranking_without_a_baseline_is_over_one_that_has_noise(tmp_path):
    found = run_grids(
        tmp_path / "run", BITS | {"estimators": ["exact", "disarm"], "samples": 2}, replicates=64, blocks=8
    ).run
    assert rank(found)[0] == "disarm"
