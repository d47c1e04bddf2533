"""Models as users write them: every path that takes one gives what a plain loop of torch.autograd.grad gives."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import pytest
import torch

from gradbench.core.errors import MeasurementError
from gradbench.engine import general, loop
from gradbench.engine.layers import apart, layer_norms
from gradbench.engine.loop import SlowWarning
from gradbench.engine.measure import measure_moments as measure
from gradbench.engine.options import Options
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.problems.networks import Calls
from gradbench.target.points import Point
from tests.helpers import objective_of, reference_of_point, with_kl
from tests.models.base import Model, point_of
from tests.models.legitimate import (
    LEGITIMATE,
    AttendsOverTheBatch,
    CentredByHand,
    FrozenWeight,
    LaplacePosterior,
    MixturePrior,
    OwnBits,
    RecurrentDecoder,
    Standardised,
    TupleOut,
)

BLOCKS, PER_BLOCK = 3, 4
"""Blocks so small that all replicates of one are compared with one another in the form by datapoint."""
IDS = [kind.name for kind in LEGITIMATE]


def task_at(point: Point, samples: int, kl: str) -> Task:
    return Task(point, ESTIMATORS["pathwise"], {}, samples, with_kl(objective_of(point), point, kl), together=4)


def plain(task: Task) -> np.ndarray:
    """Each datapoint's part of each replicate's gradient, [blocks, replicates, B, P]: one backward pass for each."""
    problem: Any = task.point.problem
    parameters = list(problem.named_parameters().values())
    rows = []
    for block in range(BLOCKS):
        for noise in task.noise(PER_BLOCK, general.block_stream(task, block)):
            terms = problem.plain_terms(task.point.x[0, 0], noise, task.kl)
            for term in terms:
                found = torch.autograd.grad(term / len(terms), parameters, retain_graph=True, allow_unused=True)
                each = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]
                rows.append(torch.cat([value.flatten() for value in each]).numpy())
    return np.stack(rows).reshape(BLOCKS, PER_BLOCK, len(terms), -1)


def means_of(moments) -> np.ndarray:
    return np.concatenate([np.asarray(value) for value in moments.means.values()], 1)


def measured(task: Task, **options: Any):
    reference = {name: torch.ones_like(value) for name, value in task.point.problem.named_parameters().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SlowWarning)
        return measure(task, range(BLOCKS), PER_BLOCK, reference, options=Options(**options))


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("kind", LEGITIMATE, ids=IDS)
def test_every_path_gives_what_a_plain_loop_gives(kind: type[Model], samples: int, monkeypatch) -> None:
    point = point_of(kind, monkeypatch)
    for kl in kind.measured_kls:
        task = task_at(point, samples, kl)
        parts = plain(task)
        gradients = parts.sum(2)
        within = gradients.var(1, ddof=1).sum(-1)
        scale = np.abs(gradients).max()
        for engine in ("auto", "layers", "general"):
            if engine not in kind.paths | {"auto"}:
                with pytest.raises(MeasurementError, match=f"engine = '{engine}'.*use 'auto'"):
                    measured(task, engine=engine, variance="whole")
                continue
            moments = measured(task, engine=engine, variance="whole")
            assert moments.engine == (engine if engine != "auto" else max(kind.paths, default="loop"))
            np.testing.assert_allclose(means_of(moments), gradients.mean(1), rtol=0, atol=1e-10 * scale)
            np.testing.assert_allclose(moments.within(["all"])[0] / (PER_BLOCK - 1), within, rtol=1e-9)


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("kind", LEGITIMATE, ids=IDS)
def test_datapoints_are_told_apart_rightly_or_not_at_all(kind: type[Model], samples: int, monkeypatch) -> None:
    point = point_of(kind, monkeypatch)
    for kl in kind.measured_kls:
        task = task_at(point, samples, kl)
        parts = plain(task)
        added_up = parts.var(1, ddof=1).sum((-1, -2))
        for engine in sorted(kind.paths | {"auto"}):
            moments = measured(task, engine=engine)
            if moments.by_datapoint:
                assert kind.apart
                np.testing.assert_allclose(moments.by_datapoint["all"], added_up, rtol=1e-9)
            else:
                assert not kind.apart or moments.engine != "layers"
            if kind.apart:
                demanded = measured(task, engine=engine, variance="datapoint")
                np.testing.assert_allclose(demanded.by_datapoint["all"], added_up, rtol=1e-9)
            elif kind.name != "squeezed-prior" or engine == "layers":
                with pytest.raises(MeasurementError, match=r"variance = 'datapoint'.*use 'auto' or 'whole'"):
                    measured(task, engine=engine, variance="datapoint")


def test_adding_up_mixed_datapoints_would_be_wrong(monkeypatch) -> None:
    """What is refused: the parts by rows of a network that mixes them do not have the variance of the gradient."""

    task = task_at(point_of(Standardised, monkeypatch), 1, "analytic")
    whole = measured(task, variance="whole")
    monkeypatch.setattr(layer_norms, "check_apart", lambda task: None)
    added_up = measured(task).by_datapoint["all"]
    assert added_up.sum() > 2 * whole.within(["all"])[0].sum() / (PER_BLOCK - 1)


def test_the_loop_says_so_and_why(monkeypatch) -> None:
    task = task_at(point_of(RecurrentDecoder, monkeypatch), 1, "analytic")
    reference = {name: torch.ones_like(value) for name, value in task.point.problem.named_parameters().items()}
    with pytest.warns(SlowWarning, match=r"recurrent-decoder.*one replicate at a time.*decoder cannot be run for all"):
        moments = measure(task, range(2), 4, reference)
    assert moments.engine == "loop"


def test_the_loop_gives_what_the_other_paths_give(monkeypatch) -> None:
    """A model that all three can take, on the same noise."""
    task = task_at(point_of(Model, monkeypatch), 2, "monte-carlo")
    reference = {name: torch.ones_like(value) for name, value in task.point.problem.named_parameters().items()}
    one_by_one = loop.loop_gradients
    looped = general.measure_general(task, range(4), PER_BLOCK, reference, by_datapoint=True, path=one_by_one)
    together = general.measure_general(task, range(4), PER_BLOCK, reference, by_datapoint=True)
    assert (looped.engine, together.engine) == ("loop", "general")
    np.testing.assert_allclose(means_of(looped), means_of(together), rtol=0, atol=1e-12)
    for field in ("square", "fourth", "size", "cosine", "by_datapoint"):
        for group, value in getattr(together, field).items():
            np.testing.assert_allclose(getattr(looped, field)[group], value, rtol=1e-9)


@pytest.mark.parametrize("batch", [2, 3, 5, 8, 33])
def test_of_any_two_datapoints_some_set_moves_the_first_alone(batch) -> None:
    sets = apart.subsets(batch)
    for first, second in itertools.permutations(range(batch), 2):
        assert bool((sets[:, first] & ~sets[:, second]).any())


@pytest.mark.parametrize("kind", [Standardised, AttendsOverTheBatch, CentredByHand])
def test_mixing_is_seen_in_single_precision_too(kind, monkeypatch) -> None:
    task = task_at(point_of(kind, monkeypatch, torch.float32), 1, "analytic")
    assert not measured(task).by_datapoint
    assert measured(task_at(point_of(Model, monkeypatch, torch.float32), 1, "analytic")).by_datapoint


@pytest.mark.parametrize("kind", [MixturePrior, FrozenWeight, TupleOut, LaplacePosterior, RecurrentDecoder, OwnBits])
def test_training_ascends_the_objective(kind, monkeypatch) -> None:
    """With whatever KL and law the problem has, and without touching what is frozen."""

    def elbo(steps: int) -> float:
        point = point_of(kind, monkeypatch, train_steps=steps)
        problem = point.problem
        q = problem.posterior(Calls(problem.phi), point.x)
        generator = torch.Generator().manual_seed(0)
        return float(
            with_kl(objective_of(point), point, "monte-carlo")
            .at(problem, Calls(problem.theta), point.x)
            .f(q.sample(q.noise(1, 512, generator)), q)
            .mean()
        )

    assert elbo(60) > elbo(0) + 0.1
    frozen = [point_of(FrozenWeight, monkeypatch, train_steps=steps).problem.phi["encoder"][0] for steps in (0, 20)]
    assert torch.equal(frozen[0].weight, frozen[1].weight)
    assert not torch.equal(frozen[0].bias, frozen[1].bias)


def test_a_law_of_ones_own_has_a_reference_of_its_own(monkeypatch) -> None:
    """Laplace by the shortest way from Gaussian: against the integral over its own density."""
    point = point_of(LaplacePosterior, monkeypatch)
    found = reference_of_point(point, 512, 32)
    assert found.kind == "monte-carlo"
    exact = integrated(point)
    assert found.blocks is not None
    for name, value in exact.items():
        blocks = found.blocks[name].double()
        error = float((blocks - blocks.mean(0)).square().sum() / (32 * 31)) ** 0.5
        # the distance of a mean of 32 blocks from the truth is about its standard error, whatever the dimension
        assert float((found.gradient[name] - value).norm()) < 3 * error + 1e-9, name


def integrated(point: Point) -> dict[str, torch.Tensor]:
    """The exact gradient of the ELBO by the midpoint rule in the probability of each coordinate, halves apart."""
    problem: Any = point.problem
    count = 200
    edges = torch.linspace(-30, 30, 2 * count + 1, dtype=torch.float64) ** 3 / 900
    middle = (edges[1:] + edges[:-1]) / 2
    mass = torch.distributions.Laplace(0.0, 1.0).cdf(edges).diff().double()
    noise = torch.cartesian_prod(middle, middle)
    weight = torch.cartesian_prod(mass, mass).prod(-1)
    x = point.x[0, 0]
    loc, log_scale = problem.plain_q(x)
    total = -problem.plain_kl(loc, log_scale.exp()).sum()
    for row in range(len(x)):
        z = loc[row] + log_scale[row].exp() * noise
        logits = problem.plain_logits(z)
        total = total + (weight * torch.distributions.Bernoulli(logits=logits).log_prob(x[row]).sum(-1)).sum()
    parameters = problem.named_parameters()
    found = torch.autograd.grad(total / len(x), list(parameters.values()))
    return dict(zip(parameters, found, strict=True))
