"""What is given is named, or refused in a line that names the remedy."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import gradbench as gb
from gradbench.losses.given import losses_of, parameters_of
from tests.losses.toys import Quadratic

FEW = {"replicates": 64, "blocks": 8, "timed": False}


def loss() -> torch.Tensor:
    return torch.zeros((), requires_grad=True)


def test_modules_tensors_optimisers_and_nested_groups_are_named():
    layer = nn.Linear(2, 1)
    free = torch.zeros(3, requires_grad=True)
    assert list(parameters_of(layer).tensors) == ["phi.weight", "phi.bias"]
    assert list(parameters_of(free).tensors) == ["phi.0"]
    assert list(parameters_of([free, layer.weight]).tensors) == ["phi.0", "phi.1"]
    assert list(parameters_of(layer.named_parameters()).tensors) == ["phi.weight", "phi.bias"]
    assert list(parameters_of(torch.optim.SGD(layer.parameters(), 0.1)).tensors) == ["phi.0", "phi.1"]
    assert list(parameters_of({"phi": layer, "theta": {"free": free}}).tensors) == [
        *("phi.weight", "phi.bias", "theta.free")
    ]
    nested = parameters_of({"encoder": {"layer": layer}, "free": free})
    assert list(nested.tensors) == ["phi.encoder.layer.weight", "phi.encoder.layer.bias", "phi.free"]
    assert set(nested.groups) == {"phi.encoder", "phi.encoder.layer"}


def test_frozen_ones_are_left_out_and_shared_ones_counted_once():
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.weight = first.weight
    second.bias.requires_grad_(False)
    found = parameters_of({"a": first, "b": second})
    assert list(found.tensors) == ["phi.a.weight", "phi.a.bias"]
    assert found.notes == ("frozen, left out: phi.b.bias", "shared, counted once: phi.b.weight is phi.a.weight")
    assert found.groups["phi.b"] == ("phi.a.weight",)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "expected parameters to differentiate by"),
        ("abc", "expected a module, tensors or groups of them, got 'abc'"),
        (nn.Linear(1, 1).requires_grad_(False), "all 2 are frozen"),
        (torch.zeros(1, requires_grad=True) * 2, "is computed from other tensors"),
        ({1: torch.zeros(1)}, "named by text"),
        ({"w": nn.LazyLinear(1)}, "lazy module has not made it yet"),
        (torch.zeros(1, dtype=torch.complex64, requires_grad=True), "expected real parameters"),
    ],
)
def test_what_cannot_be_differentiated_by_is_refused(given, said):
    with pytest.raises(gb.UsageError, match=said):
        gb.measure(loss, given, **FEW)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda x: x, r"bind them: lambda: loss\(model, x\)"),
        (3, "expected a loss"),
        ({}, "got an empty one"),
        ({"": loss}, "named by text"),
        ({("a", 0): loss}, "named by text, or by text and its L"),
        ({("a", 2): loss, ("a", None): loss}, "one name and one L"),
    ],
)
def test_what_cannot_be_called_is_refused(given, said):
    with pytest.raises(gb.UsageError, match=said):
        gb.measure(given, torch.zeros(1, requires_grad=True), samples=2, **FEW)


WEIGHT = torch.ones(2, requires_grad=True)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: 3.0, r"returns 3.0 instead of a torch loss\nreturn the tensor itself"),
        (lambda: torch.zeros(2, 2), r"returns a tensor of shape \[2, 2\]"),
        (lambda: 1 / 0, "raises ZeroDivisionError"),
        (lambda: (WEIGHT * float("nan")).sum(), "gave a gradient that is not finite"),
    ],
)
def test_what_a_loss_may_not_return_is_said(wrong, said):
    with pytest.raises(gb.MeasurementError, match=said):
        gb.measure({"wrong": wrong}, WEIGHT, **FEW)


def test_one_failure_leaves_the_others_measured(tmp_path):
    toy = Quadratic()
    found = gb.measure({"right": toy.pathwise, "wrong": lambda: None}, toy.parameters, out=tmp_path / "run", **FEW)
    row = found.row("wrong")
    assert (row.status, row.error_type) == ("failed", "ContractError")
    assert "wrong: failed" in str(found)
    assert gb.load(tmp_path / "run").status.tolist().count("failed") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"replicates": 100, "blocks": 32}, "give replicates=96, blocks=32"),
        ({"sign": "up"}, "expected 'loss'"),
        ({"state": "x"}, "expected refuse, restore or keep"),
        ({"samples": {"q": 1}}, "no loss 'q'"),
        ({"evaluations": 0}, "expected a number above 0"),
        ({"reference": "r"}, "no loss 'r'; there are pathwise"),
        ({"reference": [torch.zeros(3)]}, "1 gradients for 2 parameters"),
        ({"reference": {"mean": torch.zeros(2)}}, "no gradient for phi.log_scale"),
        ({"reference": {"mean": torch.zeros(3), "log_scale": torch.zeros(2)}}, r"has the shape \[3\]"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, said):
    toy = Quadratic()
    with pytest.raises(gb.UsageError, match=said):
        gb.measure(toy.pathwise, toy.parameters, **{**FEW, **options})


def test_names_come_with_their_own_number_of_samples():
    toy = Quadratic()
    found = gb.measure(
        {("score", 1): toy.score, ("score", 4): toy.left_out_baseline}, toy.parameters, evaluations=3, **FEW
    ).frame
    assert found.groupby("samples").evaluations.first().to_dict() == {1: 3.0, 4: 3.0}
    assert list(losses_of(toy.score)) == [("score", None)]
