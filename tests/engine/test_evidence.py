"""Importance weights have the evidence as their mean, whatever q is: what that gives the test of bias."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from gradbench.core.seeding import stream
from gradbench.engine import control
from gradbench.engine.evidence import BENT, BENT_LITTLE, Evidence
from gradbench.engine.measure import measure_moments as measure
from gradbench.engine.task import Task
from gradbench.objectives import OBJECTIVES
from gradbench.objectives.chosen import ChosenObjective
from gradbench.problems import PROBLEMS
from gradbench.statistics import summarise
from gradbench.target.reference import compute
from tests.exactly import integrated
from tests.helpers import noise_in_phi, point_of, task_of

EPS = float(np.finfo(np.float64).eps)
NEAR = {"dim": 1, "perturb": 0.3}
TOY = {"dim": 20, "perturb": 0.01}


def evidence_of(task: Task) -> Evidence | None:
    return Evidence.of(task, task.noise(256, stream(0)), 64)


def under(task: Task, name: str, **parameters: object) -> Task:
    """The same of another bound."""
    chosen = ChosenObjective(name, task.kl, OBJECTIVES[name].Parameters(**parameters))
    return dataclasses.replace(task, objective=chosen)


TASKS = {
    "one sample": lambda: task_of(point_of("rainforth", **NEAR), "iwae-pathwise", 1),
    "two": lambda: task_of(point_of("rainforth", **NEAR), "iwae-pathwise", 2),
    "three of one variable": lambda: task_of(
        point_of("linear-gaussian", latent=1, features=3, batch=1), "iwae-pathwise", 3
    ),
    "groups": lambda: under(task_of(point_of("rainforth", **NEAR), "iwae-pathwise", 4), "miwae", groups=2),
    "powers": lambda: under(task_of(point_of("rainforth", **NEAR), "vr-iwae-rep", 2), "vr-iwae", alpha=0.4),
}


@pytest.mark.parametrize("bent_at", [BENT, BENT_LITTLE, 1e30])
@pytest.mark.parametrize("which", TASKS)
def test_every_feature_has_mean_zero_exactly(which, bent_at):
    task = TASKS[which]()
    evidence = evidence_of(task)
    assert evidence is not None
    evidence.bent_at.fill_(bent_at)
    weights, noise = integrated(task, 32)
    terms = evidence.terms(noise)
    for name in terms.moved:
        found = evidence.features(name, terms)
        assert len(found) == min(task.samples, 2)
        for one in found:
            flat = one.flatten(1)
            size = float((weights[:, None] * flat.abs()).sum())
            assert size > 0
            # 32 nodes for what is bent, and of tuples of four draws some are left out
            assert float((weights @ flat).abs().max()) <= 1e-6 * size, name


@pytest.mark.parametrize(("samples", "times"), [(16, 30), (64, 300)])
def test_it_leaves_little_noise_of_a_bound_near_its_optimum(samples, times):
    """Of L samples the noise is 1/√L and what is left 1/L^(3/2), while the score alone leaves half of it."""
    task = task_of(point_of("rainforth", **TOY), "iwae-pathwise", samples)
    nothing = {key: torch.zeros_like(value) for key, value in task.point.problem.named_parameters().items()}
    plain, adjusted = noise_in_phi(measure(task, range(32), 32, nothing))
    assert adjusted < plain / times


def test_it_leaves_a_bias_in_place():
    """Half the estimator: the bias is ‖g‖/2 with the control as without."""
    task = task_of(point_of("rainforth", dim=1, perturb=0.05), "iwae-pathwise", 2)
    original = task.estimator.surrogate
    halved = dataclasses.replace(task.estimator, surrogate=lambda *given: 0.5 * original(*given))
    task = dataclasses.replace(task, estimator=halved)
    found = control.control_for(task)
    assert isinstance(found, control.Regressed)
    assert found.features.evidence is not None
    reference = compute(task.point, task.objective, task.samples, 64, 8)
    assert reference.exact
    one = summarise(measure(task, range(32), 256, reference.gradient), reference, EPS)["phi"]
    assert abs(one.bias_sq - one.gradient_norm**2 / 4) < 4 * one.bias_sq_se
    assert one.bias_low < one.gradient_norm / 2 < one.bias_high


def test_it_is_asked_for_only_where_weights_are_known_to_have_it(monkeypatch):
    """A plugin's density may jump, another objective's f be no weight; bits have no path, and Gamma's is implicit."""
    task = task_of(point_of("rainforth", **NEAR), "iwae-pathwise", 2)
    assert evidence_of(task) is not None
    for registry, thing in ((PROBLEMS, type(task.point.problem)), (OBJECTIVES, task.objective.kind)):
        with monkeypatch.context() as patch:
            patch.setattr(type(registry), "is_own", lambda self, kind, thing=thing: kind is not thing)
            assert evidence_of(task) is None
    assert evidence_of(task_of(point_of("rainforth", **NEAR), "pathwise", 2, "monte-carlo")) is None
    assert evidence_of(task_of(point_of("rainforth", **NEAR), "vimco-arithmetic", 2)) is None
    assert evidence_of(task_of(point_of("sigmoid-belief"), "iwae-score", 2)) is None
    assert evidence_of(task_of(point_of("gamma-poisson"), "iwae-pathwise", 2)) is None


def test_weights_are_bent_the_more_the_heavier_they_are():
    """Of a q with six tenths of the right spread the fourth power of weights has no mean."""
    task = task_of(point_of("rainforth", **NEAR), "iwae-pathwise", 16)
    q = task.held_q
    for scale, kappa in ((1.0, BENT_LITTLE), (0.6, BENT)):
        narrow = type(q)(loc=q.parameters["loc"], scale=scale * q.parameters["scale"])
        object.__setattr__(task, "held_q", narrow)
        found = evidence_of(task)
        assert found is not None
        assert float(found.bent_at) == kappa
        assert float(found.terms(task.noise(256, stream(1))).apart.max()) < kappa - 1


def test_heavy_weights_leave_less_noise_too():
    """On a trained VAE: with weights as they are, not bent, there would be several times the noise there is without."""
    point = point_of("gaussian-vae", hidden=32, latent=2, batch=8, train_steps=500, data="digits")
    task = task_of(point, "iwae-pathwise", 8)
    nothing = {key: torch.zeros_like(value) for key, value in task.point.problem.named_parameters().items()}
    plain, adjusted = noise_in_phi(measure(task, range(32), 512, nothing))
    assert adjusted < plain / 5


def test_it_is_left_alone_where_it_helps_little():
    """It costs another evaluation, for which less than half of the noise that scores leave is too little."""
    task = task_of(point_of("gaussian-vae", latent=2, batch=4), "iwae-stl", 2)
    assert evidence_of(task) is not None
    found = control.control_for(task)
    assert isinstance(found, control.Regressed)
    assert found.features.evidence is None


def test_it_is_left_alone_where_it_adds_noise_to_other_draws():
    """On a trained VAE at L = 2, a first look of 32 replicates takes it for a help, and half of the pilot does not."""
    point = point_of("gaussian-vae", hidden=32, latent=2, batch=8, train_steps=500, data="digits")
    found = control.control_for(task_of(point, "iwae-pathwise", 2))
    assert isinstance(found, control.Regressed)
    assert found.features.evidence is None
    assert all(len(value) == found.features.of_scores for value in found.coefficients.values())
