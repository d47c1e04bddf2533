"""Expectations over draws: sums that are known otherwise, and families that nobody listed."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from gradbench.estimators import ESTIMATORS
from gradbench.estimators.draws import own
from gradbench.families.bernoulli import Bernoulli
from gradbench.families.gaussian import Gaussian
from gradbench.families.layered import Layered
from gradbench.problems.bernoulli_cost import BernoulliCost
from tests.exactly import exact_variance, giving, integrated, nodes_of
from tests.helpers import F64, point_of, task_of


class Coins(Bernoulli):
    """Bits by another name, whose noise no test module knows: its nodes are found from its states."""

    name = "coins"
    states = Bernoulli.states


def coins(*probabilities: float) -> Coins:
    return Coins(logits=torch.tensor([probabilities], dtype=F64).logit()[None, None])


def test_the_noise_found_for_a_state_gives_it():
    q = coins(0.02, 0.6, 0.97)
    mass, noise = nodes_of(q, 1)
    states, expected = q.states().all()
    assert torch.equal(q.sample(noise), states)
    torch.testing.assert_close(mass, expected)
    assert not torch.equal(noise, nodes_of(q, 1, 100)[1])


def test_a_state_that_is_never_drawn_is_refused():
    with pytest.raises(LookupError, match="too rare"):
        nodes_of(coins(1e-9), 1)


def test_each_layer_is_given_noise_at_the_samples_before_it():
    def second(calls, above):
        return Coins(logits=2 * above - 1)

    class Nothing:
        def held(self):
            return self

    q = Layered(Nothing(), lambda calls: coins(0.3, 0.8), second)
    states = torch.tensor([[0, 1, 1, 0], [1, 1, 0, 0]], dtype=F64)[None, :, None]
    noise = giving(q, states)
    assert torch.equal(q.sample(noise), states)


def test_gaussian_nodes_have_the_moments_of_their_law():
    q = Gaussian(loc=torch.tensor([[[[0.4]]]], dtype=F64), scale=torch.tensor([[[[1.3]]]], dtype=F64))
    mass, noise = nodes_of(q, 64)
    moments = [float((mass[..., None] * noise**power).sum()) for power in range(7)]  # pyright: ignore
    assert moments == pytest.approx([1, 0, 1, 0, 3, 0, 15], abs=1e-9)


@pytest.fixture
def bits_that_nobody_knows(monkeypatch):
    monkeypatch.setattr(BernoulliCost, "posterior", lambda self, phi, x: Coins(logits=phi.free("logits")))


def test_a_new_family_of_states_needs_no_hook(bits_that_nobody_knows):
    """Leave-one-out on one bit, to the four digits that are printed."""
    task = task_of(point_of("bernoulli-cost", target=0.49, prob=0.1), "score-function-loo", 4)
    assert isinstance(task.held_q, Coins)
    assert exact_variance(task) == pytest.approx(6.300e-6, rel=2e-4)


@pytest.mark.parametrize("name", ["disarm", "gumbel-softmax"])
def test_what_looks_at_the_noise_itself_is_refused_without_one(bits_that_nobody_knows, name):
    with pytest.raises(LookupError, match=r"looks at the noise itself.*\n.*noise_nodes"):
        integrated(task_of(point_of("bernoulli-cost", prob=0.3), name, 2))


def test_draws_of_an_estimators_own_are_refused():
    estimator = dataclasses.replace(ESTIMATORS["pathwise"], draws=own(lambda q, *rest: q.noise(*rest)))
    with pytest.raises(LookupError, match="draws of its own"):
        integrated(task_of(point_of("gaussian-cost"), estimator))


def test_too_many_draws_are_refused():
    with pytest.raises(LookupError, match="too many"):
        integrated(task_of(point_of("gaussian-cost", dim=3), "pathwise", 2))


def test_the_lightest_tuples_are_left_out_only_where_there_are_many():
    few, many = (integrated(task_of(point_of("gaussian-cost"), "pathwise", count))[0] for count in (2, 4))
    assert len(few) == 100**2
    assert float(few.sum()) == pytest.approx(1, abs=1e-14)
    assert len(many) < 32**4 / 4
    assert 0 < 1 - float(many.sum()) < 1e-6
