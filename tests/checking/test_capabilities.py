"""What families say that they can do: right ones pass, and of a wrong one it is said what is wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from gradbench.checking import capabilities
from gradbench.core.errors import BrokenProblemError
from gradbench.families.base import Family
from gradbench.families.bernoulli import Bernoulli
from gradbench.families.categorical import Categorical
from gradbench.families.gaussian import Gaussian
from gradbench.families.support import Support, along_path
from tests.examples import laplace, weibull

F64 = torch.float64
Weibull: Any = weibull.Weibull


def row(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=F64)[None, None, None]


def at(kind: type[Family]) -> Family:
    """A distribution of the kind that is special in nothing."""
    if issubclass(kind, Bernoulli):
        return kind(logits=row(0.3, -1.2, 2.0))
    if issubclass(kind, Categorical):
        return kind(logits=row(0.3, -1.2, 2.0, 0.1, 0.5, -0.4).unflatten(-1, (2, 3)))
    if issubclass(kind, Weibull):
        return kind(scale=row(0.7, 1.9), concentration=row(0.8, 2.4))
    return kind(loc=row(0.3, -1.1), scale=row(0.6, 1.7))


RIGHT = [Gaussian, Bernoulli, Categorical, Weibull, laplace.Laplace]


@pytest.mark.parametrize("kind", RIGHT, ids=lambda kind: kind.__name__)
def test_what_is_right_passes(kind: type[Family]) -> None:
    capabilities.check_capabilities(at(kind))


def as_support(kind: type[Family]) -> Support | None:
    return capabilities.support_of(at(kind))


def test_every_family_with_states_or_a_grid_is_held_to_it() -> None:
    assert [as_support(kind) is not None for kind in RIGHT] == [True, True, True, True, False]


class NoRoot(Weibull):
    """The path with the concentration, not with one over it."""

    def sample(self, noise):
        return self.parameters["scale"] * noise ** self.parameters["concentration"]

    def grid(self, nodes):
        return Weibull.grid(self, nodes)


class HeldPath(Weibull):
    """Draws rightly; the derivative in the concentration is lost."""

    def sample(self, noise):
        return self.parameters["scale"] * noise ** (1 / self.parameters["concentration"].detach())

    def grid(self, nodes):  # of the right path, at the same parameters
        return Weibull(**self.parameters).grid(nodes)


class WrongInverse(Weibull):
    def noise_of(self, z):
        return (z / self.parameters["scale"]) ** (1 / self.parameters["concentration"])


class WrongMass(Weibull):
    """The masses without de/ds: z is right, its weights are not."""

    def grid(self, nodes):
        s = torch.linspace(-3.7, 3.7, nodes).to(self.parameters["scale"])
        noise = (s - (-s).exp()).exp()
        return along_path(self.sample, noise, torch.softmax(-noise, 0), self.event)


class HalfMass(Weibull):
    def grid(self, nodes):
        whole = Weibull.grid(self, nodes)

        def half(numbers):
            z, mass = whole.at(numbers)
            return z, mass / 2

        return Support(whole.size, half)


class HeldGrid(Weibull):
    """A grid with the values of the law and no derivative."""

    def grid(self, nodes):
        return Weibull.grid(self.held(), nodes)


class SameSide(Weibull):
    """Twice the noise is of another law."""

    def opposite(self, noise):
        return 2 * noise


class Unnormalised(Weibull):
    """log_prob without the logarithm of the concentration: the same law, up to a constant that φ is in."""

    def log_prob(self, z):
        return super().log_prob(z) - self.parameters["concentration"].log().flatten(3).sum(-1)


class Quadratic(Bernoulli):
    """Right at the states, and another function between them."""

    name = "quadratic"

    def log_prob(self, z):
        return Bernoulli.log_prob(self, z) + (z * (1 - z)).sum(-1)

    def states(self):
        return Bernoulli.states(self)


class HeldStates(Bernoulli):
    name = "held-states"

    def states(self):
        return Bernoulli.states(self.held())


class UnsharedScale(Gaussian):
    """Two Maxwell variables in the scale, where one of the laws is the normal one."""

    name = "unshared-scale"

    def weak_noise(self, replicates, samples, generator):
        noise = Gaussian.weak_noise(self, replicates, samples, generator)
        return noise | {"share": -noise["maxwell"]}

    def grid(self, nodes):
        return Gaussian.grid(self, nodes)


class OneForAll(Bernoulli):
    """The constants of a derivative in the probability, not in the logit."""

    name = "one-for-all"

    def weak_derivatives(self, z, noise):
        found = Bernoulli.weak_derivatives(self, z, noise)["logits"]
        return {"logits": replace(found, constant=torch.ones_like(found.constant))}

    def states(self):
        return Bernoulli.states(self)


class OtherMasses(Categorical):
    """Probabilities of the values that come before the sample's own, not of those behind it."""

    name = "other-masses"

    def neighbour_masses(self, z):
        return Categorical.neighbour_masses(self, z).unflatten(2, (z.shape[3], -1)).flip(3).flatten(2, 3)

    def states(self):
        return Categorical.states(self)


