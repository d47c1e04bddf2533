"""A Gaussian z: what the four surrogates count, what dropping the hold does, and torch's own words for it."""

from __future__ import annotations

import pytest
import torch
from torch import distributions as td

from gradbench.explaining import dropped_hold
from gradbench.explaining.bench import Bench
from gradbench.explaining.dropped_hold import measure_scale
from gradbench.explaining.gaussian import measure_gaussian, measure_kl
from gradbench.explaining.spellings import measure_spellings


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench()


def test_the_expectation_is_counted_once_never_and_twice(bench: Bench) -> None:
    found = measure_gaussian(bench)
    counted = {name: lines["phi"].counted for name, lines in found.rows.items()}
    expected = {"score-function": 1, "pathwise": 1, "fixed-sample": 0, "double-counted": 2}
    assert counted == pytest.approx(expected, abs=0.05)
    assert {name: lines["phi"].verdict for name, lines in found.rows.items()} == {
        name: "unbiased" if count == 1 else "biased" for name, count in expected.items()
    }
    assert {lines["theta"].verdict for lines in found.rows.values()} == {"unbiased"}


def test_the_kl_may_be_sampled_with_every_right_estimator(bench: Bench) -> None:
    rows = measure_kl(bench).rows
    assert ("score-function", "monte-carlo") in [(name, kl) for name, kl, _ in rows]
    assert {line.verdict for _, _, line in rows} == {"unbiased"}


@pytest.mark.parametrize(("k", "mean"), [(3.0, 1.0), (-2.0, 0.5)])
def test_dropping_the_hold_takes_the_mean_of_f_off_the_scale_alone(monkeypatch, k: float, mean: float) -> None:
    monkeypatch.setattr(dropped_hold, "COST_K", k)
    monkeypatch.setattr(dropped_hold, "COST_MEAN", mean)
    found = measure_scale(Bench())
    assert found.cost == pytest.approx((mean - k) ** 2 + 1)
    assert found.exact == pytest.approx({"phi.mean": 2 * (mean - k), "phi.log_scale": 2.0})
    for name, drop, lines in found.rows:
        means = {part: found.gradient(line) for part, line in lines.items()}
        wrong = {"phi.mean": 0.0, "phi.log_scale": -found.cost if drop else 0.0}
        times = 2 if name == "double-counted" else 1
        for part, (value, error) in means.items():
            # 5 standard errors: 6e-7; where the control takes all noise out, rounding
            assert abs(value - times * found.exact[part] - wrong[part]) < 5 * error + 1e-9, (name, drop, part)
        verdicts = {part: line.verdict for part, line in lines.items()}
        assert verdicts["phi.mean"] == ("biased" if times == 2 else "unbiased")
        assert (verdicts["phi.log_scale"] == "biased") == (times == 2 or bool(drop))


def test_the_spellings_of_torch_do_what_is_said() -> None:
    before = torch.get_rng_state()
    found = measure_spellings(Bench())
    assert torch.equal(torch.get_rng_state(), before)
    cost = (found.mean - found.k) ** 2 + 1
    mean, scale = found.exact
    expected = {
        ("z = q.sample()", "f(z)"): None,
        ("z = q.sample()", "f(z).detach() * q.log_prob(z)"): (mean, scale),
        ("z = q.rsample()", "f(z)"): (mean, scale),
        ("z = q.rsample()", "f(z).detach() * q.log_prob(z.detach())"): (mean, scale),
        ("z = q.rsample()", "f(z).detach() * q.log_prob(z)"): (0.0, -cost),
        ("z = q.rsample()", "f(z) + f(z).detach() * q.log_prob(z)"): (mean, scale - cost),
        ("z = q.rsample()", "f(z) + f(z).detach() * q.log_prob(z.detach())"): (2 * mean, 2 * scale),
    }
    assert [(row.draw, row.averaged) for row in found.rows] == list(expected)
    for row in found.rows:
        true = expected[row.draw, row.averaged]
        if true is None:
            assert (row.mean, row.log_scale) == (None, None)
            continue
        assert row.mean is not None
        assert row.log_scale is not None
        for (value, error), exact in zip((row.mean, row.log_scale), true, strict=True):
            assert abs(value - exact) <= 5 * error  # 6e-7
            assert error < 0.05
    assert (found.sample_has_grad, found.rsample_has_grad) == (False, True)
    assert found.has_rsample == {"Normal": True, "Gamma": True, "Bernoulli": False, "Categorical": False}
    for kind in (td.Bernoulli, td.Categorical):
        with pytest.raises(NotImplementedError):
            kind(torch.tensor([0.5, 0.5])).rsample()
