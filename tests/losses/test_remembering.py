"""A loss that depends on what it did before is noticed and named, and begun anew or let run on if asked to."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import gradbench as gb
from tests.losses.toys import Quadratic

FEW = {"replicates": 64, "blocks": 8, "timed": False}
running = 1.0


class WithBaseline(Quadratic):
    """A score function with a running baseline, kept as an attribute, and a list of what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.baseline = 0.0
        self.seen: list[float] = []

    def loss(self) -> torch.Tensor:
        z = self.q.sample()
        f = self.f(z)
        value = (f - self.baseline) * self.q.log_prob(z).sum(-1)
        self.baseline = 0.9 * self.baseline + 0.1 * f.item()
        self.seen.append(f.item())
        return value


def test_an_attribute_is_named_and_put_back():
    toy = WithBaseline()
    with pytest.raises(gb.MeasurementError, match=r"remembers.*it changes self.baseline, self.seen\ngive state='rest"):
        gb.measure(toy.loss, toy.parameters, **FEW)
    assert (toy.baseline, toy.seen) == (0.0, [])


def test_restored_it_is_a_loss_without_memory():
    toy = WithBaseline()
    found = gb.measure({"loss": toy.loss, "score": toy.score}, toy.parameters, state="restore", **FEW)
    assert found.row("loss").variance == pytest.approx(found.row("score").variance, rel=1e-12)
    assert "loss: changes self.baseline, self.seen: put back" in found.notes
    assert (toy.baseline, toy.seen) == (0.0, [])


def test_kept_it_runs_on():
    toy = WithBaseline()
    found = gb.measure({"loss": toy.loss, "score": toy.score}, toy.parameters, state="keep", **FEW)
    assert found.row("loss").variance < 0.9 * found.row("score").variance
    assert any("runs on from replicate to replicate" in note for note in found.notes)
    assert toy.baseline == 0.0


def test_globals_closures_and_buffers_are_found():
    weight = torch.ones(2, requires_grad=True)
    count = 0
    module = nn.Module()
    module.register_buffer("scale", torch.ones(()))

    def of_global() -> torch.Tensor:
        global running
        running += 1
        return weight.sum() * running

    def of_closure() -> torch.Tensor:
        nonlocal count
        count += 1
        return weight.sum() * count

    def of_buffer() -> torch.Tensor:
        module.scale.mul_(2)
        return weight.sum() * module.scale

    for loss, name in ((of_global, "running"), (of_closure, "count"), (of_buffer, "module.scale")):
        with pytest.raises(gb.MeasurementError, match=f"it changes {name}"):
            gb.measure(loss, weight, **FEW)
    assert (running, count, float(module.scale)) == (1.0, 0, 1.0)


def test_what_cannot_be_found_is_said_to_be():
    weight, hidden = torch.ones(2, requires_grad=True), iter(range(10**6))
    with pytest.raises(gb.MeasurementError, match="by something that cannot be found from here"):
        gb.measure(lambda: weight.sum() * next(hidden), weight, **FEW)


def test_memory_that_shows_late_is_noticed_at_the_end():
    weight, calls = torch.ones(2, requires_grad=True), [0]

    def loss() -> torch.Tensor:
        calls[0] += 1
        return weight.sum() * (2.0 if calls[0] > 40 else 1.0) * torch.rand(())

    with pytest.raises(gb.MeasurementError, match=r"remembers.*calls"):
        gb.measure(loss, weight, **FEW)


def test_an_optimisers_step_within_the_loss_is_refused_and_undone():
    layer = nn.Linear(2, 1)
    optimiser = torch.optim.Adam(layer.parameters())
    before = layer.weight.detach().clone()

    def loss() -> None:
        optimiser.zero_grad()
        layer(torch.randn(3, 2)).square().mean().backward()
        optimiser.step()

    with pytest.raises(gb.MeasurementError, match=r"changes parameters itself: phi.weight, phi.bias\nleave the optim"):
        gb.measure(loss, layer, **FEW)
    assert torch.equal(layer.weight, before)


def test_a_loss_that_calls_backward_itself_is_its_grad():
    toy = Quadratic()

    def own() -> None:
        for value in toy.parameters.values():
            value.grad = None
        toy.pathwise().backward()

    def returned() -> torch.Tensor:
        loss = toy.pathwise()
        loss.backward()
        return loss

    losses = {"own": own, "returned": returned, "pathwise": toy.pathwise}
    found = gb.measure(losses, toy.parameters, reference="pathwise", **FEW)
    assert {found.row(name).bias_norm for name in losses} == {0.0}
    assert toy.mean.grad is None

    def both() -> torch.Tensor:
        toy.pathwise().backward()
        return toy.pathwise()

    with pytest.raises(gb.MeasurementError, match=r"leaves gradients in .grad and returns a loss"):
        gb.measure(both, toy.parameters, **FEW)


def test_generators_of_the_users_own_are_found_and_seeded():
    import numpy as np

    weight = torch.ones(2, requires_grad=True)
    own, other = torch.Generator().manual_seed(1), np.random.default_rng(2)
    states = own.get_state(), other.bit_generator.state

    def loss() -> torch.Tensor:
        return (weight * torch.randn(2, generator=own)).sum() * other.normal() + (weight * torch.randn(2)).sum()

    one, two = (gb.measure({"loss": loss}, weight, **FEW) for _ in range(2))
    assert one.row("loss").variance == two.row("loss").variance
    assert any("draws from torch's generator, other, own" in note for note in one.notes)
    assert torch.equal(states[0], own.get_state())
    assert states[1] == other.bit_generator.state


def test_seeding_inside_the_loss_is_told():
    weight = torch.ones(2, requires_grad=True)

    def loss() -> torch.Tensor:
        torch.manual_seed(0)
        return (weight * torch.randn(2)).sum()

    found = gb.measure({"loss": loss}, weight, **FEW)
    assert found.row("loss").variance == 0
    assert any("does it seed its generator itself?" in note for note in found.notes)


def test_a_gradient_that_no_draw_reaches_is_certain_and_one_with_values_taken_out_is_not():
    weight = torch.ones(2, requires_grad=True)

    def apart() -> torch.Tensor:
        return (weight**2).sum() + torch.randn(())

    def branching() -> torch.Tensor:
        return (weight**2).sum() * (2.0 if torch.rand(()).item() < 1e-9 else 1.0)

    half = {"0": torch.ones(2)}
    found = gb.measure({"apart": apart, "branching": branching}, weight, reference=half, **FEW)
    assert found.row("apart").verdict == "biased"
    assert found.row("branching").verdict == "unresolved"


@pytest.mark.filterwarnings("ignore:Using `torch.compile:UserWarning")
def test_a_compiled_module_is_measured():
    layer = nn.Linear(3, 1)
    compiled = torch.compile(layer, backend="aot_eager")
    x = torch.randn(4, 3)

    def loss(module: nn.Module) -> torch.Tensor:
        return module(x + torch.randn_like(x)).square().mean()

    losses = {"plain": lambda: loss(layer), "compiled": lambda: loss(compiled)}
    found = gb.measure(losses, layer, reference="plain", replicates=64, blocks=8)
    assert found.row("compiled").bias_norm == pytest.approx(0.0, abs=1e-5)
