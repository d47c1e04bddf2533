"""The layers path against the general path, which forms every gradient, in float64 and on the same noise."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from gradbench.core.errors import MeasurementError
from gradbench.engine import passes
from gradbench.engine.layers import cell, products
from gradbench.engine.layers.factored import Factored
from gradbench.engine.layers.recording import RecordingCalls, deltas
from gradbench.engine.measure import measure_moments as measure
from gradbench.engine.options import Options, parse_bytes
from gradbench.engine.passes import piece_size
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.base import Estimator
from gradbench.estimators.draws import own
from gradbench.objectives.base import average
from gradbench.statistics import summarise
from gradbench.target.reference import Reference
from tests.helpers import F64, point_of, task_of

SMALL = {
    "gaussian-vae": {"hidden": 6, "latent": 2, "batch": 3, "layers": 2},
    "sigmoid-belief": {"hidden": 5, "latent": 3, "batch": 3, "decoder": "nonlinear"},
    "linear-gaussian": {"batch": 3, "features": 4},
}


def both(task, blocks, per_block, variance):
    reference = {n: torch.randn_like(v) for n, v in task.point.problem.named_parameters().items()}
    return [
        measure(task, range(blocks), per_block, reference, options=Options(engine, variance))
        for engine in ("general", "layers")
    ]


def close(found, expected, scale):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9 * scale)


@pytest.mark.parametrize("forming", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_probes_are_their_definitions(forming, shared):
    a, delta = torch.randn(1 if shared else 5, 7, 4, dtype=F64), torch.randn(5, 7, 3, dtype=F64)
    centre, reference = torch.randn(3, 4, dtype=F64), torch.randn(3, 4, dtype=F64)
    gradient = torch.einsum("rni,rno->roi", a.expand(5, 7, 4), delta)
    expected = [((gradient - centre) ** 2).sum((1, 2)), (gradient**2).sum((1, 2)), (gradient * reference).sum((1, 2))]
    torch.testing.assert_close(
        products.probe(a, delta, centre, reference, forming=forming), torch.stack(expected), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("shape", [(4, 1, 3, 2), (4, 1, 300, 300), (2, 300, 2, 2), (4, 5, 200, 200), (4, 9, 3, 3)])
@pytest.mark.parametrize("careful", [True, False])
def test_variances_are_their_definitions_in_every_form(shape, careful):
    replicates, rows, inputs, outputs = shape
    a = torch.randn(3, replicates * rows, inputs, dtype=F64)
    delta = torch.randn(3, replicates * rows, outputs, dtype=F64)
    each = torch.einsum("qsni,qsno->qsoi", a.unflatten(1, (replicates, -1)), delta.unflatten(1, (replicates, -1)))
    bias = delta.unflatten(1, (replicates, -1)).sum(2)
    expected = torch.stack([each.var(1).sum((1, 2)), bias.var(1).sum(1)])
    found, _ = products.variances(a, delta, replicates, careful=careful)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("telling", [passes.TELLING, 1])
def test_both_forms_of_the_variance_have_one_expectation(telling, monkeypatch):
    """Within standard errors, from independent blocks; and the same sums where there is one datapoint."""
    monkeypatch.setattr(passes, "TELLING", telling)
    monkeypatch.setattr(passes, "FEWEST_COMPARED", 4)
    task = task_of(point_of("gaussian-vae", **SMALL["gaussian-vae"]), "pathwise", 2)
    values = {
        form: measure(task, range(64), 16, {n: v.detach() for n, v in task.point.problem.named_parameters().items()},
                      options=Options("layers", form))
        for form in ("whole", "datapoint")
    }  # fmt: skip
    for group in values["whole"].square:
        whole = values["whole"].within([group])[0] / 15
        apart = values["datapoint"].by_datapoint[group]
        error = (whole - apart).std(ddof=1) / 8
        assert abs(whole.mean() - apart.mean()) < 4.5 * error + 1e-12 * whole.mean()
    most = 0.9 if telling == 1 else 1.7  # all replicates tell more by datapoint; one in three hardly less
    assert values["datapoint"].by_datapoint["all"].std() < most * (values["whole"].within(["all"])[0] / 15).std()
    alone = task_of(point_of("gaussian-vae", **{**SMALL["gaussian-vae"], "batch": 1}), "pathwise", 2)
    reference = {n: v.detach() for n, v in alone.point.problem.named_parameters().items()}
    whole, apart = (
        measure(alone, range(4), 16, reference, options=Options("layers", f)) for f in ("whole", "datapoint")
    )
    np.testing.assert_allclose(whole.within(["all"])[0] / 15, apart.by_datapoint["all"], rtol=1e-9)


@pytest.mark.parametrize("variance", ["whole", "datapoint"])
@pytest.mark.parametrize("samples", [1, 2])
def test_a_variance_far_below_the_squared_mean_survives_float32(samples, variance):
    """θ is measured where q is narrow: the noise moves the decoder's gradient by a few thousandths of itself."""
    point = point_of("gaussian-vae", **SMALL["gaussian-vae"])
    with torch.no_grad():
        point.problem.phi.get_parameter("encoder.output.bias")[2:] -= 6.0
    reference = {n: v.detach() for n, v in point.problem.named_parameters().items()}
    exact, found = (
        measure(
            task_of(point.to(dtype), "pathwise", samples),
            range(8),
            32,
            {n: v.to(dtype) for n, v in reference.items()},
            options=Options("layers", variance),
        )
        for dtype in (F64, torch.float32)
    )
    ratios = []
    for group in exact.square:
        a, b = ((m.by_datapoint or {g: m.within([g])[0] / 31 for g in m.square})[group].mean() for m in (exact, found))
        ratios.append(a / (exact.size[group].mean() / 32))
        # float32 draws other numbers: compare where they have the same distribution, to the error of 8 × 32 replicates
        assert 0.6 < b / a < 1.6, group
    assert min(ratios) < 1e-4


