"""ARM."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gradbench.engine.general import replicate_gradients
from gradbench.estimators import ESTIMATORS
from tests.estimators import measured
from tests.estimators.asking import refuses, setting
from tests.estimators.by_hand import BERNOULLI, Bits, Estimate, Given
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, mutant, scaled, without
from tests.exactly import exact_variance
from tests.families.test_bernoulli import noise_nodes
from tests.helpers import point_of, task_of

OWN = ESTIMATORS["arm"]
BITS = {"prob": 0.1, "dim": 2}
BELIEF = {"latent": 4, "batch": 2}


def other_uniform(objective, q, noise):
    """u − ½ in place of ½ − u."""
    return OWN.surrogate(objective, q, 1 - noise)


def with_its_own_score(objective, q, noise):
    """The weights of the partner's uniforms beside the first one's bits."""
    turned = OWN.surrogate(objective, q, noise.roll(1, 1))
    return OWN.surrogate(objective, q, noise) / 2 + turned / 4


FACTS = Facts(
    without_effect={"b": "a comparison has no gradient"},
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "bernoulli-cost", 2, "phi", BITS),
        Mutant("three quarters of it", mutant(OWN, with_its_own_score), "bernoulli-cost", 2, "phi", BITS),
        Mutant("weight not held", without(OWN, "weight"), "sigmoid-belief", 2, "theta", BELIEF),
        Mutant("logits held", held_too(OWN, "logits"), "sigmoid-belief", 2, "phi", BELIEF),
    ),
)


def by_hand(given: Given) -> Estimate:
    """(f(b̃) − f(b)) (u − ½), averaged over pairs; θ sees both."""
    assert isinstance(given.q, Bits)
    one, two = given.q.sample(given.noise), given.q.sample(1 - given.noise)
    difference = (given.at(two).f - given.at(one).f)[..., None]
    return Estimate(((difference * (given.noise - 0.5)).mean(1),), np.concatenate([one, two], axis=1))


@pytest.mark.parametrize("spot", BERNOULLI, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check("arm", by_hand)


@pytest.mark.parametrize(
    ("target", "prob", "variance"),
    [(0.45, 0.5, 2.08333e-4), (0.45, 0.1, 3.25667e-4), (0.499, 0.5, 8.3333e-8)],
)
def test_the_published_variances_on_one_bit(target, prob, variance):
    """Of one pair, to the digits that are printed."""
    task = task_of(point_of("bernoulli-cost", target=target, prob=prob), "arm", 2)
    assert exact_variance(task, count=32) == pytest.approx(variance, rel=1e-5)


@pytest.mark.parametrize(("problem", "parameters"), [
    *(("bernoulli-cost", {"prob": prob, "dim": dim, "target": 0.2}) for prob in (0.02, 0.5, 0.9) for dim in (1, 2)),
    ("sigmoid-belief", {"latent": 2, "batch": 1}),
])  # fmt: skip
def test_disarm_is_never_the_noisier_one(problem, parameters):
    point = point_of(problem, **parameters)
    arm, disarm = (exact_variance(task_of(point, name, 2), count=32) for name in ("arm", "disarm"))
    assert disarm <= arm * (1 - 1e-6)


@pytest.mark.parametrize(("name", "variance"), [("arm", 22.3233), ("disarm", 17.2087)])
def test_the_variances_on_a_trained_sigmoid_belief_network(name, variance):
    """One pair of eight bits at each of four datapoints, by enumeration of the 3⁸ pairs, two uniforms in each piece.

    The trace has each coordinate's square alone, in which one uniform enters: all may lie on the same side of the
    middles of their pieces.
    """
    task = task_of(point_of("sigmoid-belief", latent=8, batch=4, train_steps=200), name, 2)
    total = 0.0
    for datapoint in range(4):
        one = task.datapoints(slice(datapoint, datapoint + 1))
        mass, middle = noise_nodes(one.held_q, 8)
        p = one.held_q.parameters["logits"].sigmoid()
        edges = torch.stack([torch.zeros_like(p), torch.minimum(p, 1 - p), torch.maximum(p, 1 - p), torch.ones_like(p)])
        wide = edges.diff(dim=0)[:, 0]
        piece = torch.stack([middle > torch.minimum(p, 1 - p), middle > torch.maximum(p, 1 - p)]).sum(0)
        away = wide[:, 0, 0].gather(0, piece[0, :, 0]) / (2 * math.sqrt(3))
        u = torch.cat([middle[0, :, 0] - away, middle[0, :, 0] + away])[:, None, None]
        weights = mass[0, :, 0].repeat(2) / 2
        for key, rows in replicate_gradients(one, u, len(u)).items():
            if key.startswith("phi."):
                centre = weights @ rows.flatten(1)
                total += float(weights @ (rows.flatten(1) - centre).square().sum(1)) / 16
    assert total == pytest.approx(variance, rel=1e-5)


def test_it_needs_one_layer_of_bits_in_pairs():
    refuses("arm", setting("sigmoid-belief", layers=2), "is for one layer of latents; sigmoid-belief has 2")
    refuses("arm", setting("gaussian-vae"), "needs bernoulli latents; gaussian-vae has gaussian")
    refuses("arm", setting("sigmoid-belief", samples=1), "samples = 1 is odd")


@pytest.mark.slow
def test_it_is_an_average_of_independent_terms(tmp_path):
    measured.averages(tmp_path / "run", "arm", {"problem": "bernoulli-cost", "prob": 0.1})
