"""The cost of categorical variables: its exact gradient by hand, and exact variances by enumeration of all draws."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy

from gradbench.checking.models import fault
from gradbench.core.errors import UsageError
from gradbench.core.types import Gradients
from gradbench.engine import general, loop
from gradbench.engine.layers import recorded
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.base import Setting
from gradbench.objectives.chosen import ChosenObjective
from gradbench.problems import PROBLEMS
from gradbench.problems.categorical_cost import CategoricalCost
from gradbench.problems.networks import Calls
from gradbench.suite.suites import Settings, resolve
from gradbench.target.exact import exactly
from gradbench.target.points import Point
from tests.helpers import log_error, ok_rows, point_of, row_of

F64 = torch.float64
COST = ChosenObjective("cost")
TARGETS = [(2, 3, "coupled"), (1, 4, "coupled"), (2, 3, "additive")]
SCORES = [("score-function", 1), ("score-function", 2), ("score-function-loo", 2)]
SIZES = [(1, 2), (1, 5), (2, 3), (3, 2)]
KINDS = [("additive", 3.0), ("coupled", 3.0), ("coupled", 1.5), ("coupled", 2.0), ("additive", 1.0)]


def point(variables: int = 2, categories: int = 3, cost: str = "coupled", power: float = 3.0, **more) -> Point:
    return point_of("categorical-cost", variables=variables, categories=categories, cost=cost, power=power, **more)


def table(one: Point) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities [V, C]; every state [N, V, C] with its mass and its cost, all by numpy from the definition."""
    problem = one.problem
    assert isinstance(problem, CategoricalCost)
    a, p = problem.values.numpy(), softmax(problem.phi.get_parameter("logits").detach().numpy(), -1)
    variables, categories = a.shape
    codes = list(itertools.product(range(categories), repeat=variables))
    states = np.stack([np.eye(categories)[list(code)] for code in codes])
    mass = np.array([math.prod(p[v, k] for v, k in enumerate(code)) for code in codes])
    own = np.array([[a[v, k] for v, k in enumerate(code)] for code in codes])
    power = problem.parameters.power
    if problem.parameters.cost == "additive":
        f = np.mean(np.abs(own) ** power, axis=1)
    else:
        f = np.abs(own.sum(1) / math.sqrt(variables)) ** power
    return p, states, mass, f


def reference(one: Point) -> tuple[str, np.ndarray]:
    found = exactly(one, COST, 1)
    assert found is not None
    return found[0], found[1]["phi.logits"].numpy()


