"""The contract of problems and estimators on layers of latents."""

from __future__ import annotations

import pytest
import torch

from gradbench.checking import contract
from gradbench.checking.models import fault
from gradbench.checking.problem import check_problem
from gradbench.checking.targets import Target, targets
from gradbench.estimators import ESTIMATORS
from gradbench.families.bernoulli import Bernoulli
from gradbench.families.gaussian import Gaussian
from gradbench.families.layered import Layered
from gradbench.problems.hierarchical_vae import HierarchicalVae
from tests.layered import point_of


class TwoLayers(HierarchicalVae):
    """A problem as a user would bring it."""

    name = "two-layers"


def gaussian(output):
    loc, log_scale = output.chunk(2, dim=-1)
    return Gaussian(loc=loc, scale=log_scale.exp())


class SaysOne(TwoLayers):
    @classmethod
    def layers(cls, parameters):
        return 1


class ReturnsOne(TwoLayers):
    def posterior(self, phi, x):
        return gaussian(phi.call("encoder", x))


class OtherFamily(TwoLayers):
    def posterior(self, phi, x):
        return Layered(
            phi,
            lambda calls: gaussian(calls.call("encoder", x)),
            lambda calls, z1: Bernoulli(logits=calls.call("encoder2", z1)[..., :1]),
        )


class NoFamily(TwoLayers):
    def posterior(self, phi, x):
        return Layered(
            phi, lambda calls: gaussian(calls.call("encoder", x)), lambda calls, z1: calls.call("encoder2", z1)
        )


class PastTheCalls(TwoLayers):
    def posterior(self, phi, x):
        return Layered(
            phi,
            lambda calls: gaussian(calls.call("encoder", x)),
            lambda calls, z1: gaussian(self.phi["encoder2"](z1)),
        )


class ClosesOverPhi(TwoLayers):
    """The second layer is reached through what posterior was given, and not through what the layer is given."""

    def posterior(self, phi, x):
        return Layered(
            phi,
            lambda calls: gaussian(calls.call("encoder", x)),
            lambda calls, z1: gaussian(phi.call("encoder2", z1)),
        )


class Draws(TwoLayers):
    def posterior(self, phi, x):
        return Layered(
            phi,
            lambda calls: gaussian(calls.call("encoder", x)),
            lambda calls, z1: gaussian(calls.call("encoder2", z1 + 0.1 * torch.randn_like(z1))),
        )


class MixesRows(TwoLayers):
    def posterior(self, phi, x):
        return Layered(
            phi,
            lambda calls: gaussian(calls.call("encoder", x)),
            lambda calls, z1: gaussian(calls.call("encoder2", z1 - z1.mean(1, keepdim=True))),
        )


class Wider(Gaussian):
    """Draws with twice the scale that its log_prob says."""

    def sample(self, noise):
        return self.parameters["loc"] + 2 * self.parameters["scale"] * noise


class WrongLaw(TwoLayers):
    def posterior(self, phi, x):
        def second(calls, z1):
            loc, log_scale = calls.call("encoder2", z1).chunk(2, dim=-1)
            return Wider(loc=loc, scale=log_scale.exp())

        return Layered(phi, lambda calls: gaussian(calls.call("encoder", x)), second)


def point(kind):
    found = point_of("hierarchical-vae", away=0.1, hidden=3, latent1=1, latent2=1, batch=2)
    found.problem.__class__ = kind
    return found


def test_a_problem_of_layers_keeps_the_contract():
    assert fault(point(TwoLayers)) is None
    assert fault(point_of("sigmoid-belief", latent=2, stochastic_layers=3, batch=2)) is None


@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        (SaysOne, "posterior has 2 layers of latents; the class says 1"),
        (ReturnsOne, "posterior has 1 layer of latents; the class says 2"),
        (OtherFamily, "layer 2 of posterior is a Bernoulli, of family 'bernoulli'; the class says 'gaussian'"),
        (NoFamily, "layer 2 of posterior is a Tensor"),
        (PastTheCalls, "leaves parameters that are differentiated"),
        (ClosesOverPhi, "leaves parameters that are differentiated"),
        (Draws, "draws from"),
        (MixesRows, "depends on the others"),
        (WrongLaw, "Wider does not draw from the law of its log_prob"),
    ],
)
def test_broken_layers_are_named(kind, seen):
    found = fault(point(kind))
    assert found is not None
    assert seen in found.seen


def test_a_layer_past_the_calls_is_told_of_the_calls():
    found = fault(point(ClosesOverPhi))
    assert found is not None
    assert "calls" in found.remedy


@pytest.mark.parametrize("target", [one for one in targets() if "layers" in one.label], ids=lambda one: one.label)
def test_estimators_keep_the_contract_on_layers(target: Target):
    checked = 0
    for estimator in ESTIMATORS.values():
        samples = target.samples_for(estimator)
        if samples is not None:
            checked += 1
            found = contract.violation(target.label, lambda e=estimator, s=samples: target.task(e, s))
            assert found is None, found
    assert checked >= 5


def test_the_targets_of_layers_have_labels_and_references_of_their_own():
    labels = [one.label for one in targets()]
    assert len(labels) == len(set(labels))
    kinds = {one.label: one.reference(2).kind for one in targets() if "layers" in one.label}
    assert kinds == {
        "sigmoid-belief, 2 layers, monte-carlo KL": "enumeration",
        "hierarchical-vae, 2 layers, monte-carlo KL": "quadrature",
    }


def test_the_check_of_a_problem_measures_its_layers():
    result = check_problem(HierarchicalVae, replicates=8192)
    assert result.violations == []
    assert result.parts["phi"] != "biased"
    assert {finding.reference for finding in result.findings} == {"quadrature"}
