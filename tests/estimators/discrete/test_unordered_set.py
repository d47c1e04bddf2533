"""The unordered set estimator."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.special import expit

from gradbench.core.seeding import stream
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.discrete import unordered_set
from gradbench.estimators.parts.joint import with_numbers
from gradbench.estimators.parts.without_replacement import subset_weights
from gradbench.families.bernoulli import Bernoulli
from tests.estimators.asking import accepts, refuses, setting
from tests.estimators.by_hand import BERNOULLI, Bits, Estimate, Given
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, mutant, scaled, without
from tests.estimators.sets import all_sets, estimate, masses_of, ratio, set_mass
from tests.exactly import exact_moments, exact_variance
from tests.helpers import gradients_by_loop, noise_of, point_of, task_of

NAME = "unordered-set"
OWN = ESTIMATORS[NAME]
BELIEF = {"latent": 3, "batch": 2}
CATEGORIES = {"variables": 2, "categories": 2, "hidden": 4, "batch": 2}
F64 = torch.float64


def with_equal_weights(objective, q, noise):
    """The states of the set as if they were independent samples."""
    z = with_numbers(q, noise)
    f = objective.f(z, q.held())
    weight = (f - f.mean(1, keepdim=True)).detach() / (f.shape[1] - 1)
    return (weight * q.log_prob(z)).sum(1).mean(-1) + f.mean((1, 2))


FACTS = Facts(
    integrated=all_sets,
    without_effect={"set": "numbers of states have no gradient"},
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "sigmoid-belief", 2, "phi", BELIEF),
        Mutant("weight not held", without(OWN, "weight"), "categorical-vae", 2, "theta", CATEGORIES),
        Mutant("log q held", held_too(OWN, "log q"), "sigmoid-belief", 2, "phi", BELIEF),
        Mutant("equal weights", mutant(OWN, with_equal_weights), "tied-bits", 4, "phi", {"logit": -1.0}),
    ),
)


def by_hand(given: Given) -> Estimate:
    """Datapoint by datapoint, the formula of the paper over the set."""
    q = given.q
    assert isinstance(q, Bits)
    dim, batch = q.logits.shape[-1], given.noise.shape[2]
    bits = (np.arange(2**dim)[:, None] >> np.arange(dim)) & 1
    states = np.broadcast_to(bits[None, :, None, :].astype(float), (1, 2**dim, batch, dim))
    f, score = given.at(states).f, q.score(states)[0]
    p = np.prod(np.where(states == 1, q.p, 1 - q.p), -1)
    replicates, samples = given.noise.shape[:2]
    gradient, mass = np.empty((replicates, batch, dim)), np.empty((replicates, samples, batch))
    for r, b in np.ndindex(replicates, batch):
        chosen = tuple(given.noise[r, :, b].astype(int))
        p_b, f_b, score_b = (np.broadcast_to(v, (1, 2**dim, batch, *v.shape[3:]))[0, :, b] for v in (p, f, score))
        gradient[r, b] = estimate(p_b, chosen, f_b, score_b)
        mass[r, :, b] = [p_b[s] * ratio(p_b, chosen, s) for s in chosen]
    z = bits[given.noise.astype(int)].astype(float)
    return Estimate((gradient,), z, mass)


@pytest.mark.parametrize("spot", BERNOULLI, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 6])
def test_the_weights_are_the_leave_one_out_ratios(k):
    """Against the definition, at masses over four orders of magnitude; of all states, too."""
    p = np.array([0.6, 0.3, 0.09, 0.009, 0.0009, 0.0001])
    for chosen in itertools.islice(itertools.combinations(range(6), k), 10):
        rest = 1 - p[list(chosen)].sum() if k < 6 else 0.0
        rest = sum(p[i] for i in range(6) if i not in chosen) if k < 6 else rest
        found = subset_weights(torch.tensor(p[list(chosen)]).log()[None, None], torch.tensor([[rest]], dtype=F64).log())
        own = [p[s] * ratio(p, chosen, s) for s in chosen]
        np.testing.assert_allclose(found.own[0, 0], own, rtol=1e-12)
        assert sum(own) == pytest.approx(1, rel=1e-12)
        if k > 1:
            others = [[p[o] * (1.0 if o == s else ratio(p, chosen, o, (s,))) for o in chosen] for s in chosen]
            np.testing.assert_allclose(found.others[0, 0], others, rtol=1e-12)
            np.testing.assert_allclose(found.others[0, 0].sum(-1), 1, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_the_weights_stay_right_where_masses_underflow(dtype):
    """All of a set's states but one have masses that no number holds."""
    log_p = torch.tensor([[[0.0, -400.0, -800.0, -1200.0]]], dtype=dtype)
    for rest in (-torch.inf, -2000.0):
        found = subset_weights(log_p, torch.tensor([[rest]], dtype=dtype))
        assert torch.isfinite(found.own).all()
        assert torch.isfinite(found.others).all()
        torch.testing.assert_close(found.own.sum(-1), torch.ones(1, 1, dtype=dtype), rtol=1e-4, atol=0)


