"""What every registered estimator owes to the engine: each declaration is held to a measurement.

The trials are a covering design (`tests.cases`): every estimator meets every place that it can work at, every objective
with each treatment of its KL on every kind of latents, and each of these with every L.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from gradbench.checking.verdict import check_estimator
from gradbench.core.errors import MeasurementError
from gradbench.core.types import hold
from gradbench.engine import passes
from gradbench.engine.general import replicate_gradients
from gradbench.engine.layers import layer_norms
from gradbench.engine.measure import measure_moments as measure
from gradbench.engine.options import Options
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.base import Estimator
from gradbench.estimators.draws import SAMPLES, own
from gradbench.objectives.base import average
from gradbench.problems import PROBLEMS
from gradbench.statistics import block_variances
from tests.cases import Trial
from tests.covering import cover
from tests.estimators.facts import facts_of
from tests.estimators.trials import ALL, DESIGN, REPLICATES, draws, each_part, parts, redrawn, values_of
from tests.helpers import noise_of, point_of, task_of


@ALL
def test_a_surrogate_is_one_value_per_replicate(trial):
    task = trial.task()
    assert values_of(task, noise_of(task, REPLICATES)).shape == (REPLICATES,)


@ALL
def test_noise_has_a_replicate_axis_first_and_comes_from_its_generator(trial):
    task = trial.task()
    before = torch.get_rng_state()
    one, same, other = (noise_of(task, REPLICATES, seed) for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    for a, b, c in zip(parts(one), parts(same), parts(other), strict=True):
        assert a.shape[0] == REPLICATES
        assert torch.equal(a, b)
        assert a.numel() == 0 or not torch.equal(a, c)
        assert not a.requires_grad
    assert any(part.numel() for part in parts(one)) == draws(trial)


@ALL
def test_replicates_do_not_mix(trial):
    task = trial.task()
    noise = noise_of(task, REPLICATES)
    first, gradients = values_of(task, noise), replicate_gradients(task, noise, REPLICATES)
    if not draws(trial):
        assert torch.equal(first, first[:1].expand(REPLICATES))
        for value in gradients.values():  # the last bits of a product depend on what else is in it, on some processors
            rounding = 4 * torch.finfo(value.dtype).eps * float(value.abs().max())
            assert float((value - value[:1]).abs().max()) <= rounding
        return
    other = redrawn(noise, noise_of(task, REPLICATES, 1), (0,))
    assert torch.equal(values_of(task, other)[1:], first[1:])
    for name, value in replicate_gradients(task, other, REPLICATES).items():
        assert torch.equal(value[1:], gradients[name][1:]), name
    order = torch.tensor([3, 1, 4, 0, 2])
    turned = each_part(noise, lambda part: part[order])
    torch.testing.assert_close(values_of(task, turned), first[order], rtol=1e-12, atol=0)
    for name, value in replicate_gradients(task, turned, REPLICATES).items():
        scale = float(gradients[name].abs().max())
        torch.testing.assert_close(value, gradients[name][order], rtol=0, atol=1e-12 * scale)


@ALL
def test_nothing_hidden_is_drawn(trial):
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        task = trial.made()
        noise = noise_of(task, REPLICATES)
        found.append((values_of(task, noise), task.gradient(noise)))
        assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(found[0][0], found[1][0])
    assert all(torch.equal(value, found[1][1][name]) for name, value in found[0][1].items())


class Counted(torch.autograd.Function):
    """z as it is; each gradient in it that is taken of what follows adds its latents per datapoint to ``taken``."""

    @staticmethod
    def forward(ctx, z, taken):
        ctx.taken = taken
        return z.view_as(z)

    @staticmethod
    def backward(ctx, *gradients):
        ctx.taken.append(gradients[0].shape[1])
        return gradients[0], None


@ALL
def test_the_declared_evaluations_are_those_made(trial, monkeypatch):
    """Latents per datapoint that the likelihood, or the cost, and its gradients are evaluated at; by hand, and counted.

    Gradients are those that the surrogate takes itself, in z; the backward pass through it comes after.
    """
    task = trial.task()
    cost = task.estimator.cost(trial.setting)
    assert cost.total == facts_of(trial.estimator).evaluations(trial.setting)
    problem = task.point.problem
    name = "cost" if problem.objective == "cost" else "log_likelihood"
    original, made, taken = getattr(problem, name), [], []

    def counted(*arguments):
        made.append(arguments[-1].shape[1])
        return original(*arguments[:-1], Counted.apply(arguments[-1], taken))

    monkeypatch.setattr(problem, name, counted)
    values_of(task, noise_of(task, 1))
    assert sum(made) == cost.forward
    assert sum(taken) == cost.gradients


# Datapoints


def interaction(task: Task) -> float:
    """How far the draws of two datapoints are from acting on the gradient one by one, relative to their action.

    Where no draw reaches the gradient, or antithetic ones cancel in it, it is 0 up to rounding.
    """
    noise, other = noise_of(task, REPLICATES), noise_of(task, REPLICATES, 1)
    every = slice(None)
    both = [
        replicate_gradients(task, one, REPLICATES)
        for one in (noise, *(redrawn(noise, other, (every, every, which)) for which in (0, 1, slice(0, 2))))
    ]
    neither, first, second, together = (torch.cat([g.flatten() for g in found.values()]) for found in both)
    action = max(float((one - neither).norm()) for one in (first, second))
    size = max(action, 1e-6 * float(neither.norm()))
    return float((together - first - second + neither).norm()) / size if size else 0.0


def has_pairs(trial: Trial) -> bool:
    """Whether two datapoints have draws of their own."""
    return trial.place.batch == 2 and draws(trial) and PROBLEMS[trial.place.problem].independent_datapoints


IN_PAIRS = [trial for trials in DESIGN.values() for trial in trials if has_pairs(trial)]


@pytest.mark.parametrize("trial", IN_PAIRS, ids=str)
def test_datapoints_mix_only_where_that_is_declared(trial):
    task = trial.task()
    assert (interaction(task) > 1e-9) == task.estimator.mixes_datapoints


def baseline_over_the_batch(objective, q, noise):
    z = hold(q.sample(noise), "z")
    f = objective.f(z, hold(q, "q in f"))
    return average(hold(f - f.mean(2, keepdim=True), "weight") * q.log_prob(z))


def antithetic_datapoints(q, replicates, samples, generator):
    noise = q.noise(replicates, samples, generator)
    noise[:, :, 1] = -noise[:, :, 0]
    return noise


MIXING = [
    replace(ESTIMATORS["score-function"], name="batch baseline", surrogate=baseline_over_the_batch, ledger=()),
    replace(ESTIMATORS["pathwise"], name="antithetic datapoints", draws=own(antithetic_datapoints)),
]


def two_datapoints(estimator: Estimator) -> Task:
    return task_of(point_of("gaussian-vae", hidden=3, latent=2, batch=2), estimator, 2)


def test_a_baseline_over_the_batch_is_seen_to_mix_datapoints():
    assert interaction(two_datapoints(MIXING[0])) > 1e-3


def forms(task: Task) -> tuple[float, float]:
    """The variance by datapoint less that of the whole gradient, and the standard error of the difference.

    Of the same replicates: all of them are compared.
    """
    reference = {name: value.detach() for name, value in task.point.problem.named_parameters().items()}
    with patch.object(passes, "TELLING", 1):
        apart, whole = (
            block_variances(measure(task, range(128), 16, reference, options=Options(variance=form)))["all"]
            for form in ("datapoint", "whole")
        )
    difference = (apart - whole) / whole.mean()
    return float(difference.mean()), float(difference.std(ddof=1) / math.sqrt(len(difference)))


def by_latents(trial: Trial) -> set[tuple[str, str]]:
    return {(trial.estimator, trial.place.latents)}


@pytest.mark.parametrize("trial", cover(IN_PAIRS, by_latents), ids=str)
def test_the_variance_by_datapoint_is_that_of_the_whole_gradient(trial):
    """What an undeclared mixing would make wrong; 4.5 standard errors: 7e-6 for each."""
    task = trial.task()
    if not task.estimator.mixes_datapoints:
        difference, error = forms(task)
        assert abs(difference) <= 4.5 * error + 1e-9
        assert error < 0.1


@pytest.mark.parametrize("estimator", MIXING, ids=lambda estimator: estimator.name)
def test_mixing_that_is_not_declared_is_caught_and_would_have_been_wrong(estimator, monkeypatch):
    task = two_datapoints(estimator)
    if estimator.name == "batch baseline":  # which one pass shows; of the noise, `check` looks at the draws
        with pytest.raises(MeasurementError, match="changes with another's noise"):
            forms(task)
    monkeypatch.setattr(layer_norms, "check_apart", lambda task: None)
    difference, error = forms(task)
    assert abs(difference) > 5 * error
    result = check_estimator(estimator, problems=["linear-gaussian"])
    assert [found.kind for found in result.violations] == ["mixes datapoints"]
    declared = replace(estimator, mixes_datapoints=True)
    assert not check_estimator(declared, problems=["linear-gaussian"], replicates=2048).violations
    task = two_datapoints(declared)
    reference = {name: value.detach() for name, value in task.point.problem.named_parameters().items()}
    assert not measure(task, range(4), 8, reference).by_datapoint
    with pytest.raises(MeasurementError, match="mixes datapoints"):
        measure(task, range(4), 8, reference, options=Options(variance="datapoint"))


def test_standard_noise_is_shared_by_the_estimators_that_draw_it():
    """Estimators are compared on the same draws wherever they draw the same shape."""
    found: dict[object, list[Tensor]] = {}
    for trials in DESIGN.values():
        for trial in trials:
            if ESTIMATORS[trial.estimator].draws is SAMPLES:
                found.setdefault((trial.place, trial.samples), []).append(
                    torch.cat([part.flatten() for part in parts(noise_of(trial.task(), 3))])
                )
    assert sum(len(drawn) > 1 for drawn in found.values()) > 10
    for drawn in found.values():
        assert all(torch.equal(a, b) for a, b in itertools.pairwise(drawn))
