"""The categorical VAE: its exact gradients beside sums written out by hand, and what the estimators make of it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gradbench.checking.targets import Target, targets
from gradbench.core.types import Gradients
from gradbench.engine import general, loop
from gradbench.engine.layers import recorded
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.explaining.variants import target_for
from gradbench.objectives.base import Kl
from gradbench.objectives.chosen import ChosenObjective
from gradbench.problems import PROBLEMS
from gradbench.problems.base import Problem
from gradbench.problems.networks import Calls
from gradbench.target.exact import exactly
from gradbench.target.points import Point
from tests.helpers import ok_rows, point_of

F64 = torch.float64
SINGLE = ["fixed-sample", "score-function", "score-function-loo", "score-function-learned"]
KLS: tuple[Kl, ...] = ("analytic", "monte-carlo")


def point(**more: Any) -> Point:
    """Two variables of three categories, away from the start, where the learned prior is uniform."""
    parameters: dict[str, Any] = {"variables": 2, "categories": 3, "hidden": 4, "batch": 2} | more
    one = point_of("categorical-vae", **parameters)
    prior = dict(one.problem.theta.named_parameters()).get("prior.logits")
    if prior is not None:
        with torch.no_grad():
            prior.copy_(torch.linspace(-1, 1, prior.numel()).reshape(prior.shape))
    return one


def by_hand(one: Point) -> tuple[Tensor, Tensor]:
    """log q(z|x) and log p(x, z) of every state, [N, B], from the modules and textbook formulas alone."""
    p = one.problem.parameters  # pyright: ignore[reportAttributeAccessIssue]
    assert one.x is not None
    x = one.x[0, 0]
    codes = torch.tensor(list(itertools.product(range(p.categories), repeat=p.variables)))
    encoder, decoder = one.problem.phi.get_submodule("encoder"), one.problem.theta.get_submodule("decoder")
    log_q = encoder(x).reshape(len(x), p.variables, p.categories).log_softmax(-1)
    parameters = dict(one.problem.theta.named_parameters())
    logits = parameters.get("prior.logits", torch.zeros(p.variables, p.categories, dtype=F64))
    log_p = logits.log_softmax(-1)
    place = torch.arange(p.variables)
    flat = torch.zeros(len(codes), p.variables * p.categories, dtype=F64)
    for n, code in enumerate(codes.tolist()):
        for v, k in enumerate(code):
            flat[n, v * p.categories + k] = 1
    pixels = torch.sigmoid(decoder(flat))
    likelihood = pixels.log() @ x.T + (1 - pixels).log() @ (1 - x).T
    return log_q[:, place, codes].sum(-1).T, likelihood + log_p[place, codes].sum(-1)[:, None]


def gradient(one: Point, value: Tensor) -> Gradients:
    parameters = one.problem.named_parameters()
    found = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
    return {
        name: torch.zeros_like(parameter) if g is None else g
        for (name, parameter), g in zip(parameters.items(), found, strict=True)
    }


def same(found: Gradients, expected: Gradients, rtol: float = 1e-9) -> None:
    assert found.keys() == expected.keys()
    size = max(float(value.abs().max()) for value in expected.values())
    for name, value in expected.items():
        torch.testing.assert_close(found[name].reshape(value.shape), value, rtol=rtol, atol=1e-12 * size, msg=name)


def reference(one: Point, chosen: ChosenObjective, samples: int) -> Gradients:
    found = exactly(one, chosen, samples)
    assert found is not None
    assert found[0] == "enumeration"
    return found[1]


@pytest.mark.parametrize("prior", ["uniform", "learned"])
@pytest.mark.parametrize("kl", KLS)
@pytest.mark.parametrize("beta", [1.0, 0.3])
def test_the_exact_gradient_is_that_of_the_elbo_summed_by_hand(prior, kl, beta):
    one = point(prior=prior)
    log_q, log_p = by_hand(one)
    likelihood = log_p - prior_of(one)
    elbo = (log_q.exp() * (likelihood + beta * (prior_of(one) - log_q))).sum(0).mean()
    parameters = ChosenObjective("elbo", kl).kind.Parameters.model_validate({"beta": beta})
    same(reference(one, ChosenObjective("elbo", kl, parameters), 1), gradient(one, elbo))


def prior_of(one: Point) -> Tensor:
    """log p(z) of every state, [N, 1]."""
    p = one.problem.parameters  # pyright: ignore[reportAttributeAccessIssue]
    codes = torch.tensor(list(itertools.product(range(p.categories), repeat=p.variables)))
    logits = dict(one.problem.theta.named_parameters()).get("prior.logits", torch.zeros(2, 3, dtype=F64))
    return logits.log_softmax(-1)[torch.arange(p.variables), codes].sum(-1)[:, None]


def test_the_exact_gradient_is_the_central_difference_of_the_elbo():
    one = point()
    found = reference(one, ChosenObjective("elbo", "analytic"), 1)
    step = 1e-5
    for name, parameter in one.problem.named_parameters().items():
        flat, exact = parameter.data.view(-1), found[name].flatten()
        for place in range(0, flat.numel(), max(1, flat.numel() // 5)):
            sides = []
            for side in (step, -step):
                flat[place] += side
                with torch.no_grad():
                    log_q, log_p = by_hand(one)
                sides.append(float((log_q.exp() * (log_p - log_q)).sum(0).mean()))
                flat[place] -= side
            assert (sides[0] - sides[1]) / (2 * step) == pytest.approx(float(exact[place]), rel=1e-5, abs=1e-8), name


@pytest.mark.parametrize("prior", ["uniform", "learned"])
def test_the_bound_of_two_samples_is_the_sum_over_all_pairs(prior):
    one = point(prior=prior)
    log_q, log_p = by_hand(one)
    log_w = log_p - log_q
    total = torch.zeros((), dtype=F64)
    for a, b in itertools.product(range(9), repeat=2):
        bound = (0.5 * (log_w[a] - log_w[b]).exp() + 0.5).log() + log_w[b]
        total = total + (log_q[a].exp() * log_q[b].exp() * bound).mean()
    same(reference(one, ChosenObjective("iwae", "monte-carlo"), 2), gradient(one, total))
    elbo = reference(one, ChosenObjective("elbo", "monte-carlo"), 1)
    same(reference(one, ChosenObjective("iwae", "monte-carlo"), 1), elbo)


CASES = [
    *itertools.product(["score-function"], ["elbo"], KLS, [1, 2]),
    *itertools.product(["score-function-loo"], ["elbo"], KLS, [2]),
    *itertools.product(["iwae-score"], ["iwae"], ["monte-carlo"], [1, 2]),
]


@pytest.mark.parametrize(("estimator", "objective", "kl", "samples"), CASES)
def test_the_mean_over_all_draws_is_the_exact_gradient(estimator, objective, kl, samples):
    """Of one datapoint, every tuple of states once, weighted by its probability."""
    one = point(batch=1)
    chosen = ESTIMATORS[estimator]
    task = Task(one, chosen, chosen.Parameters().model_dump(), samples, ChosenObjective(objective, kl))
    z, mass = task.held_q.states().all()  # pyright: ignore[reportOptionalMemberAccess]
    numbers = torch.tensor(list(itertools.product(range(9), repeat=samples)))
    noise = 1000 * z[0][numbers]
    weights = mass[0, :, 0][numbers].prod(1)
    rows = general.replicate_gradients(task, noise, len(noise))
    exact = reference(one, task.objective, samples)
    same({name: weights @ value.detach() for name, value in rows.items()}, {n: v.flatten() for n, v in exact.items()})


@pytest.mark.parametrize("estimator", SINGLE)
@pytest.mark.parametrize("kl", KLS)
def test_every_path_through_the_engine_gives_the_same_gradients(estimator, kl):
    chosen = ESTIMATORS[estimator]
    parameters = chosen.Parameters().model_dump() | ({"fit_steps": 3} if chosen.fit else {})
    task = Task(point(), chosen, parameters, 2, ChosenObjective("elbo", kl)).fitted()
    noise = task.noise(5, torch.Generator().manual_seed(0))
    rows = loop.loop_gradients(task, noise, 5)
    for path in (general.replicate_gradients, recorded.layer_gradients):
        same({name: value.detach() for name, value in path(task, noise, 5).items()}, rows)


def test_a_uniform_prior_has_no_parameters_and_a_learned_one_starts_there():
    uniform, learned = (
        point_of("categorical-vae", variables=2, categories=3, prior=prior).problem for prior in ("uniform", "learned")
    )
    names = set(learned.named_parameters()) - set(uniform.named_parameters())
    assert names == {"theta.prior.logits"}
    z = torch.eye(3, dtype=F64)[torch.tensor([[0, 2]])][None, None]
    for problem in (uniform, learned):
        log_prob = problem.prior(Calls(problem.theta)).log_prob(z)
        torch.testing.assert_close(log_prob, torch.full_like(log_prob, -2 * np.log(3)))


def test_states_are_counted_by_variables_and_categories():
    kind: type[Problem] = PROBLEMS["categorical-vae"]
    assert kind.states(kind.Parameters(variables=3, categories=4)) == 64
    assert kind.latent_dim(kind.Parameters(variables=3, categories=4)) == 3
    assert exactly(point(variables=7, categories=4), ChosenObjective("elbo", "analytic"), 1) is None  # 2^14


def test_it_is_where_estimators_are_checked_and_explained():
    found = targets(["categorical-vae"])
    assert [(one.chosen.name, one.kl) for one in found] == [
        ("elbo", "analytic"),
        ("elbo", "monte-carlo"),
        ("iwae", "monte-carlo"),
    ]
    for one in found:
        assert one.reference(2).exact
        size = one.point.problem.states(one.axes.parameters)
        assert size is not None
        assert 2 <= size <= 9
    target, samples = target_for(ESTIMATORS["score-function-loo"], "categorical-vae")
    assert isinstance(target, Target)
    assert (target.problem, target.kl, samples) == ("categorical-vae", "monte-carlo", 2)


@pytest.mark.slow
def test_a_run_finds_the_control_biased_and_nothing_else(tmp_path):
    """At the start and after training, with exact references and beyond 2^12 states with a Monte-Carlo one.

    Each of some 260 p-values of right gradients is above 1e-5: an error rate of 3e-3 in all.
    """
    names = [*SINGLE, "exact"]
    small = {"problem": "categorical-vae", "size": {"variables": 2, "categories": 3, "hidden": 8}, "batch": 4}
    large = small | {"size": {"variables": 7, "categories": 4, "hidden": 8}}
    rows = ok_rows(
        tmp_path / "run",
        small | {"train_steps": [0, 20], "kl": list(KLS), "estimators": names, "samples": 2},
        small | {"objective": "iwae", "estimators": ["iwae-score"], "samples": [1, 2]},
        large | {"estimators": SINGLE, "samples": 2},
        replicates=4096,
    )
    phi = rows[rows.group == "phi"]
    assert set(phi[phi.latent_dim == 2].reference) == {"enumeration"}
    assert set(phi[phi.latent_dim == 7].reference) == {"monte-carlo"}
    assert (phi[phi.estimator == "fixed-sample"].verdict == "biased").all()
    right = rows[(rows.estimator != "fixed-sample") | rows.group.str.startswith("theta")]
    assert len(right) > 200
    assert (right.bias_p > 1e-5).all()
    assert (phi[phi.estimator == "fixed-sample"].bias_p < 1e-5).all()
    assert (phi[phi.estimator == "exact"].variance == 0).all()
    assert set(phi[phi.latent_dim == 2]["size"]) == {"variables=2 categories=3 hidden=8"}
