"""The Rao-Blackwellised score function."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from gradbench.core.seeding import stream
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.discrete import rao_blackwell
from gradbench.families.bernoulli import Bernoulli
from tests.estimators.asking import accepts, refuses, setting
from tests.estimators.by_hand import BERNOULLI, Bits, Estimate, Given
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, mutant, scaled, without
from tests.estimators.sets import masses_of
from tests.exactly import exact_moments, exact_variance
from tests.helpers import point_of, task_of

NAME = "rao-blackwell"
OWN = ESTIMATORS[NAME]
BELIEF = {"latent": 3, "batch": 2}
CATEGORIES = {"variables": 2, "categories": 2, "hidden": 4, "batch": 2}
Parameters = rao_blackwell.Parameters


def integrated(task):
    """All tuples of states of one datapoint that are not summed, with their probabilities among themselves."""
    (p,) = masses_of(task)
    top = task.given[0].top
    summed, rest = np.split(np.argsort(-p, kind="stable"), [top])
    if len(rest) ** task.samples > 5000:
        raise LookupError("too many tuples to sum over")
    among = p[rest] / p[rest].sum()
    places = list(product(range(len(rest)), repeat=task.samples))
    weights = torch.tensor([among[list(one)].prod() for one in places], dtype=torch.float64)
    return weights, torch.tensor([[*summed, *(rest[i] for i in one)] for one in places])[:, :, None]


def of_the_whole(objective, q, noise, parameters):
    """The rest as if it had all the mass."""
    short = OWN.surrogate(objective, q, noise, parameters)
    z = rao_blackwell.with_numbers(q, noise[:, parameters.top :])
    f = objective.f(z, q.held())
    return short + (0.5 * f.detach() * q.log_prob(z)).mean((1, 2))


FACTS = Facts(
    evaluations=lambda where: where.samples + 1,
    integrated=integrated,
    without_effect={"z": "numbers of states have no gradient"},
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "bernoulli-cost", 2, "phi", {"prob": 0.1, "dim": 2}),
        Mutant("weight not held", without(OWN, "weight"), "categorical-vae", 2, "theta", CATEGORIES),
        Mutant("log q held", held_too(OWN, "log q"), "sigmoid-belief", 2, "phi", BELIEF),
        Mutant("the rest weighs too much", mutant(OWN, of_the_whole), "tied-bits", 2, "phi", {"logit": -1.0}),
    ),
)


def by_hand(given: Given) -> Estimate:
    """Σ_top p (f − b) ∇log p + (1 − Σ_top p) (1/L) Σ_l (f_l − b_l) ∇log p_l, datapoint by datapoint."""
    q, (parameters,) = given.q, given.task.given
    assert isinstance(q, Bits)
    dim, (replicates, _, batch), samples = q.logits.shape[-1], given.noise.shape, given.task.samples
    bits = ((np.arange(2**dim)[:, None] >> np.arange(dim)) & 1).astype(float)
    states = np.broadcast_to(bits[None, :, None, :], (1, 2**dim, batch, dim))
    f, score = given.at(states).f, q.score(states)[0]
    p = np.broadcast_to(np.prod(np.where(states == 1, q.p, 1 - q.p), -1), (1, 2**dim, batch))
    top = parameters.top
    gradient = np.zeros((replicates, batch, dim))
    mass, z = np.empty((replicates, top + samples, batch)), np.empty((replicates, top + samples, batch, dim))
    for r, b in np.ndindex(replicates, batch):
        p_b, f_b, score_b = (np.broadcast_to(v, (1, 2**dim, batch, *v.shape[3:]))[0, :, b] for v in (p, f, score))
        summed, drawn = np.split(given.noise[r, :, b].astype(int), [top])
        assert p_b[summed].min() >= np.delete(p_b, summed).max()
        assert not set(summed) & set(drawn)
        left = 1 - p_b[summed].sum()
        for index, number in enumerate(drawn):
            baseline = 0.0
            if parameters.baseline == "leave-one-out":
                others = np.delete(drawn, index)
                baseline = p_b[summed] @ f_b[summed] + left * f_b[others].mean()
            own = left * (f_b[number] - baseline) * score_b[number]
            exact = ((p_b[summed] * (f_b[summed] - baseline))[:, None] * score_b[summed]).sum(0)
            gradient[r, b] += (own + exact) / samples
        mass[r, :, b] = [*p_b[summed], *[left / samples] * samples]
        z[r, :, b] = bits[[*summed, *drawn]]
    return Estimate((gradient,), z, mass)


@pytest.mark.parametrize("parameters", [{"top": 1}, {"top": 3, "baseline": "leave-one-out"}], ids=["1", "3, compared"])
@pytest.mark.parametrize("spot", BERNOULLI, ids=repr)
def test_the_gradient_at_fixed_noise(spot, parameters):
    spot.check(NAME, by_hand, **parameters)


def test_the_rest_is_drawn_by_its_masses():
    """Frequencies of 40000 draws by Pearson's test at an error rate of 1e-3."""
    from scipy import stats

    q = Bernoulli(logits=torch.tensor([[0.4, -1.0]], dtype=torch.float64)[None, None])
    drawn = rao_blackwell._draw(q, 20_000, 2, stream(0), Parameters(top=1))
    p = q.states().all()[1][0, :, 0].numpy()
    assert set(drawn[:, 0, 0].tolist()) == {int(q.states().all()[1][0, :, 0].argmax())}
    found = np.bincount(drawn[:, 1:].flatten().numpy(), minlength=4)
    rest = np.delete(np.arange(4), p.argmax())
    assert found[p.argmax()] == 0
    assert stats.chisquare(found[rest], 40_000 * p[rest] / p[rest].sum()).pvalue > 1e-3


