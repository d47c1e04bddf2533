"""Likelihoods that are known from another estimator change no bit of a figure, and are taken only where they hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from gradbench.engine import passes
from gradbench.engine.general import block_stream
from gradbench.engine.layers import cell, layer_norms, recalling
from gradbench.engine.layers.likelihoods import Known, Likelihoods, OfParameter
from gradbench.engine.measure import measure_moments as measure
from gradbench.engine.moments import Moments
from gradbench.engine.options import Options
from gradbench.engine.task import Task
from gradbench.target.points import Point
from tests.helpers import point_of, task_of

BLOCKS, PER_BLOCK = range(4), 16


def same(one: Moments, other: Moments) -> bool:
    """Whether two moments agree in every bit."""
    return bool(np.array_equal(numbers(one), numbers(other)))


def numbers(value: object) -> np.ndarray:
    """All numbers in moments, in one row."""
    if isinstance(value, Moments):
        value = vars(value)
    if isinstance(value, dict):
        return np.concatenate([np.empty(0), *(numbers(part) for part in value.values())])
    return np.empty(0) if isinstance(value, str | frozenset) else np.asarray(value, dtype=float).ravel()


def moments(task: Task, likelihoods: Likelihoods | None = None) -> Moments:
    """Moments beside a made-up reference, which all tasks at a point have in common."""
    generator = torch.Generator().manual_seed(1)
    shapes = {name: value.shape for name, value in task.point.problem.named_parameters().items()}
    reference = {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}
    return measure(task, BLOCKS, PER_BLOCK, reference, likelihoods=likelihoods)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each pass that something was known of, whether it held."""
    found: list[bool] = []
    original = recalling.Recall.known

    def known(self: recalling.Recall) -> Known | None:
        try:
            result = original(self)
        except recalling.UnlikeError:
            found.append(False)
            raise
        if result is not None:
            found.append(True)
        return result

    monkeypatch.setattr(recalling.Recall, "known", known)
    return found


def gaussian(dtype: torch.dtype = torch.float32) -> Point:
    return point_of("gaussian-vae", data="digits", batch=4, hidden=16, latent=3, dtype=dtype)


def bits() -> Point:
    return point_of("sigmoid-belief", data="digits", batch=4, latent=5, decoder="nonlinear", dtype=torch.float32)


ORDERS = [
    (gaussian, "analytic", ["pathwise", "score-function", "score-function-loo", "pathwise"]),
    (gaussian, "monte-carlo", ["sticking-the-landing", "score-function", "score-function-ema"]),
    (bits, "analytic", ["score-function", "score-function-loo", "score-function-learned", "disarm", "arms"]),
    (bits, "monte-carlo", ["double-cv", "score-function-loo", "rebar", "fixed-sample"]),
    (bits, None, ["vimco-arithmetic", "vimco-geometric", "iwae-score", "ovis-mc"]),
]


@pytest.mark.parametrize(("made", "kl", "names"), ORDERS)
def test_no_figure_depends_on_what_is_known(made, kl, names, taken):
    likelihoods, point = Likelihoods(), made()
    for name in names:
        task = task_of(point, name, 4, kl)
        assert same(moments(task, likelihoods), moments(task)), name
    assert True in taken, "the likelihood of the first is known to another"


def test_a_known_likelihood_is_not_evaluated(monkeypatch):
    point, likelihoods = gaussian(), Likelihoods()
    moments(task_of(point, "pathwise", 2), likelihoods)
    rows = []
    original = type(point.problem).log_likelihood

    def counted(self, theta, x, z):
        rows.append(z.shape[0])
        return original(self, theta, x, z)

    monkeypatch.setattr(type(point.problem), "log_likelihood", counted)
    task = task_of(point, "score-function", 2)
    task = replace(task, estimator=replace(task.estimator, scored=False))  # else the fit of its control evaluates f
    moments(task, likelihoods)
    assert max(rows, default=0) < PER_BLOCK, "but for trying whether datapoints can be told apart"
    rows.clear()
    moments(task)
    assert max(rows) >= PER_BLOCK


