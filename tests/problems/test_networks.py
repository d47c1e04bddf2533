import pytest
import torch
from torch import nn

from gradbench.core.seeding import stream
from gradbench.engine.general import replicate_gradients
from gradbench.estimators import ESTIMATORS
from gradbench.problems.base import Free
from gradbench.problems.networks import Calls, PerReplicateCalls, gradients_of
from tests.cases import few
from tests.helpers import gradients_by_loop, noise_of

F64 = torch.float64


def module() -> nn.ModuleDict:
    layer = nn.Linear(3, 2, dtype=F64)
    layer.weight.data = torch.arange(6, dtype=F64).reshape(2, 3)
    layer.bias.data = torch.tensor([1.0, -1.0], dtype=F64)
    return nn.ModuleDict({"layer": layer, "free": Free(value=torch.tensor([2.0, 3.0], dtype=F64))})


def test_calls_restore_the_axes_that_modules_do_not_see():
    x = torch.randn(4, 3, 2, 3, dtype=F64, generator=stream(0))
    calls, one = Calls(module()), module()["layer"]
    output = calls.call("layer", x)
    assert output.shape == (4, 3, 2, 2)
    assert torch.allclose(output[1, 2, 0], one(x[1, 2, 0]), rtol=1e-14)
    assert calls.free("free.value").shape == (1, 1, 1, 2)


def test_inputs_are_broadcast_against_each_other():
    class Add(nn.Module):
        def forward(self, a, b):
            return a + b

    a, b = torch.ones(4, 1, 2, 3), torch.ones(1, 5, 1, 3)
    assert Calls(nn.ModuleDict({"add": Add()})).call("add", a, b).shape == (4, 5, 2, 3)


def test_held_calls_hold_parameters_and_not_inputs():
    net = module()
    x = torch.ones(1, 1, 1, 3, dtype=F64, requires_grad=True)
    held = Calls(net).held()
    value = held.call("layer", x).sum() + held.free("free.value").sum()
    assert torch.allclose(value, Calls(net).call("layer", x).sum() + 5)
    (into_x,) = torch.autograd.grad(value, x, retain_graph=True)
    assert into_x.flatten().tolist() == [3, 5, 7]  # column sums of the weight
    found = torch.autograd.grad(value, tuple(net.parameters()), allow_unused=True)
    assert all(gradient is None for gradient in found)


def test_per_replicate_gradients_by_hand():
    """value_r = Σ (W x_r + b) · free: gradients in W, b and free are outer products that can be written down."""
    net = module()
    x = torch.randn(5, 1, 2, 3, dtype=F64, generator=stream(0))
    calls = PerReplicateCalls(net, 5)
    value = (calls.call("layer", x) * calls.free("free.value")).sum((1, 2, 3))
    found = gradients_of(value.sum(), {"net.": calls})
    free, inputs = torch.tensor([2.0, 3.0], dtype=F64), x.sum((1, 2))
    assert torch.allclose(found["net.layer.weight"], free[None, :, None] * inputs[:, None, :], rtol=1e-12)
    assert torch.allclose(found["net.layer.bias"], 2 * free.expand(5, 2), rtol=1e-12)
    outputs = (x @ net["layer"].weight.T + net["layer"].bias).sum((1, 2))
    assert torch.allclose(found["net.free.value"], outputs, rtol=1e-12)


def test_a_parameter_that_is_not_used_has_gradient_zero():
    net = module()
    calls = PerReplicateCalls(net, 3)
    found = gradients_of(calls.free("free.value").sum(), {"": calls})
    assert found["layer.weight"].shape == (3, 2, 3)
    assert not found["layer.weight"].any()
    assert torch.equal(found["free.value"], torch.ones(3, 2, dtype=F64))


def test_a_layer_called_twice_gathers_both_gradients():
    net = module()
    x = torch.randn(4, 1, 1, 3, dtype=F64, generator=stream(0))
    calls = PerReplicateCalls(net, 4)
    found = gradients_of((calls.call("layer", x) + calls.call("layer", 2 * x)).sum(), {"": calls})
    expected = (3 * x.flatten(1))[:, None, :].expand(4, 2, 3)
    assert torch.allclose(found["layer.weight"], expected, rtol=1e-12)


@pytest.mark.parametrize("trial", [trial for name in ESTIMATORS.lines for trial in few(name)], ids=str)
def test_replicates_at_once_are_replicates_one_by_one(trial):
    task = trial.task()
    noise = noise_of(task, 5)
    together = replicate_gradients(task, noise, 5)
    for key, expected in gradients_by_loop(task, noise, 5).items():
        torch.testing.assert_close(together[key], expected.flatten(1), rtol=1e-10, atol=1e-11, msg=key)


@pytest.mark.parametrize("tied", ["module", "weight"])
def test_what_is_under_two_names_is_differentiated_once_and_left_in_place(tied):
    first = nn.Linear(2, 2, dtype=F64)
    second = first if tied == "module" else nn.Linear(2, 2, dtype=F64)
    second.weight = first.weight
    net = nn.ModuleDict({"net": nn.Sequential(first, nn.Tanh(), second)})
    x = torch.randn(3, 1, 4, 2, dtype=F64, generator=stream(0))
    before = dict(net.named_parameters())
    assert not Calls(net).held().call("net", x).requires_grad
    calls = PerReplicateCalls(net, 3)
    found = gradients_of(calls.call("net", x).sum(), {"": calls})
    assert all(value is before[name] for name, value in net.named_parameters())
    for replicate in range(3):
        expected = torch.autograd.grad(net["net"](x[replicate, 0]).sum(), list(before.values()))
        for (name, value), one in zip(found.items(), expected, strict=True):
            torch.testing.assert_close(value[replicate], one, rtol=1e-12, atol=1e-14, msg=name)
