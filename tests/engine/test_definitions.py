"""Every moment of the layers path by its definition, from each replicate's own backward pass, in float64."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from gradbench.engine import general, passes
from gradbench.engine.layers import datapoints
from gradbench.engine.measure import measure_moments as measure
from gradbench.engine.moments import groups_of
from gradbench.engine.options import Options
from gradbench.engine.task import datapoint_noise
from gradbench.problems.networks import Calls
from tests.helpers import point_of, task_of

BLOCKS, PER_BLOCK = 3, 40
POINTS = {
    "pathwise": ("gaussian-vae", {"hidden": 6, "latent": 2, "batch": 3}),
    "score-function": ("gaussian-vae", {"hidden": 6, "latent": 2, "batch": 3}),
    "disarm": ("sigmoid-belief", {"hidden": 5, "latent": 3, "batch": 3, "decoder": "nonlinear"}),
}


def given(name: str, samples: int):
    problem, parameters = POINTS[name]
    return task_of(point_of(problem, **parameters), name, samples)


@cache
def gradients(name: str, samples: int, by_datapoint: bool) -> dict[str, np.ndarray]:
    """Of the minibatch, or of each datapoint's share of it: [blocks, replicates, datapoints or 1, P] by tensor."""
    task = given(name, samples)
    point = task.point
    parts = range(point.x.shape[2]) if by_datapoint else [None]
    rows: dict[str, list] = {name: [] for name in point.names}
    for part in parts:
        only = slice(None) if part is None else slice(part, part + 1)
        alone = type(point)(point.axes, point.problem, point.x[:, :, only])
        here = type(task)(alone, task.estimator, task.parameters, task.samples, task.objective, task.state)
        for block in range(BLOCKS):
            noise = datapoint_noise(task.noise(PER_BLOCK, general.block_stream(task, block)), only)
            values = here.values(noise, Calls(point.problem.phi), Calls(point.problem.theta)) / len(parts)
            for value in values:
                found = torch.autograd.grad(
                    value, list(point.problem.named_parameters().values()), retain_graph=True, allow_unused=True
                )
                for (name, parameter), gradient in zip(point.problem.named_parameters().items(), found, strict=True):
                    rows[name].append((torch.zeros_like(parameter) if gradient is None else gradient).flatten().numpy())
    shape = (len(parts), BLOCKS, PER_BLOCK, -1)
    return {name: np.stack(value).reshape(shape).transpose(1, 2, 0, 3) for name, value in rows.items()}


def distances_of(asked: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """‖ĝ − mean‖² of some of the replicates."""
    return ((asked - draws.mean((0, 1))) ** 2).sum(-1)


@pytest.mark.parametrize("small", [datapoints.SMALL, 0])
@pytest.mark.parametrize("at_once", [10**6, PER_BLOCK + 1, 20, 1])
@pytest.mark.parametrize("variance", ["datapoint", "whole"])
@pytest.mark.parametrize(("name", "samples"), [("pathwise", 1), ("score-function", 2), ("disarm", 2)])
def test_moments_are_their_definitions_however_passes_are_cut(name, samples, variance, at_once, small, monkeypatch):
    monkeypatch.setattr(passes, "replicates_at_once", lambda task: at_once)
    monkeypatch.setattr(datapoints, "SMALL", small)  # 0: one datapoint or piece at a time, as where there is much
    task = given(name, samples)
    torch.manual_seed(0)
    reference = {n: torch.randn_like(v).double() for n, v in task.point.problem.named_parameters().items()}
    found = measure(task, range(BLOCKS), PER_BLOCK, reference, options=Options("layers", variance))
    whole = {key: value[:, :, 0] for key, value in gradients(name, samples, by_datapoint=False).items()}
    shares = gradients(name, samples, by_datapoint=True)
    probes = PER_BLOCK // passes.PROBED
    assert found.probes == probes
    compared = PER_BLOCK // min(3, samples)  # of replicates of three datapoints, one in as many as there are samples
    piece = passes.piece_size(compared, samples, at_once)
    pieces = compared // piece
    for key, value in whole.items():
        np.testing.assert_allclose(np.asarray(found.means[key]), value.mean(1), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(shares[key].sum(2), value, rtol=1e-7, atol=1e-12)
    for group, members in groups_of(task.point.names).items():
        draws = np.concatenate([whole[key] for key in members], -1)
        exact = np.concatenate([reference[key].flatten().numpy() for key in members])
        away = draws - draws.mean(1, keepdims=True)
        if variance == "whole":
            np.testing.assert_allclose(found.within([group])[0], (away**2).sum((1, 2)), rtol=1e-6, atol=1e-12)
        else:
            each = np.concatenate([shares[key] for key in members], -1)[:, : pieces * piece]
            each = each.reshape(BLOCKS, pieces, piece, *each.shape[2:])
            expected = each.var(2, ddof=1).sum((2, 3)).mean(1)
            np.testing.assert_allclose(found.by_datapoint[group], expected, rtol=1e-6, atol=1e-12)
        asked = draws[:, :probes]
        size = (asked**2).sum(-1)
        np.testing.assert_allclose(found.size[group], size.mean(1) * PER_BLOCK, rtol=1e-9)
        cosine = (asked @ exact) / np.sqrt(size) / np.linalg.norm(exact)
        np.testing.assert_allclose(found.cosine[group], cosine.mean(1), rtol=1e-7, atol=1e-10)
        if distances_of(asked, draws).sum() < 1e-20 * size.sum():
            continue
        # the centre is near the mean, not on it: a tenth is far less than a sum for a mean, or another target, makes
        distances = distances_of(asked, draws)
        np.testing.assert_allclose(found.spread[group].sum(), distances.sum(), rtol=0.3)
        expected = (distances**2).mean() / distances.mean() ** 2
        assert found.kurtosis([group])[0] == pytest.approx(expected, rel=0.3)


def test_the_general_path_by_datapoint_is_its_definition_in_several_pieces(monkeypatch):
    monkeypatch.setattr(general, "MAX_CHUNK", 5)
    task = given("pathwise", 1)
    reference = {name: value.detach() for name, value in task.point.problem.named_parameters().items()}
    found = measure(task, range(BLOCKS), PER_BLOCK, reference, options=Options("general", "datapoint"))
    shares, pieces = gradients("pathwise", 1, by_datapoint=True), PER_BLOCK // 5
    for group, members in groups_of(task.point.names).items():
        each = np.concatenate([shares[key] for key in members], -1)[:, : 5 * pieces]
        each = each.reshape(BLOCKS, pieces, 5, 3, -1)
        expected = each.var(2, ddof=1).sum((2, 3)).mean(1)
        np.testing.assert_allclose(found.by_datapoint[group], expected, rtol=1e-6, atol=1e-12)