def test_sets_are_drawn_without_replacement():
    """Frequencies of 40000 ordered draws by Pearson's test at an error rate of 1e-3; the first is a sample of q."""
    from scipy import stats

    q = Bernoulli(logits=torch.tensor([[0.4, -1.0]], dtype=F64)[None, None])
    drawn = unordered_set._draw(q, 40_000, 2, stream(0))
    assert drawn.shape == (40_000, 2, 1)
    p = q.states().all()[1][0, :, 0].numpy()
    pairs = list(itertools.permutations(range(4), 2))
    expected = np.array([p[a] * p[b] / (1 - p[a]) for a, b in pairs])
    found = np.array([int(((drawn[:, 0, 0] == a) & (drawn[:, 1, 0] == b)).sum()) for a, b in pairs])
    assert found.sum() == 40_000
    assert stats.chisquare(found, 40_000 * expected).pvalue > 1e-3
    first = OWN.draws.latents(q, drawn)
    assert torch.equal(first, with_numbers(q, drawn[:, :1]))


def leave_one_out(logit: float, samples: int) -> float:
    """The variance of leave-one-out on three tied bits, as the U-statistic of ½ (f₁ − f₂)(s₁ − s₂) over pairs."""
    bits = (np.arange(8)[:, None] >> np.arange(3)) & 1
    prob = expit(logit)
    p = np.prod(np.where(bits == 1, prob, 1 - prob), 1)
    # which bit of a category belongs to which target moves f about among states of equal mass and score
    f = ((bits - np.array([0.6, 0.51, 0.48])) ** 2).sum(1)
    score = bits.sum(1) - 3 * prob
    kernel = 0.5 * (f[:, None] - f) * (score[:, None] - score)
    mean = p @ kernel @ p
    single, pair = p @ (kernel @ p - mean) ** 2, p @ (kernel - mean) ** 2 @ p
    return 2 / (samples * (samples - 1)) * (2 * (samples - 2) * single + pair)


TIED = [-4.0, 0.0, 1.5]


@pytest.mark.parametrize("logit", TIED)
@pytest.mark.parametrize("samples", [2, 3, 4])
def test_it_is_below_leave_one_out_on_three_tied_bits(logit, samples):
    assert exact_variance(task_of(point_of("tied-bits", logit=logit), NAME, samples)) < leave_one_out(logit, samples)


def test_how_far_below():
    """13 times with two samples at logit −4."""
    own = exact_variance(task_of(point_of("tied-bits", logit=-4.0), NAME, 2))
    assert leave_one_out(-4.0, 2) / own == pytest.approx(13, rel=0.05)


def test_the_variances_of_leave_one_out_by_hand_are_those_of_the_estimator():
    for samples in (2, 3):
        found = exact_variance(task_of(point_of("tied-bits", logit=0.5), "score-function-loo", samples))
        assert leave_one_out(0.5, samples) == pytest.approx(found, rel=1e-9)


@pytest.mark.parametrize("logit", TIED)
def test_all_states_are_the_exact_gradient(logit):
    point = point_of("tied-bits", logit=logit)
    task, exact = task_of(point, NAME, 8), task_of(point, "exact")
    rows = gradients_by_loop(task, noise_of(task, 5), 5)["phi.logit"]
    assert torch.equal(rows, rows[:1].expand_as(rows))
    expected = exact_moments(exact)["phi.logit"][0]
    torch.testing.assert_close(rows, expected.expand(5, 1), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("samples", [1, 2, 3, 5])
def test_its_mean_is_the_exact_gradient_of_several_variables(samples):
    """Sets of joint states."""
    point = point_of("categorical-cost", variables=2, categories=3, power=3.0)
    own = exact_moments(task_of(point, NAME, samples))["phi.logits"][0]
    torch.testing.assert_close(own, exact_moments(task_of(point, "exact"))["phi.logits"][0], rtol=1e-9, atol=1e-12)


def test_one_sample_is_the_score_function():
    point = point_of("tied-bits", logit=-1.0)
    own, score = (exact_variance(task_of(point, name)) for name in (NAME, "score-function"))
    assert own == pytest.approx(score, rel=1e-10)


def test_the_sets_of_the_tests_have_masses_that_add_up():
    task = task_of(point_of("tied-bits", logit=-1.0), NAME, 3)
    weights, noise = all_sets(task)
    assert float(weights.sum()) == pytest.approx(1, rel=1e-12)
    assert len(weights) == 56
    assert set_mass(masses_of(task)[0], (0, 1)) > 0
    assert noise.shape == (56, 3, 1)


def test_it_needs_states_and_no_more_samples_than_there_are():
    refuses(NAME, setting("gaussian-vae"), "finitely many states")
    refuses(NAME, setting("sigmoid-belief", latent=13), "8192 latent states are too many to list")
    refuses(NAME, setting("tied-bits", samples=9), "9 are too many to draw without replacement of 8 states; at most 8")
    refuses(NAME, setting("sigmoid-belief", latent=8, samples=11), "sums over their subsets; at most 10")
    refuses(NAME, setting("sigmoid-belief", layers=2), "one layer")
    accepts(NAME, setting("sigmoid-belief", latent=8, samples=10))