def test_another_gradient_of_the_same_values_is_measured_anew(taken, monkeypatch):
    point, likelihoods = gaussian(), Likelihoods()
    task = task_of(point, "score-function", 2)

    def doubled(objective, q, noise):
        return 2 * task.estimator.surrogate(objective, q, noise)

    other = replace(task, estimator=replace(task.estimator, surrogate=doubled))
    alone = moments(other)
    moments(task, likelihoods)
    assert same(moments(other, likelihoods), alone)
    assert taken == [False], "once: the rest of the cell asks no more"
    monkeypatch.setattr(recalling, "_same", lambda one, other: True)
    assert not same(moments(other, likelihoods), alone), "it is the gradient in the values that tells them apart"


def test_a_likelihood_that_is_taken_twice_is_measured_anew(taken):
    point, likelihoods = gaussian(), Likelihoods()
    task = task_of(point, "score-function", 2)

    def twice(objective, q, noise):
        return task.estimator.surrogate(objective, q, noise) + objective.f(q.sample(noise), q).mean((1, 2))

    other = replace(task, estimator=replace(task.estimator, surrogate=twice))
    moments(task, likelihoods)
    assert same(moments(other, likelihoods), moments(other))
    assert True not in taken
    fresh = Likelihoods()
    moments(other, fresh)
    assert not fresh.known or not any(fresh.known.values()), "nor is it kept"


def test_a_free_use_of_a_layer_that_is_known_is_seen(taken, monkeypatch):
    """What a layer told is but a part where it is used as a free parameter, too: a case for the general path."""
    point, likelihoods = gaussian(), Likelihoods()
    task = task_of(point, "score-function", 2)

    def freely(objective, q, noise):
        return (
            task.estimator.surrogate(objective, q, noise) + objective.theta.free("decoder.output.bias").sum(-1)[:, 0, 0]
        )

    other = replace(task, estimator=replace(task.estimator, surrogate=freely))
    monkeypatch.setattr(layer_norms, "check_apart", lambda task: None)  # as of a minibatch of one, it sees nothing
    alone = moments(other)
    assert alone.engine == "general"
    moments(task, likelihoods)
    assert same(moments(other, likelihoods), alone)
    assert True not in taken


def test_what_must_be_taken_carefully_is_measured_anew(monkeypatch, taken):
    """Where the variance in φ is lost to rounding, the probes in θ are made with care as well."""
    point, likelihoods = gaussian(), Likelihoods()
    moments(task_of(point, "pathwise", 2), likelihoods)
    monkeypatch.setattr(cell, "_lost", lambda found: list(range(len(found))))
    task = task_of(point, "score-function", 2)
    alone = moments(task)
    assert same(moments(task, likelihoods), alone)
    assert taken == [True], "what was known held, until care was needed"


def test_layers_that_do_something_else_as_well_are_not_kept(monkeypatch):
    point, likelihoods = gaussian(), Likelihoods()

    def f(self, z, q):
        return self.theta.of(self.problem.log_likelihood, self.data, z) + self.problem.log_likelihood(
            self.theta, self.data, 0.5 * z
        )

    task = task_of(point, "score-function", 2)
    monkeypatch.setattr(task.objective.kind, "f", f)
    moments(task, likelihoods)
    assert not any(likelihoods.known.values())


def test_free_parameters_in_the_likelihood_are_not_kept(monkeypatch):
    point, likelihoods = gaussian(), Likelihoods()
    point.problem.theta.scale = nn.Parameter(torch.ones(()))
    original = type(point.problem).log_likelihood

    def scaled(self, theta, x, z):
        return theta.free("scale") * original(self, theta, x, z)

    monkeypatch.setattr(type(point.problem), "log_likelihood", scaled)
    pathwise, score = (task_of(point, name, 2) for name in ("pathwise", "score-function"))
    moments(pathwise, likelihoods)
    assert not any(likelihoods.known.values())
    assert same(moments(score, likelihoods), moments(score))