def all_draws(one: Point, samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The mass [R] of every tuple of states, and noise [R, L, 1, V, C] that draws it."""
    q = one.problem.posterior(Calls(one.problem.phi), None).held()
    z, mass = q.states().all()  # pyright: ignore[reportOptionalMemberAccess]
    numbers = torch.tensor(list(itertools.product(range(z.shape[1]), repeat=samples)))
    noise = 1000 * z[0][numbers]
    assert torch.equal(q.sample(noise), z[0][numbers])
    return mass[0, :, 0][numbers].prod(1), noise


def task_of(one: Point, estimator: str, samples: int) -> Task:
    chosen = ESTIMATORS[estimator]
    return Task(one, chosen, chosen.Parameters().model_dump(), samples, COST)


def gradients(task: Task, noise: torch.Tensor, path=general.replicate_gradients) -> np.ndarray:
    found: Gradients = path(task, noise, len(noise))
    return found["phi.logits"].detach().flatten(1).numpy()


@pytest.mark.parametrize(("variables", "categories"), SIZES)
@pytest.mark.parametrize(("cost", "power"), KINDS)
def test_the_exact_gradient_is_that_of_the_softmax_jacobian(variables, categories, cost, power):
    """∂E/∂logit_vk = p_vk (E[f | category k of v] − E[f])."""
    one = point(variables, categories, cost, power)
    p, states, mass, f = table(one)
    mean = (mass * f).sum()
    given = np.einsum("n,nvk,n->vk", mass, states, f) / p
    kind, found = reference(one)
    assert kind == ("closed-form" if cost == "additive" else "enumeration")
    np.testing.assert_allclose(found, p * (given - mean), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize(("cost", "power"), KINDS)
def test_the_exact_gradient_is_the_central_difference_of_the_expected_cost(cost, power):
    one = point(2, 3, cost, power)
    logits = one.problem.phi.get_parameter("logits")
    found = reference(one)[1]
    step = 1e-5
    for place in itertools.product(range(2), range(3)):
        sides = []
        for side in (step, -step):
            with torch.no_grad():
                logits[place] += side
                _, _, mass, f = table(one)
                logits[place] -= side
            sides.append((mass * f).sum())
        assert (sides[0] - sides[1]) / (2 * step) == pytest.approx(found[place], rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("variables", "categories"), SIZES)
@pytest.mark.parametrize("power", [1.0, 2.0, 3.0])
def test_the_closed_form_of_an_additive_cost_is_the_sum_over_states(variables, categories, power):
    one = point(variables, categories, "additive", power)
    _, _, mass, f = table(one)
    value = one.problem.closed_form(Calls(one.problem.phi), Calls(one.problem.theta), None)
    assert value is not None
    assert value.item() == pytest.approx((mass * f).sum(), rel=1e-12)


@pytest.mark.parametrize("path", [general.replicate_gradients, recorded.layer_gradients])
@pytest.mark.parametrize(("estimator", "samples"), SCORES)
@pytest.mark.parametrize(("variables", "categories", "cost"), TARGETS)
def test_exact_mean_and_variance_over_all_draws(estimator, samples, variables, categories, cost, path):
    """Every draw through the engine, weighted by its probability, beside sums over states written by hand.

    With s = z − p the score and g = E[f s]: one sample of the score function has the variance E[f² |s|²] − |g|², the
    mean of L of them 1/L of it; two with the other's f as baseline, (f − f′)(s − s′) / 2.
    """
    one = point(variables, categories, cost)
    p, states, mass, f = table(one)
    score = (states - p).reshape(len(mass), -1)
    exact = (mass * f) @ score
    if estimator == "score-function":
        variance = ((mass * f**2) @ (score**2).sum(1) - (exact**2).sum()) / samples
    else:
        halves = (f[:, None] - f)[..., None] * (score[:, None] - score) / 2
        variance = np.einsum("a,b,abi->", mass, mass, halves**2) - (exact**2).sum()
    weights, noise = all_draws(one, samples)
    found = gradients(task_of(one, estimator, samples), noise, path)
    assert float(weights.sum()) == pytest.approx(1, rel=1e-12)
    mean = weights.numpy() @ found
    np.testing.assert_allclose(mean, exact, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(mean, reference(one)[1].flatten(), rtol=1e-10, atol=1e-13)
    assert weights.numpy() @ ((found - mean) ** 2).sum(1) == pytest.approx(variance, rel=1e-9)


@pytest.mark.parametrize("samples", [1, 3])
def test_a_fixed_sample_has_no_gradient_and_the_exact_one_no_variance(samples):
    one = point()
    task = task_of(one, "exact", samples)
    found = gradients(task, torch.zeros(2, 0, dtype=F64), loop.loop_gradients)
    np.testing.assert_allclose(found, np.tile(reference(one)[1].flatten(), (2, 1)), rtol=1e-10, atol=1e-14)
    _, noise = all_draws(one, 1)
    assert not gradients(task_of(one, "fixed-sample", 1), noise, loop.loop_gradients).any()


@pytest.mark.parametrize("power", [1.5, 2.0, 3.0])
@pytest.mark.parametrize("estimator", ["score-function", "score-function-loo"])
def test_one_variable_of_two_categories_is_the_cost_of_a_bit(power, estimator):
    """Values −t and 1 − t make f = |b − t|ⁿ; only the difference of the logits plays a part."""
    prob, target = 0.3, 0.45
    one = point(1, 2, "coupled", power)
    assert isinstance(one.problem, CategoricalCost)
    one.problem.values = torch.tensor([[-target, 1 - target]], dtype=F64)
    with torch.no_grad():
        one.problem.phi.get_parameter("logits").copy_(torch.tensor([[1.0, 1.0 + math.log(prob / (1 - prob))]]))
    bit = point_of("bernoulli-cost", prob=prob, target=target, power=power)
    found = exactly(bit, COST, 1)
    assert found is not None
    expected = float(found[1]["phi.logits"])
    np.testing.assert_allclose(reference(one)[1], [[-expected, expected]], rtol=1e-6)
    weights, noise = all_draws(one, 2)
    rows = gradients(task_of(one, estimator, 2), noise)
    uniform = torch.where(noise[..., 1] > 0, 0.0, 1.0).to(F64)  # below the probability: the bit is 1
    bits = gradients(task_of(bit, estimator, 2), uniform)
    np.testing.assert_allclose(rows[:, 1:], bits, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(rows[:, :1], -bits, rtol=1e-6, atol=1e-12)
    assert float(weights.numpy() @ rows[:, 1]) == pytest.approx(expected, rel=1e-6)


def test_a_single_variable_has_one_cost_whatever_its_name():
    additive, coupled = point(1, 4, "additive"), point(1, 4, "coupled")
    np.testing.assert_array_equal(table(additive)[3], table(coupled)[3])
    np.testing.assert_allclose(reference(additive)[1], reference(coupled)[1], rtol=1e-11)


def test_a_coupled_cost_is_not_additive():
    """Its interaction of two variables, f(11) − f(12) − f(21) + f(22), is no rounding."""
    for cost, additive in (("additive", True), ("coupled", False)):
        f = table(point(2, 3, cost))[3].reshape(3, 3)
        interaction = f[0, 0] - f[0, 1] - f[1, 0] + f[1, 1]
        assert (abs(interaction) < 1e-14) == additive


@pytest.mark.parametrize("share", [1e-3, 0.1, 0.5, 0.9, 1 - 1e-9, 1 - 2**-53, 1.0])
@pytest.mark.parametrize("categories", [2, 3, 50])
def test_every_variable_has_the_entropy_that_is_asked_for(share, categories):
    one = point(3, categories, entropy=share)
    p = softmax(one.problem.phi.get_parameter("logits").detach().numpy(), -1)
    np.testing.assert_allclose(entropy(p, axis=-1) / math.log(categories), share, rtol=1e-9)
    assert np.allclose(p, 1 / categories, atol=1e-15) == (share > 1 - 1e-10)


def test_start_and_cost_leave_the_values_as_they_are_and_the_seed_does_not():
    def values(**more):
        problem = point(**more).problem
        assert isinstance(problem, CategoricalCost)
        return problem.values

    assert torch.equal(values(), values(entropy=0.2, cost="additive", power=1.5))
    assert not torch.equal(values(), values(seed=1))


def test_states_are_counted_and_too_many_are_no_target_of_enumeration():
    kind = PROBLEMS["categorical-cost"]
    assert kind.states(kind.Parameters(variables=3, categories=5)) == 125
    for variables, words in ((13, "8192 latent states"), (1000, "about 10^301 latent states")):
        parameters = kind.Parameters(variables=variables, categories=2)
        setting = Setting.of(kind, parameters, COST, 1, ESTIMATORS["exact"].Parameters())
        assert words in str(ESTIMATORS["exact"].why_not(setting))
    assert exactly(point(13, 2), COST, 1) is None
    found = exactly(point(13, 2, "additive"), COST, 1)
    assert found is not None
    assert found[0] == "closed-form"


@pytest.mark.parametrize(
    "wrong", [{"categories": 1}, {"entropy": 0}, {"entropy": 1.1}, {"power": 0.5}, {"cost": "linear"}, {"variables": 0}]
)
def test_what_cannot_be_is_refused(wrong):
    raw = {"name": "t", "grid": [{"problem": "categorical-cost", "estimators": ["exact"], **wrong}]}
    with pytest.raises(UsageError, match=rf"grid\[0\].*{next(iter(wrong))}"):
        resolve(raw, "t.toml", Settings())


class Uncounted(CategoricalCost):
    """Forgets to say how many states there are."""

    name = "uncounted"

    @classmethod
    def states(cls, parameters):  # pyright: ignore[reportIncompatibleMethodOverride]
        return None


class Masked(CategoricalCost):
    """Rules a category out by an infinite logit."""

    name = "masked"

    def posterior(self, phi, x):
        q = super().posterior(phi, x)
        return q.mapped(lambda logits: torch.cat([logits[..., :-1], logits[..., -1:] - math.inf], -1))


@pytest.mark.parametrize(
    ("kind", "words"), [(Uncounted, "9 states; the class says None"), (Masked, "logits is NaN or infinite")]
)
def test_a_problem_that_is_not_what_it_says_is_refused(kind, words):
    one = point()
    assert fault(one) is None
    problem = kind(one.axes.parameters, 0, one.axes.origin("initialise"))
    violation = fault(replace(one, problem=problem))
    assert violation is not None
    assert words in str(violation)


@pytest.mark.slow
def test_measured_variances_are_the_exact_ones(tmp_path):
    """Through the whole pipeline, within 4 standard errors on the log scale: an error rate of 4e-4 each."""
    grid = {"problem": "categorical-cost", "variables": 2, "categories": 3, "cost": ["additive", "coupled"]}
    names = ["fixed-sample", "exact", "score-function", "score-function-loo"]
    rows = ok_rows(tmp_path / "run", grid | {"estimators": names, "samples": [1, 2]}, replicates=65536)
    rows = rows[rows.group == "phi"]
    for cost in ("additive", "coupled"):
        some = rows[rows.problem_params.str.contains(f'"cost":"{cost}"')]
        p, states, mass, f = table(point(2, 3, cost))
        score = (states - p).reshape(len(mass), -1)
        exact = (mass * f) @ score
        single = (mass * f**2) @ (score**2).sum(1) - (exact**2).sum()
        halves = (f[:, None] - f)[..., None] * (score[:, None] - score) / 2
        pair = np.einsum("a,b,abi->", mass, mass, halves**2) - (exact**2).sum()
        wanted = {("score-function", 1): single, ("score-function", 2): single / 2, ("score-function-loo", 2): pair}
        for (name, samples), variance in wanted.items():
            row = row_of(some, estimator=name, samples=samples)
            assert row.gradient_norm == pytest.approx(np.linalg.norm(exact), rel=1e-9)
            assert log_error(row) < 0.2
            assert abs(math.log(row.variance / variance)) < 4 * log_error(row), (cost, name, row.variance, variance)
            assert row.verdict != "biased"
        for samples in (1, 2):
            assert row_of(some, estimator="fixed-sample", samples=samples).relative_bias == pytest.approx(1, rel=1e-12)
            assert row_of(some, estimator="fixed-sample", samples=samples).verdict == "biased"
            assert row_of(some, estimator="exact", samples=samples).verdict == "unbiased"
            assert row_of(some, estimator="exact", samples=samples).variance == 0
