"""Layers of latents through all engine paths: moments, control, certainty, minibatches of their own."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from gradbench.core.errors import MeasurementError
from gradbench.core.seeding import stream
from gradbench.engine import control, general, loop
from gradbench.engine.certainty import certain
from gradbench.engine.layers import layer_norms, recorded
from gradbench.engine.layers.trust import MixesDatapointsError
from gradbench.engine.measure import measure_moments as measure
from gradbench.engine.minibatches import fitted
from gradbench.engine.minibatches import measure_minibatches as measure_minibatches
from gradbench.engine.options import Options
from gradbench.engine.task import slice_noise
from gradbench.estimators import ESTIMATORS
from gradbench.families.gaussian import Gaussian
from gradbench.families.layered import Layered
from gradbench.objectives.chosen import ChosenObjective
from gradbench.problems.base import duplicate
from gradbench.problems.hierarchical_vae import HierarchicalVae
from gradbench.target.reference import compute
from gradbench.target.whole_data import check_rows_apart
from tests.layered import point_of, suited, task_of

POINTS = {
    "gaussians": ("hierarchical-vae", {"hidden": 3, "latent1": 2, "latent2": 3, "batch": 3}),
    "bits": ("sigmoid-belief", {"latent": 2, "stochastic_layers": 2, "batch": 3}),
    "three layers": (
        "sigmoid-belief",
        {"latent": 2, "stochastic_layers": 3, "batch": 3, "decoder": "nonlinear", "hidden": 3},
    ),
}


def point(label, away=0.3):
    problem, parameters = POINTS[label]
    return point_of(problem, away, **parameters)


def every():
    for label in POINTS:
        for objective in ("elbo", "iwae"):
            for name in suited(point(label), 2, objective):
                yield pytest.param(label, name, objective, id=f"{label}-{name}")


@pytest.mark.parametrize(("label", "name", "objective"), list(every()))
def test_all_paths_find_the_gradients_of_single_replicates(label, name, objective):
    task = task_of(point(label), name, 2, objective)
    noise = task.noise(4, stream(0, "test noise"))
    each = [task.gradient(slice_noise(noise, slice(r, r + 1))) for r in range(4)]
    for path in (loop.loop_gradients, general.together_gradients, recorded.layer_gradients):
        found = path(task, noise, 4)
        for key in task.point.names:
            expected = torch.stack([one[key].flatten() for one in each])
            torch.testing.assert_close(found[key].detach(), expected.detach(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("variance", ["whole", "datapoint"])
@pytest.mark.parametrize(("label", "name", "objective"), list(every()))
def test_both_engines_measure_the_same_moments(label, name, objective, variance):
    task = task_of(point(label), name, 2, objective)
    if name == "exact" and variance == "datapoint":
        pytest.skip("draws nothing")
    direction = {key: torch.randn_like(value) for key, value in task.point.problem.named_parameters().items()}
    per_block = 1 if name == "exact" else 8
    plain, read = (
        measure(task, range(3), per_block, direction, options=Options(engine, variance))
        for engine in ("general", "layers")
    )
    assert (plain.engine, read.engine) == ("general", "layers")
    for key, means in plain.means.items():
        np.testing.assert_allclose(read.means[key], means, rtol=1e-6, atol=1e-9 * (1 + np.abs(means).max()))
    for group in plain.square:
        close = {"rtol": 1e-6, "atol": 1e-9 * plain.size[group].max()}
        if variance == "datapoint":
            np.testing.assert_allclose(read.by_datapoint[group], plain.by_datapoint[group], **close)
            assert plain.by_datapoint[group].min() > 0 or group.startswith("theta.prior.logits")
        else:
            np.testing.assert_allclose(read.within([group])[0], plain.within([group])[0], **close)


class Mixing(HierarchicalVae):
    """z_2 of a datapoint depends on z_1 of all."""

    def posterior(self, phi, x):
        def second(calls, z1):
            loc, log_scale = calls.call("encoder2", z1 + z1.mean(2, keepdim=True)).chunk(2, dim=-1)
            return Gaussian(loc=loc, scale=log_scale.exp())

        return Layered(phi, super().posterior(phi, x).layers[0], second)


def test_a_deeper_layer_that_mixes_datapoints_is_found():
    own = point("gaussians")
    problem = duplicate(own.problem)
    problem.__class__ = Mixing
    task = task_of(dataclasses.replace(own, problem=problem), "pathwise", 1)
    with pytest.raises(MixesDatapointsError):
        layer_norms.check_apart(task)
    with pytest.raises(MeasurementError, match="mixes the rows"):
        measure(task, range(2), 4, dict(problem.named_parameters()), options=Options("general", "datapoint"))
    layer_norms.check_apart(task_of(own, "pathwise", 1))


@pytest.mark.parametrize("label", list(POINTS))
def test_the_control_of_bias_is_the_score_of_all_layers(label):
    """Its mean is 0 in every number of φ, to 5 standard errors (seeded), and it leaves far less noise."""
    task = task_of(point(label, away=0.0), "score-function", 2)
    found = control.control_for(task)
    assert found is not None
    reference = compute(task.point, ChosenObjective("elbo", "monte-carlo"), 2, 1024, 32)
    moments = measure(task, range(32), 64, reference.gradient)
    assert set(moments.adjusted) == {name for name in task.point.names if name.startswith("phi.")}
    for name, value in moments.adjusted.items():
        plain, adjusted = np.asarray(moments.means[name]), np.asarray(value)
        assert adjusted.var(0).sum() < 0.5 * plain.var(0).sum()
        away = plain - adjusted
        error = away.std(0, ddof=1) / len(away) ** 0.5
        assert (np.abs(away.mean(0)) <= 5 * error + 1e-12).all()


def test_nothing_but_what_no_draw_reaches_is_certain():
    assert certain(task_of(point("gaussians"), "pathwise", 2)) == frozenset()
    exact = task_of(point("bits"), "exact", 2)
    assert certain(exact) == frozenset(exact.point.names)


@pytest.mark.parametrize("name", ["pathwise", "score-function-learned"])
def test_blocks_may_have_minibatches_of_their_own(name):
    own = point_of("hierarchical-vae", away=0.1, hidden=3, latent1=1, latent2=1, batch=2)
    check_rows_apart(own, ChosenObjective("elbo", "monte-carlo"))
    task = fitted(dataclasses.replace(task_of(own, "pathwise", 2), estimator=ESTIMATORS[name], parameters=FIT[name]))
    direction = {key: torch.randn_like(value) for key, value in own.problem.named_parameters().items()}
    moments = measure_minibatches(task, range(3), 4, direction)
    assert moments.minibatches
    for block in range(3):
        here = dataclasses.replace(task, point=own.minibatch(block))
        alone = here.gradient(here.noise(4, general.block_stream(here, block)))
        for key, value in alone.items():
            np.testing.assert_allclose(moments.means[key][block], value.flatten(), rtol=1e-9, atol=1e-11)


FIT = {"pathwise": {}, "score-function-learned": {"fit_steps": 5, "hidden": 4, "learning_rate": 0.01}}


def test_datapoints_that_a_deeper_layer_mixes_have_no_gradient_over_the_data():
    own = point_of("hierarchical-vae", away=0.1, hidden=3, latent1=1, latent2=1, batch=2)
    own.problem.__class__ = Mixing
    with pytest.raises(MeasurementError, match="the terms of a datapoint depend on the rest of its minibatch"):
        check_rows_apart(own, ChosenObjective("elbo", "monte-carlo"))