def test_other_samples_and_other_data_are_not_known():
    point, likelihoods = gaussian(), Likelihoods()
    moments(task_of(point, "pathwise", 2), likelihoods)
    ((plan, own),) = likelihoods.known.items()
    place, known = next(iter(own.items()))
    moved = known.z.clone()
    moved[-1, -1, -1, -1] += 1e-6
    turned = {name: -value for name, value in known.reference.items()}
    assert likelihoods.find(plan, place, known.x, known.z, known.reference) is known
    assert likelihoods.find(plan, place, known.x, moved, known.reference) is None
    assert likelihoods.find(plan, place, 1 - known.x, known.z, known.reference) is None
    assert likelihoods.find(plan, place, known.x, known.z, turned) is None
    assert likelihoods.find(plan, (place[0] + 1, *place[1:]), known.x, known.z, known.reference) is None


def entry(numbers: int) -> Known:
    value = torch.zeros(numbers)
    told = OfParameter(torch.zeros(0), torch.zeros(0), torch.zeros(0))
    return Known(value, value, torch.zeros(0), torch.zeros(0), frozenset(), {"theta.w": told}, {}, {}, None)


def test_what_is_known_takes_no_more_room_than_it_may():
    likelihoods = Likelihoods(most=1000)
    kept = [likelihoods.keep("old", (block, 0, 1), entry(100)) for block in range(4)]  # 400 bytes each
    assert kept == [True, True, False, False], "a plan makes no room for itself: its first passes are asked first"
    assert likelihoods.keep("new", (0, 0, 1), entry(100))
    assert list(likelihoods.known) == ["new"], "the plan that was not asked for lately made room"
    assert likelihoods.size == 400
    assert not likelihoods.keep("large", (0, 0, 1), entry(10_000))


@pytest.mark.parametrize("made", [gaussian, bits])
def test_whole_minibatches_are_not_known(made):
    """The variance of whole minibatches is looked at block by block, over all parameters together."""
    point, likelihoods = made(), Likelihoods()
    reference = {key: torch.zeros_like(value) for key, value in point.problem.named_parameters().items()}
    task, options = task_of(point, "score-function", 2), Options(variance="whole")
    measure(task, BLOCKS, PER_BLOCK, reference, options=options, likelihoods=likelihoods)
    assert not likelihoods.known


@pytest.fixture
def in_parts(monkeypatch):
    """Blocks of 16 replicates that take three passes each, the last of them a short one."""
    monkeypatch.setattr(passes, "replicates_at_once", lambda task: 7)


@pytest.mark.parametrize("kl", ["analytic", "monte-carlo"])
def test_blocks_in_several_passes_are_known_part_by_part(in_parts, taken, kl):
    likelihoods, point = Likelihoods(), gaussian()
    for name in ("pathwise", "score-function", "score-function-loo"):
        task = task_of(point, name, 2, kl)
        assert same(moments(task, likelihoods), moments(task)), name
    places = {place for own in likelihoods.known.values() for place in own}
    assert len(places) > len(BLOCKS)
    assert taken.count(True) >= 2 * len(BLOCKS)
    assert False not in taken


def test_a_part_is_known_only_where_those_before_it_are(in_parts, taken):
    """What a part told counts in what came before it in its block."""
    likelihoods, point = Likelihoods(), gaussian()
    task = task_of(point, "score-function", 2)

    def moved(objective, q, noise):
        if noise.shape[0] > 1 and torch.equal(noise[0], first):  # the first part of the first block
            noise = noise.clone()
            noise[0] += 1
        return task.estimator.surrogate(objective, q, noise)

    stream = block_stream(task, 0)
    first = task.noise(PER_BLOCK, stream)[0]
    other = replace(task, estimator=replace(task.estimator, surrogate=moved))
    alone = moments(other)
    assert not same(alone, moments(task))
    moments(task, likelihoods)
    assert same(moments(other, likelihoods), alone)
    assert taken, "the other blocks are known"


def test_another_centre_is_another_measurement(in_parts, taken, monkeypatch):
    likelihoods, point = Likelihoods(), gaussian()
    moments(task_of(point, "pathwise", 2), likelihoods)
    original = cell.pilot
    monkeypatch.setattr(cell, "pilot", lambda *given: {name: value + 1 for name, value in original(*given).items()})
    task = task_of(point, "score-function", 2)
    assert same(moments(task, likelihoods), moments(task))
    assert taken == [True], "the samples were known, and the distances were not"