@pytest.mark.parametrize("logit", [-4.0, 1.5])
@pytest.mark.parametrize("top", [1, 3, 7])
def test_its_variance_is_at_most_the_share_of_the_rest(logit, top):
    point = point_of("tied-bits", logit=logit)
    own, one = exact_moments(task_of(point, NAME, top=top)), task_of(point, "unordered-set")
    score = exact_variance(one)  # with a single state drawn, that of the score function
    rest = np.sort(masses_of(one)[0])[: 8 - top].sum()
    assert own["phi.logit"][1] <= rest * score * (1 + 1e-9)
    torch.testing.assert_close(own["phi.logit"][0], exact_moments(task_of(point, "exact"))["phi.logit"][0])


def test_one_state_left_is_no_rest_to_vary():
    assert exact_variance(task_of(point_of("tied-bits", logit=0.3), NAME, top=7)) < 1e-25


@pytest.mark.parametrize("samples", [2, 3])
def test_the_baseline_leaves_the_mean_and_takes_variance(samples):
    point = point_of("tied-bits", logit=0.5)
    plain, compared = (
        exact_moments(task_of(point, NAME, samples, top=3, baseline=baseline))["phi.logit"]
        for baseline in ("none", "leave-one-out")
    )
    exact = exact_moments(task_of(point, "exact"))["phi.logit"][0]
    torch.testing.assert_close(plain[0], exact, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(compared[0], exact, rtol=1e-9, atol=1e-12)
    assert compared[1] < 0.7 * plain[1]


def test_samples_are_averaged():
    point = point_of("tied-bits", logit=-1.0)
    one, three = (exact_variance(task_of(point, NAME, samples, top=2)) for samples in (1, 3))
    assert three == pytest.approx(one / 3, rel=1e-10)


def test_it_needs_states_of_which_some_are_left():
    refuses(NAME, setting("gaussian-vae"), "finitely many states")
    refuses(NAME, setting("sigmoid-belief", latent=13), "too many to list")
    tied = setting("tied-bits", samples=1)
    refuses(NAME, replace(tied, parameters=Parameters(top=8)), "top = 8 of 8 states leaves none to sample; use exact")
    refuses(NAME, replace(tied, parameters=Parameters(baseline="leave-one-out")), "samples of at least 2")
    accepts(NAME, replace(tied, parameters=Parameters(top=7)))
