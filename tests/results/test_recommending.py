"""The advice of a run: the best, what cannot be told from it, what is biased; against what is known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gradbench.core.errors import UsageError
from gradbench.results.columns import POINT
from gradbench.results.declared import declared_biased
from gradbench.results.recommending import advise
from gradbench.results.store import Run, load_run
from gradbench.suite.equal_cost import EqualCost

KEPT = Path(__file__).parents[2] / "results" / "reference"


class Made(Run):
    """A run of rows that are made up, with their block variances."""

    def block_variances(self) -> dict[tuple[str, str], np.ndarray]:
        keys = zip(self.frame.cell_id, self.frame.group, self.frame.blocks_made, strict=True)
        return {(cell, group): blocks for cell, group, blocks in keys}


def made(*rows: dict) -> Run:
    """One target, a row for each estimator: its name, variance, seconds, and what else is not as usual."""
    whole = load_run(KEPT / "quick").ok()
    like = whole[(whole.estimator == "pathwise") & (whole.group == "phi") & (whole.samples == 1)].iloc[0].to_dict()
    noise = np.random.default_rng(0).gamma(50, 1 / 50, size=32)  # shared, as estimators share theirs
    found = []
    for number, given in enumerate(rows):
        row = dict(given)
        variance, seconds = row.pop("variance"), row.pop("seconds")
        own = row.pop("own", 0.0) * np.random.default_rng(number).normal(size=32)
        blocks = variance * noise / noise.mean() * (1 + own)
        usual = {
            "cell_id": str(number), "estimator": f"e{number}", "variance": variance, "variance_low": 0.95 * variance,
            "variance_high": 1.05 * variance, "mse": variance, "mse_low": 0.95 * variance, "mse_high": 1.05 * variance,
            "seconds": seconds, "seconds_low": 0.999 * seconds, "seconds_high": 1.001 * seconds, "bias_norm": 0.0,
            "bias_low": 0.0, "bias_high": 1e-6, "verdict": "unbiased", "blocks": 32, "blocks_made": blocks,
        }  # fmt: skip
        found.append({**like, **usual, **row})
    return Made(Path("made"), pd.DataFrame(found), {})


def names(rows: pd.DataFrame) -> list[str]:
    return list(rows.estimator)


def test_the_best_has_least_error_times_time() -> None:
    run = made({"variance": 1.0, "seconds": 3.0}, {"variance": 2.0, "seconds": 1.0}, {"variance": 9.0, "seconds": 0.5})
    (one,) = advise(run, "phi")
    assert names(one.best) == ["e1"]
    assert names(one.worse) == ["e0", "e2"]
    assert one.worse.ratio.tolist() == pytest.approx([1.5, 2.25])
    assert names(one.frontier) == ["e2", "e1", "e0"]
    assert one.alike.empty


def test_what_cannot_be_told_from_the_best_is_named_with_its_interval() -> None:
    run = made({"variance": 1.0, "seconds": 1.0, "own": 0.2}, {"variance": 1.01, "seconds": 1.0, "own": 0.2})
    (one,) = advise(run, "phi")
    (row,) = one.alike.itertuples()
    assert row.ratio_low < 1 < row.ratio_high
    assert one.worse.empty


def test_pairs_tell_what_intervals_alone_would_not() -> None:
    """Variances 3 % apart, each known to 5 %, but under the same noise: block by block the ratio is certain."""
    run = made({"variance": 1.0, "seconds": 1.0}, {"variance": 1.03, "seconds": 1.0})
    (one,) = advise(run, "phi")
    assert names(one.worse) == ["e1"]
    alone = replace(run, frame=run.frame.assign(blocks_made=[np.empty(0)] * 2))
    (one,) = advise(alone, "phi")
    assert names(one.alike) == ["e1"]


def test_the_biased_are_never_the_best_and_always_named() -> None:
    biased = {"variance": 1e-3, "seconds": 1e-3, "verdict": "biased", "bias_norm": 0.4}
    (one,) = advise(made({"variance": 1.0, "seconds": 1.0}, biased), "phi")
    assert (names(one.best), names(one.biased)) == (["e0"], ["e1"])
    (none,) = advise(made(biased), "phi")
    assert none.best.empty
    assert names(none.biased) == ["e0"]


OPEN = {"verdict": "unresolved", "bias_norm": 0.1, "bias_high": 0.5}
"""A bias that is neither found nor excluded."""


def test_the_declared_biased_are_set_aside_until_their_bias_is_known() -> None:
    declared = {"variance": 0.1, "seconds": 1.0, "estimator": "double-counted", "objective": "elbo"}
    usual = {"variance": 1.0, "seconds": 1.0, **OPEN, "estimator": "pathwise"}
    (one,) = advise(made(usual, {**declared, **OPEN}), "phi")
    assert (names(one.best), names(one.declared_biased)) == (["pathwise"], ["double-counted"])
    assert one.frontier.estimator.tolist() == ["pathwise"]
    (one,) = advise(made(usual, {**declared, "verdict": "biased"}), "phi")
    assert (names(one.biased), names(one.declared_biased)) == (["double-counted"], [])
    (one,) = advise(made(usual, declared), "phi")  # certainly below the margin
    assert (names(one.best), names(one.declared_biased)) == (["double-counted"], [])
    (one,) = advise(made(usual, {**declared, **OPEN}), "phi", cost=EqualCost("seconds", 0.5))
    assert (names(one.dear), names(one.declared_biased)) == (["pathwise", "double-counted"], [])


def test_what_is_declared_depends_on_group_samples_parameters_and_objective() -> None:
    rows = pd.DataFrame(
        [
            ("double-counted", "{}", "elbo", 1, "phi", True),
            ("double-counted", "{}", "elbo", 1, "phi.encoder.bias", True),
            ("double-counted", "{}", "elbo", 1, "theta", False),
            ("double-counted", "{}", "elbo", 1, "all", True),
            ("ovis-asymptotic", '{"gamma":0.0}', "iwae", 8, "phi", False),
            ("ovis-asymptotic", '{"gamma":0.5}', "iwae", 8, "phi", True),
            ("ovis-asymptotic", '{"delta":0.5}', "iwae", 8, "phi", False),  # of a version that is not this one
            ("iwae-pathwise", "{}", "elbo", 1, "phi", False),  # not for that objective
            ("a-plugin", "{}", "elbo", 1, "phi", False),
            ("double-counted", "{}", "loss", 1, "phi", False),
        ],
        columns=["estimator", "estimator_params", "objective", "samples", "group", "declared"],
        index=range(7, 17),
    )
    found = declared_biased(rows)
    assert found.index.equals(rows.index)
    assert found.tolist() == rows.declared.tolist()
    assert declared_biased(rows.iloc[:0]).empty


def test_an_error_without_a_bound_is_no_recommendation() -> None:
    unseen = {"variance": 0.0, "seconds": 1e-3, "variance_high": math.inf, "mse": 0.0, "bias_high": math.inf}
    unseen |= {"verdict": "unresolved"}
    (one,) = advise(made({"variance": 1.0, "seconds": 1.0}, unseen), "phi")
    assert (names(one.best), names(one.unknown)) == (["e0"], ["e1"])


def test_what_has_no_error_is_named_apart() -> None:
    exact = {"variance": 0.0, "seconds": 1.0, "mse": 0.0, "bias_high": 0.0}
    (one,) = advise(made({"variance": 1.0, "seconds": 1.0}, exact), "phi")
    assert (names(one.best), names(one.errorless)) == (["e0"], ["e1"])


def test_at_a_budget_all_samples_compete_and_the_dear_are_named() -> None:
    run = made(
        {"variance": 1.0, "seconds": 4.0, "samples": 4},
        {"variance": 3.0, "seconds": 1.0, "samples": 1},
        {"variance": 0.1, "seconds": 20.0, "samples": 64},
    )
    (one,) = advise(run, "phi", cost=EqualCost("seconds", 8.0))
    assert names(one.best) == ["e1"]  # 3 / 8 against 1 / 2
    assert names(one.dear) == ["e2"]
    assert one.best.mse_at.tolist() == [pytest.approx(3 / 8)]
    assert one.worse.ratio.tolist() == [pytest.approx(4 / 3)]


def test_at_a_large_budget_a_bias_that_is_not_excluded_counts() -> None:
    open_ = {"variance": 1.0, "seconds": 1.0, "bias_norm": 0.5, "bias_high": 0.6, "verdict": "unresolved"}
    run = made(open_, {"variance": 2.0, "seconds": 1.0})
    (short,) = advise(run, "phi", cost=EqualCost("seconds", 1.0))
    (long,) = advise(run, "phi", cost=EqualCost("seconds", 1e4))
    assert (names(short.best), names(long.best)) == (["e0"], ["e1"])


@pytest.mark.parametrize("cost", [None, EqualCost("seconds", 0.1), EqualCost("evaluations", 16)])
def test_every_row_of_a_kept_run_is_somewhere(cost) -> None:
    run = load_run(KEPT / "quick")
    advice = advise(run, "phi", cost=cost)
    rows = run.ok()[run.ok().group == "phi"]
    kinds = ("best", "alike", "worse", "errorless", "biased", "declared_biased", "unknown", "dear")
    found = [index for one in advice for kind in kinds for index in getattr(one, kind).index]
    assert sorted(found) == sorted(rows.index)
    keys = [*POINT, *(["samples"] if cost is None else [])]
    assert len(advice) == len(rows.drop_duplicates(keys))
    for one in advice:
        assert set(one.frontier.index) <= {*one.best.index, *one.alike.index, *one.worse.index}
        if cost is None:  # what has least error × time has no other below it in both
            assert set(one.best.index) <= set(one.frontier.index)


def test_bounds_of_other_samples_do_not_compete() -> None:
    run = load_run(KEPT / "bounds")
    twice = replace(run, frame=pd.concat([run.frame, run.frame.assign(samples=16)], ignore_index=True))
    for one in advise(twice, "phi", cost=EqualCost("evaluations", 64)):
        assert one.target.samples.nunique() == 1 or one.target.objective.iloc[0] == "forward-kl"


def test_what_was_not_measured_is_said() -> None:
    run = load_run(KEPT / "quick")
    with pytest.raises(UsageError, match="--samples 3 was not measured; the run has 1, 2, 4"):
        advise(run, "phi", samples=3)
