"""The pathwise estimator on scrambled Sobol' points."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from gradbench.core.errors import MeasurementError
from gradbench.core.types import Noise
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.draws import SAMPLES, own
from gradbench.estimators.parts import sobol
from gradbench.estimators.parts.sobol import scrambled
from tests.estimators import measured
from tests.estimators.asking import accepts, refuses, setting
from tests.estimators.by_hand import GAUSSIAN
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, scaled
from tests.estimators.parts.test_sobol import places
from tests.estimators.pathwise.test_pathwise import by_hand
from tests.exactly import integrated, tuples
from tests.helpers import noise_of, ok_rows, point_of, task_of
from tests.models.base import point_of as own_point
from tests.models.legitimate import LaplacePosterior

NAME = "pathwise-qmc"
OWN = ESTIMATORS[NAME]
LINEAR = {"latent": 2, "features": 3, "batch": 2}


def of_one_sample(task: Task) -> Task:
    """The same with one sample of q: each point has its law, and the estimate is a mean over the points."""
    return replace(task, estimator=replace(task.estimator, draws=SAMPLES), samples=1)


def one_for_all(task: Task) -> tuple[Tensor, Noise]:
    """One sample in the place of all L."""
    weights, noise = integrated(of_one_sample(task))
    if isinstance(noise, Tensor):
        return weights, noise.expand(-1, task.samples, *noise.shape[2:])
    return weights, {name: part.expand(-1, task.samples, *part.shape[2:]) for name, part in noise.items()}


def without_a_shift(q, replicates, count, generator):
    """Points whose digits are multiplied, but not shifted: the first one is 0."""
    batch = next(iter(q.parameters.values())).shape[2]
    points = (scrambled((replicates, count, batch, q.event.numel()), generator) * 2**sobol.BITS).long()
    return q.from_uniforms(((points ^ points[:, :1]).double() + 0.5) / 2**sobol.BITS)


FACTS = Facts(
    integrated=one_for_all,
    tuples=lambda task: tuples(of_one_sample(task)),
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "linear-gaussian", 2, "phi", LINEAR),
        Mutant("z held", held_too(OWN, "z"), "linear-gaussian", 2, "phi", LINEAR),
        Mutant(
            "points not shifted",
            replace(OWN, name="unshifted", draws=own(without_a_shift)),
            "linear-gaussian",
            2,
            "phi",
            LINEAR,
        ),
    ),
)


@pytest.mark.parametrize("spot", GAUSSIAN, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    """The pathwise formula at whatever noise is drawn."""
    spot.check(NAME, by_hand)


def test_noise_has_the_precision_of_the_parameters():
    for dtype in (torch.float32, torch.float64):
        task = task_of(point_of("gaussian-vae", hidden=3, batch=2, dtype=dtype), NAME, 3)
        noise = noise_of(task, 4)
        assert isinstance(noise, Tensor)
        assert noise.dtype == dtype
        assert noise.shape == (4, 3, 2, 2)


def test_layers_share_the_points():
    """Noise of both layers from one net over all their dimensions."""
    task = task_of(point_of("hierarchical-vae", hidden=3, latent1=1, latent2=1, batch=2), NAME, 16)
    noise = noise_of(task, 5)
    assert isinstance(noise, dict)
    uniforms = torch.special.ndtr(torch.cat([noise["0"], noise["1"]], -1))
    every = np.broadcast_to(np.arange(16)[None, :, None], (5, 16, 2))
    for first in range(5):
        np.testing.assert_array_equal(np.sort(places(uniforms, first, 4 - first), axis=1), every)


def test_a_subclass_that_changes_the_noise_says_its_own_noise_of_uniforms(monkeypatch):
    task = task_of(own_point(LaplacePosterior, monkeypatch), NAME, 2, "monte-carlo")
    with pytest.raises(MeasurementError, match="Laplace has no from_uniforms of its own"):
        noise_of(task, 2)


def test_more_latents_than_there_are_directions_for_are_refused():
    at = replace(setting("gaussian-cost"), latent_dim=sobol.MOST_DIMENSIONS + 1)
    refuses(NAME, at, "Sobol' points have at most 21201 dimensions, not the 21202 latents here")
    accepts(NAME, replace(at, latent_dim=sobol.MOST_DIMENSIONS))


@pytest.mark.slow
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_its_variance_falls_faster_than_that_of_independent_samples(tmp_path, dim):
    """Slopes of log variance in log L, of which −1.3 is left behind by 4 standard errors: 3e-5."""
    grid = {"problem": "gaussian-cost", "cost": "cos", "k": 1, "dim": dim, "samples": [4, 16, 64], "estimators": [NAME]}
    rows = ok_rows(tmp_path / "run", grid, replicates=1024)
    found, error = measured.slope(rows[rows.group == "phi"])
    assert found + 4 * error < -1.3
