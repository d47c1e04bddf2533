from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch

from gradbench.core.errors import MeasurementError
from gradbench.engine import general, options, passes
from gradbench.engine.measure import measure_moments as measure
from gradbench.engine.moments import Moments, groups_of, joined
from gradbench.engine.options import Options
from gradbench.estimators import ESTIMATORS
from tests.helpers import case, exact_reference, gradients_by_loop, point_of, reference_of_point, task_of

LINEAR = case("linear", "linear-gaussian", latent=2, features=3, batch=2)


def same(a: Moments, b: Moments) -> bool:
    """Equal to the bit, NaN included."""
    for field in dataclasses.fields(Moments):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if isinstance(x, dict):
            if set(x) != set(y) or not all(np.array_equal(x[key], y[key], equal_nan=True) for key in x):
                return False
        elif x != y:
            return False
    return True


CASES = (
    case("quadratic", "gaussian-cost", cost="quadratic", k=-3.0, dim=2),
    case("linear-gaussian", "linear-gaussian", latent=2, features=3, batch=2),
    case("gaussian-vae", "gaussian-vae", hidden=3, latent=2, batch=2),
)


@pytest.mark.parametrize("name", ["pathwise", "score-function-loo"])
@pytest.mark.parametrize("one", CASES, ids=lambda one: one.label)
def test_moments_are_their_definitions(name, one):
    """From every replicate's own backward pass."""
    task = task_of(one.point(), name, 2)
    reference = reference_of_point(task.point).gradient  # any direction will do
    blocks, per_block = 3, 5
    found = general.measure_general(task, range(blocks), per_block, reference)
    centre = {
        key: value.double().numpy().ravel() for key, value in general.pilot(task, general.PILOT_REPLICATES).items()
    }
    rows: dict[str, list] = {key: [] for key in task.point.names}
    for block in range(blocks):
        noise = task.noise(per_block, general.block_stream(task, block))
        for key, value in gradients_by_loop(task, noise, per_block).items():
            rows[key].append(value.flatten(1).numpy())
    stacked = {key: np.stack(value) for key, value in rows.items()}
    for group, members in groups_of(task.point.names).items():
        draws = np.concatenate([stacked[key] for key in members], axis=-1)
        about = np.concatenate([centre[key] for key in members])
        exact = np.concatenate([reference[key].numpy().ravel() for key in members])
        away = ((draws - about) ** 2).sum(-1)
        size = (draws**2).sum(-1)
        mean = draws.mean(1)
        close = {"rtol": 1e-9, "atol": 1e-12}
        np.testing.assert_allclose(found.square[group], away.sum(1), **close)
        np.testing.assert_allclose(found.fourth[group], (away**2).sum(1), **close)
        np.testing.assert_allclose(found.shift[group], ((mean - about) ** 2).sum(-1), **close)
        np.testing.assert_allclose(found.size[group], size.sum(1), **close)
        np.testing.assert_allclose(found.within([group])[0], ((draws - mean[:, None]) ** 2).sum((1, 2)), **close)
        if size.min() > 0:
            cosine = (draws @ exact) / np.sqrt(size) / np.linalg.norm(exact)
            np.testing.assert_allclose(found.cosine[group], cosine.mean(1), **close)
    for key, value in stacked.items():
        np.testing.assert_allclose(found.means[key], value.mean(1), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("engine", ["layers", "general"])
@pytest.mark.parametrize("name", ["pathwise", "score-function", "score-function-loo", "score-function-learned"])
@pytest.mark.parametrize("ends", [(0, 60, 100), (0, 1, 3, 33, 100)])
def test_blocks_are_the_same_to_the_bit_however_they_were_spread(name, ends, engine):
    """60 + 40 are 100, control and all: a block does not depend on those that are measured beside it."""
    task = task_of(LINEAR.point().to(torch.float32), name, 2)
    reference = exact_reference(task.point).gradient
    path = Options(engine)
    whole = measure(task, range(100), 20, reference, options=path)
    parts = [measure(task, range(*cut), 20, reference, options=path) for cut in pairwise(ends)]
    assert same(joined(parts), whole)
    assert joined(parts).replicates == 2000


@pytest.mark.parametrize("per_block", [5, 40])
def test_large_models_join_to_the_bit_too(per_block, monkeypatch):
    """Where a pass holds a few blocks, or a part of one."""
    monkeypatch.setitem(options.PASS_BYTES, "cpu", 2**16)
    monkeypatch.setattr(options, "FEW_REPLICATES", 1)
    point = point_of("gaussian-vae", hidden=6, latent=2, batch=3).to(torch.float32)
    with torch.no_grad():  # θ's variance is now so small that some blocks are measured once more, with care
        point.problem.phi.get_parameter("encoder.output.bias")[2:] -= 1.4
    for name in ("score-function", "pathwise"):
        task = task_of(point, name)
        assert passes.plan(task, per_block).together == (4 if per_block == 5 else 1)
        reference = {key: value.detach() for key, value in point.problem.named_parameters().items()}
        whole = measure(task, range(9), per_block, reference)
        parts = [measure(task, range(*cut), per_block, reference) for cut in ((0, 2), (2, 7), (7, 9))]
        assert same(joined(parts), whole)


def test_unequal_blocks_do_not_join():
    task = task_of(LINEAR.point(), "pathwise")
    reference = exact_reference(task.point).gradient
    with pytest.raises(AssertionError, match="unequal size"):
        joined([measure(task, range(1), 4, reference), measure(task, range(1, 2), 8, reference)])


def test_chunks_do_not_matter_but_for_rounding(monkeypatch):
    task = task_of(LINEAR.point(), "score-function-loo", 2)
    reference = exact_reference(task.point).gradient
    whole = general.measure_general(task, range(4), 16, reference)
    monkeypatch.setattr(general, "MAX_CHUNK", 5)
    pieces = general.measure_general(task, range(4), 16, reference)
    for name in ("square", "fourth", "size", "shift"):
        for group, value in getattr(whole, name).items():
            np.testing.assert_allclose(getattr(pieces, name)[group], value, rtol=1e-9, atol=1e-15)


def test_a_variance_far_below_the_squared_mean_is_not_lost():
    """Near the posterior with a thousandth of its spread left: float32 squares would drown it without a centre."""
    point = point_of("linear-gaussian", latent=2, features=4, batch=4, start="near", perturb=1e-4)
    values = {}
    for dtype in (torch.float64, torch.float32):
        task = task_of(point.to(dtype), "sticking-the-landing", 2, "monte-carlo")
        found = general.measure_general(task, range(8), 64, exact_reference(point).gradient)
        values[dtype] = found.within(["phi"]).sum()
    # rounding of float32 in a gradient of size 1 is 1e-7; the variance here is of order 1e-8 · 512
    assert values[torch.float32] == pytest.approx(values[torch.float64], rel=0.2)


def test_ticks_add_up_to_the_replicates():
    task = task_of(LINEAR.point(), "pathwise")
    done = []
    measure(task, range(4), 16, exact_reference(task.point).gradient, done.append)
    assert sum(done) == 64


def test_gradients_that_are_not_finite_are_counted():
    def surrogate(objective, q, noise):
        return torch.where(noise[:, 0, 0, 0] > 0, torch.inf, 1.0) * q.sample(noise).sum((1, 2, 3))

    task = task_of(LINEAR.point(), dataclasses.replace(ESTIMATORS["pathwise"], surrogate=surrogate))
    with pytest.raises(MeasurementError, match=r"\d+ of \d+ replicates"):
        measure(task, range(4), 8, exact_reference(task.point).gradient)


def test_estimators_share_the_noise_of_a_block():
    point = LINEAR.point()
    draws = [
        task_of(point, n, 2).noise(3, general.block_stream(task_of(point, n, 2), 1))
        for n in ("pathwise", "score-function")
    ]
    assert torch.equal(*draws)