@pytest.mark.parametrize("form", ["gram", "summed"])
def test_the_guard_is_needed_and_enough(form):
    """Deviations of 3e-3 of the mean: float32 sums of squares are off by more than 1 %, the careful ones are not."""
    torch.manual_seed(0)
    size = (300, 200) if form == "gram" else (8, 8)
    a = (1 + 2e-3 * torch.randn(4, 32, size[0], dtype=F64)).float()
    delta = (1 + 2e-3 * torch.randn(4, 32, size[1], dtype=F64)).float()
    exact, _ = products.variances(a.double(), delta.double(), 32, careful=True)
    found, _ = products.variances(a, delta, 32, careful=True)
    rough, square = products.variances(a, delta, 32, careful=False)
    torch.testing.assert_close(found[0], exact[0], rtol=1e-3, atol=0)
    assert (rough[0] < cell.CANCELLED * square[0]).all(), "the guard sees it"


def test_a_held_call_is_not_recorded_and_two_calls_are_one_layer():
    point = point_of("gaussian-vae", **SMALL["gaussian-vae"])
    x = torch.rand(4, 2, 3, 2, dtype=F64)
    calls = RecordingCalls(point.problem.theta, "theta.", 4)
    calls.held().call("decoder", x)
    assert calls.sites == []
    first, second = calls.call("decoder", x), calls.call("decoder", 2 * x)
    values = first.sum((1, 2, 3)) + second.square().sum((1, 2, 3))
    expected = torch.autograd.grad(
        values[1], point.problem.theta.get_submodule("decoder.output").weight, retain_graph=True
    )
    linear, _ = deltas(values.sum(), (calls,))
    found = {one.name: products.formed(one.inputs.flatten(1, 2), one.delta.flatten(1, 2)) for one in linear}
    torch.testing.assert_close(found["theta.decoder.output"][1], expected[0])


def inner(*, through: bool) -> Estimator:
    def surrogate(objective, q, noise):
        z = q.sample(noise).detach().requires_grad_()
        f = objective.f(z, q.held())
        (slope,) = torch.autograd.grad(f.sum(), z, create_graph=through)
        return average(objective.f(q.sample(noise), q) + (slope * (z - q.parameters["loc"])).sum(-1))

    return Estimator("inner", "-", surrogate, ledger=(), paper="-", uses=frozenset({"reparameterised"}))


def test_inner_differentiation_does_not_leak():
    """A surrogate that differentiates inside itself (MuProp) is measured by its value alone."""
    task = task_of(point_of("gaussian-vae", **SMALL["gaussian-vae"]), inner(through=False), 2)
    general, found = both(task, 2, 6, "whole")
    for group in general.square:
        close(found.within([group])[0], general.within([group])[0], general.size[group].max())


def test_differentiation_through_an_inner_gradient_is_noticed():
    """There weights have a part that is in no output of their layers: the general path must see to it."""
    task = task_of(point_of("gaussian-vae", **SMALL["gaussian-vae"]), inner(through=True), 2)
    reference = {n: v.detach() for n, v in task.point.problem.named_parameters().items()}
    assert measure(task, range(2), 4, reference).engine == "general"
    with pytest.raises(MeasurementError, match="used outside"):
        measure(task, range(2), 4, reference, options=Options("layers"))


class Mixing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 64, dtype=F64)

    def forward(self, z):
        return self.inner(z - z.mean(0))


class Reaching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 64, dtype=F64)

    def forward(self, z):
        return self.inner(z) + nn.functional.linear(z, self.inner.weight)


class Odd(nn.Module):
    """A parameter that belongs to no linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 64, dtype=F64)
        self.scale = nn.Parameter(torch.ones(64, dtype=F64))

    def forward(self, z):
        return self.inner(z) * self.scale


class Tied(nn.Module):
    """Two layers of one weight: its gradient is in neither of them alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2, dtype=F64)
        self.second = nn.Linear(2, 2, dtype=F64)
        self.second.weight = self.first.weight
        self.last = nn.Linear(2, 64, dtype=F64)

    def forward(self, z):
        return self.last(self.second(torch.tanh(self.first(z))))