class AllMoved(Bernoulli):
    """Every bit flipped, where one is."""

    name = "all-moved"

    def neighbours(self, z, numbers):
        return (1 - z.unsqueeze(2)).expand(*z.shape[:2], len(numbers), *z.shape[2:])

    def states(self):
        return Bernoulli.states(self)


class OtherMean(Bernoulli):
    """The mean of the logits."""

    name = "other-mean"

    def mean(self):
        return self.parameters["logits"]

    def states(self):
        return Bernoulli.states(self)


class HeldMean(Bernoulli):
    """The value is right, and nothing is differentiated."""

    name = "held-mean"

    def mean(self):
        return Bernoulli.mean(self).detach()

    def states(self):
        return Bernoulli.states(self)


class StrangersAsPartners(Gaussian):
    """The covariance of independent samples, for antithetic ones."""

    name = "strangers-as-partners"

    def partner_covariance(self, slope):
        return {"loc": torch.zeros_like(slope), "scale": torch.zeros_like(slope)}

    def grid(self, nodes):
        return Gaussian.grid(self, nodes)


WRONG = {
    OtherMean: "mean",
    HeldMean: "mean",
    StrangersAsPartners: "partner covariance",
    OtherMasses: "neighbours",
    AllMoved: "neighbours",
    NoRoot: "posterior",
    HeldPath: "path",
    WrongInverse: "inverse",
    WrongMass: "grid",
    HalfMass: "masses",
    HeldGrid: "grid",
    SameSide: "opposite",
    Unnormalised: "posterior",
    Quadratic: "log_prob",
    HeldStates: "states",
    UnsharedScale: "weak derivatives",
    OneForAll: "weak derivatives",
}


@pytest.mark.parametrize("kind", WRONG, ids=lambda kind: kind.__name__)
def test_what_is_wrong_is_named(kind: type[Family]) -> None:
    with pytest.raises(BrokenProblemError) as broken:
        capabilities.check_capabilities(at(kind))
    assert broken.value.kind == WRONG[kind], broken.value
    assert broken.value.remedy


PRIORS = {
    Gaussian: Gaussian(loc=row(0.0, 0.4), scale=row(1.0, 0.8)),
    Bernoulli: Bernoulli(logits=row(0.0, 0.5, -0.5)),
    Weibull: Weibull(scale=row(1.0, 1.3), concentration=row(1.5, 0.9)),
}


@pytest.mark.parametrize("kind", PRIORS, ids=lambda kind: kind.__name__)
def test_a_right_kl_passes(kind: type[Family]) -> None:
    capabilities.check_kl(at(kind), PRIORS[kind])


class ForgottenTerm(Weibull):
    """The KL without E_q[log(z / scale)] = −γ / concentration in log q: off by what φ is in."""

    def kl(self, prior):
        return Weibull.kl(Weibull(**self.parameters), prior) - (0.577 / self.parameters["concentration"]).sum(-1)

    def grid(self, nodes):
        return Weibull.grid(self, nodes)


class HeldKl(Weibull):
    """The value is right, and nothing is differentiated."""

    def kl(self, prior):
        return Weibull.kl(Weibull(**self.parameters), prior).detach()

    def grid(self, nodes):
        return Weibull.grid(self, nodes)


@pytest.mark.parametrize("kind", [ForgottenTerm, HeldKl])
def test_a_wrong_kl_is_found(kind: type[Family]) -> None:
    with pytest.raises(BrokenProblemError) as broken:
        capabilities.check_kl(at(kind), PRIORS[Weibull])
    assert broken.value.kind == "kl"
