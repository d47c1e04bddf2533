"""Sigmoid belief networks: what more layers change, and that one layer is what it was."""

from __future__ import annotations

import pytest
import torch

from gradbench.core.errors import SuiteError
from gradbench.families.bernoulli import Bernoulli
from gradbench.families.layered import Layered
from gradbench.objectives.chosen import natural
from gradbench.problems.networks import Calls
from gradbench.problems.sigmoid_belief import Parameters, SigmoidBelief
from gradbench.suite.suites import Settings, resolve
from gradbench.target.exact import posterior
from gradbench.target.points import Axes, build
from gradbench.target.reference import compute


def point_of(train_steps: int = 0, **parameters):
    return build(Axes("sigmoid-belief", Parameters(**parameters), "digits", train_steps, 0), "cpu", torch.float64)


def suite(**grid):
    raw = {"name": "t", "grid": [{"problem": "sigmoid-belief", "estimators": ["score-function"], **grid}]}
    return resolve(raw, "t.toml", Settings())


def test_one_layer_draws_its_weights_as_before():
    """Norms of the weights that were drawn before there were more layers; parameters keep their names, cells theirs."""
    point = point_of(latent=4, batch=2)
    parameters = point.problem.named_parameters()
    assert list(parameters) == [
        "phi.encoder.output.weight",
        "phi.encoder.output.bias",
        "theta.prior.logits",
        "theta.decoder.output.weight",
        "theta.decoder.output.bias",
    ]
    drawn = [float(parameters[f"{name}.output.weight"].detach().norm()) for name in ("phi.encoder", "theta.decoder")]
    assert drawn == pytest.approx([2.8349269071810053, 2.832692452469023], rel=1e-14)
    assert type(posterior(point)) is Bernoulli
    (cell,) = suite(latent=4, batch=2).cells
    assert cell.axes.canonical()["problem_params"] == {
        "batch": 2,
        "latent": 4,
        "stochastic_layers": 1,
        "decoder": "linear",
        "hidden": 32,
    }
    assert cell.kl == "analytic"


def test_the_first_networks_of_the_encoder_are_the_same_whatever_the_layers():
    one, two = point_of(latent=4), point_of(latent=4, stochastic_layers=2)
    assert two.problem.phi.encoder2.output.weight.shape == (4, 4)
    assert two.problem.theta.decoder2.output.weight.shape == (4, 4)
    assert one.problem.phi.encoder.output.weight.shape == two.problem.phi.encoder.output.weight.shape


@pytest.mark.parametrize("layers", [2, 3])
@pytest.mark.parametrize("decoder", ["linear", "nonlinear"])
def test_deeper_networks_are_what_they_declare(layers, decoder):
    parameters = Parameters(latent=2, stochastic_layers=layers, decoder=decoder, hidden=3, batch=2)
    assert SigmoidBelief.layers(parameters) == layers
    assert SigmoidBelief.latent_dim(parameters) == 2 * layers
    assert SigmoidBelief.states(parameters) == 4**layers
    assert SigmoidBelief.kls(parameters) == ("monte-carlo",)
    assert SigmoidBelief.size(parameters).startswith(f"layers={layers} latent=2")
    point = point_of(latent=2, stochastic_layers=layers, decoder=decoder, hidden=3, batch=2)
    q = posterior(point)
    assert isinstance(q, Layered)
    assert q.event == torch.Size([2 * layers])
    assert all(type(law) is Bernoulli for law, _ in q.chain(q.noise(1, 1, torch.Generator())))


def test_the_prior_sums_to_1_over_all_states():
    point = point_of(latent=2, stochastic_layers=3, batch=2)
    z, mass = posterior(point).states().all()
    prior = point.problem.prior(Calls(point.problem.theta))
    torch.testing.assert_close(prior.log_prob(z).exp().sum(1).detach(), torch.ones(1, 1, dtype=torch.float64))
    torch.testing.assert_close(mass.sum(1).detach(), torch.ones(1, 2, dtype=torch.float64))


def test_a_suite_takes_the_sampled_kl_of_layers_and_refuses_the_other():
    cells = suite(stochastic_layers=[1, 2]).cells
    assert [cell.kl for cell in cells] == ["analytic", "monte-carlo"]
    with pytest.raises(SuiteError, match="takes kl = 'monte-carlo' alone"):
        suite(stochastic_layers=2, kl="analytic")


@pytest.mark.parametrize(("latent", "kind"), [(6, "enumeration"), (7, "monte-carlo")])
def test_layers_are_enumerated_up_to_as_many_states_as_one_layer(latent, kind):
    point = point_of(latent=latent, stochastic_layers=2, batch=1)
    assert compute(point, natural(point.problem, "monte-carlo"), 1, 8, 2).kind == kind


def test_training_ascends_the_bound_of_layers():
    def bound(steps):
        point = point_of(steps, latent=2, stochastic_layers=2, batch=32)
        q, kl = posterior(point), natural(point.problem, "monte-carlo")
        z, mass = q.states().all()
        return float((mass * kl.at(point.problem, Calls(point.problem.theta), point.x).f(z, q)).sum(1).mean().detach())

    assert bound(100) > bound(0) + 1