class Repeated(nn.Module):
    """One layer under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2, dtype=F64)
        self.second = self.first
        self.last = nn.Linear(2, 64, dtype=F64)

    def forward(self, z):
        return self.last(self.second(torch.tanh(self.first(z))))


@pytest.mark.parametrize("decoder", [Odd, Mixing, Reaching, Tied, Repeated])
def test_anything_else_takes_the_general_path_and_says_so(decoder):
    point = point_of("gaussian-vae", **SMALL["gaussian-vae"])
    point.problem.theta = nn.ModuleDict({"decoder": decoder()})
    task = task_of(type(point)(point.axes, point.problem, point.x), "pathwise")
    reference = {n: v.detach() for n, v in task.point.problem.named_parameters().items()}
    assert measure(task, range(2), 4, reference).engine == "general"
    with pytest.raises(MeasurementError, match=r"engine = 'layers'.*decoder"):
        measure(task, range(2), 4, reference, options=Options("layers"))


def noise_in_common(q, replicates, samples, generator):
    return q.noise(replicates, samples, generator)[:, :, :1]


@pytest.mark.parametrize("common", ["noise", "latents"])
def test_datapoints_with_noise_in_common_are_not_told_apart(common, monkeypatch):
    estimator = ESTIMATORS["pathwise"]
    if common == "noise":
        estimator = dataclasses.replace(estimator, draws=own(noise_in_common))
    task = task_of(point_of("gaussian-vae", **SMALL["gaussian-vae"]), estimator)
    if common == "latents":
        monkeypatch.setattr(type(task.point.problem), "independent_datapoints", False)
    reference = {n: v.detach() for n, v in task.point.problem.named_parameters().items()}
    assert not measure(task, range(2), 4, reference).by_datapoint
    with pytest.raises(MeasurementError, match=r"datapoint.*use 'auto' or 'whole'"):
        measure(task, range(2), 4, reference, options=Options(variance="datapoint"))


def test_a_spilled_bank_changes_nothing():
    task = task_of(point_of("gaussian-vae", **SMALL["gaussian-vae"]), "pathwise")
    reference = {n: v.detach() for n, v in task.point.problem.named_parameters().items()}
    one, two = (measure(task, range(4), 8, reference, options=Options(memory=m)) for m in (2**30, 1))
    for name in one.means:
        np.testing.assert_array_equal(one.means[name], two.means[name])
    np.testing.assert_array_equal(one.by_datapoint["all"], two.by_datapoint["all"])


def test_a_piece_leaves_little_out():
    many = 4096
    assert piece_size(32, 1, many) == 32
    assert piece_size(4, 64, many) == 4
    assert [piece_size(32, 1, at_once) for at_once in (1, 4, 8, 32)] == [4, 4, 8, 32]
    for per_block in range(2, 100):
        s = piece_size(per_block, 1, many)
        assert per_block // s * (s - 1) >= per_block * 0.45


def test_bytes_with_units():
    assert parse_bytes("2GiB") == 2**31
    for text in ("2XB", "", "-1GB", "GB", "0"):
        with pytest.raises(ValueError, match="bytes"):
            parse_bytes(text)


@pytest.mark.parametrize("variance", ["whole", "datapoint"])
def test_figures_from_factors_are_those_from_gradients(variance):
    """An encoder of many inputs at a small minibatch: its block means are kept as factors, and nothing else differs."""
    point = point_of("gaussian-vae", hidden=6, latent=2, batch=3)
    task = task_of(point, "pathwise")
    reference = Reference("closed-form", {n: torch.randn_like(v) for n, v in point.problem.named_parameters().items()})
    found = measure(task, range(8), 8, reference.gradient, options=Options("layers", variance))
    kept = {name for name, value in found.means.items() if isinstance(value, Factored)}
    assert kept == {"phi.encoder.hidden1.weight"}
    formed = dataclasses.replace(found, means={name: np.asarray(value) for name, value in found.means.items()})
    one, two = (summarise(moments, reference, 2e-16) for moments in (found, formed))
    for group, figures in one.items():
        for name, value in figures.columns().items():
            other = getattr(two[group], name)
            same = (
                value == other
                if value is None or isinstance(value, str)
                else value == pytest.approx(other, rel=1e-7, abs=1e-300)
            )
            assert same, (group, name)


@pytest.mark.parametrize("variance", ["datapoint", "whole"])
def test_parameters_that_no_gradient_reaches_have_gradient_zero(monkeypatch, variance):
    """φ has no part in a cost at samples that are held fixed; room for its means is not zeroed beforehand."""
    monkeypatch.setattr(np, "empty", lambda shape, dtype=float: np.full(shape, np.nan, dtype))
    task = task_of(point_of("gaussian-cost", dim=3), "fixed-sample")
    reference = {name: torch.ones_like(value) for name, value in task.point.problem.named_parameters().items()}
    found = measure(task, range(4), 8, reference, options=Options(engine="layers", variance=variance))
    assert all(not np.asarray(value).any() for value in found.means.values())
    assert not found.size["all"].any()
    assert not found.within(["all"]).any()
