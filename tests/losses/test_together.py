"""Many calls at once draw what single calls draw: figures are those of the loop, and the result says which it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.distributions import Exponential, Gamma, Poisson

import gradbench as gb
from tests.losses.toys import F64, Autoencoder, Quadratic, bernoulli_toy

FEW = {"replicates": 96, "blocks": 4, "timed": False}
FIGURES = ["variance", "bias_sq", "gradient_norm", "cosine", "kurtosis"]


def both(loss, parameters, reference=None) -> None:
    """Assert that the loop and vmap give one and the same figures."""
    one, two = (
        gb.measure({"loss": loss}, parameters, reference=reference, engine=engine, **FEW).frame
        for engine in ("loop", "vmap")
    )
    assert set(one.engine) == {"loop"}
    assert set(two.engine) == {"vmap"}
    assert (one.variance > 0).any()
    for name in FIGURES:
        left, right = (torch.tensor(frame[name].astype(float).to_numpy()) for frame in (one, two))
        torch.testing.assert_close(left, right, rtol=1e-6, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("name", ["pathwise", "score", "left_out_baseline", "score_of_path"])
def test_of_tensors_in_attributes(name):
    toy = Quadratic()
    both(getattr(toy, name), toy.parameters, toy.gradient())


@pytest.mark.parametrize("name", ["loss", "iwae", "weighted_live"])
def test_of_modules(name):
    model = Autoencoder(batch=24)  # as many datapoints as replicates at a time
    both(getattr(model, name), model)


def test_of_closures_and_of_bits():
    losses, logit = bernoulli_toy()
    both(losses["score"], logit)


def test_of_other_laws_and_of_what_is_filled_in_place():
    rate = torch.tensor([1.5, 2.5], dtype=F64, requires_grad=True)
    laws = {
        "gamma": lambda: Gamma(rate, rate).rsample().sum(),
        "exponential": lambda: Exponential(rate).rsample().square().sum(),
        "poisson": lambda: Poisson(rate).log_prob(Poisson(rate).sample()).sum(),
        "uniform": lambda: (rate * torch.empty(2, dtype=F64).uniform_(-1, 1)).sum() ** 2,
    }
    for loss in laws.values():
        both(loss, rate)


def test_dropout_is_that_of_single_calls():
    net = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1)).double()
    x = torch.ones(5, 3, dtype=F64)
    both(lambda: net(x).square().mean(), net)


def test_what_cannot_be_is_looped_and_said_where_it_was_asked_for():
    weight = torch.ones(2, requires_grad=True)
    norm = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))

    def branching() -> torch.Tensor:
        return (weight * torch.randn(2)).sum() * (2.0 if torch.rand(()).item() < 0.5 else 1.0)

    def with_statistics() -> torch.Tensor:
        return norm(torch.randn(4, 2)).square().mean() * norm[0].weight.sum()

    def from_python() -> torch.Tensor:
        import random

        return (weight * random.random()).sum()

    def permuted() -> torch.Tensor:  # vmap draws these one after the other
        return (weight[torch.randperm(2)] * torch.tensor([1.0, 3.0])).sum()

    for loss, parameters, said in (
        (permuted, weight, "are not those of single calls"),
        (branching, weight, "cannot be run for many replicates at once"),
        (with_statistics, norm, "it changes 1.running_mean"),
        (from_python, weight, "draws from other sources"),
    ):
        assert set(gb.measure(loss, parameters, **FEW).frame.engine) == {"loop"}
        with pytest.raises(gb.MeasurementError, match=f"engine='vmap': .*{said}"):
            gb.measure(loss, parameters, engine="vmap", **FEW)


def test_a_parameter_that_is_out_of_reach_is_no_silent_zero():
    """A view that was taken before is no place where another can be put: the loop it is."""
    weight = torch.ones(2, requires_grad=True)
    view = weight.view(1, 2)
    found = gb.measure(lambda: (view * torch.randn(1, 2)).sum() + 0 * weight.sum(), weight, **FEW)
    assert set(found.frame.engine) == {"loop"}
    assert found.frame.variance.iloc[0] == pytest.approx(2.0, rel=0.6)


def test_parameters_are_back_in_their_places():
    model = Autoencoder()
    before = dict(model.named_parameters())
    gb.measure(model.loss, model, engine="vmap", **FEW)
    assert all(value is before[name] for name, value in model.named_parameters())
