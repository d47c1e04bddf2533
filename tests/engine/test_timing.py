"""What one gradient costs."""

from __future__ import annotations

import pytest
import torch

from gradbench.engine.timing import cost
from tests.helpers import point_of, task_of

HIDDEN, LATENT, BATCH, SAMPLES, DATA = 7, 3, 5, 2, 64
VAE = {"hidden": HIDDEN, "latent": LATENT, "batch": BATCH}
ENCODER = BATCH * (DATA * HIDDEN + HIDDEN * 2 * LATENT), BATCH * HIDDEN * 2 * LATENT
DECODER = BATCH * SAMPLES * (LATENT * HIDDEN + HIDDEN * DATA), BATCH * SAMPLES * HIDDEN * DATA
"""Products of one pass over a network, and of those beyond its first layer."""


@pytest.mark.parametrize(
    ("estimator", "kl", "through"),
    [
        ("pathwise", "analytic", DECODER[0]),  # back through all of the decoder to z
        ("pathwise", "monte-carlo", DECODER[0]),
        ("score-function", "analytic", DECODER[1]),  # z is held: no further than the first layer's weights
        ("fixed-sample", "analytic", DECODER[1]),
    ],
)
def test_flops_are_those_of_one_forward_and_one_backward_pass(estimator, kl, through):
    forward = ENCODER[0] + DECODER[0]
    weights = ENCODER[0] + DECODER[0]
    inputs = ENCODER[1] + through
    found = cost(task_of(point_of("gaussian-vae", **VAE), estimator, SAMPLES, kl))
    assert found.flops == 2 * (forward + weights + inputs)


def test_the_posterior_is_asked_for_once_in_a_gradient(monkeypatch):
    task = task_of(point_of("gaussian-vae", **VAE), "pathwise", SAMPLES)
    kind, asked = type(task.point.problem), []
    posterior = kind.posterior
    monkeypatch.setattr(kind, "posterior", lambda *given: asked.append(None) or posterior(*given))
    generator = torch.Generator().manual_seed(0)
    task.gradient(task.noise(1, generator))  # once more, for the shape of the noise
    asked.clear()
    task.gradient(task.noise(1, generator))
    assert len(asked) == 1


def test_seconds_lie_in_their_interval_and_bytes_hold_the_activations():
    small, large = (cost(task_of(point_of("gaussian-vae", **VAE | {"batch": b}), "pathwise")) for b in (1, 64))
    for found in (small, large):
        assert 0 < found.low <= found.seconds <= found.high
    element = 8
    assert small.peak_bytes >= element * (DATA + 2 * LATENT)
    assert large.peak_bytes - small.peak_bytes >= element * 63 * (DATA + 2 * LATENT + 2 * HIDDEN)
