"""What every registered estimator owes to the engine: each declaration is held to a measurement."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gradbench import estimators as package
from gradbench.checking.verdict import check
from gradbench.core.errors import MeasurementError
from gradbench.core.types import Noise, hold, holding, watching
from gradbench.engine.general import replicate_gradients
from gradbench.engine.layers import layer_norms
from gradbench.engine.measure import measure
from gradbench.engine.options import Options
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.base import EstimatorParameters, Setting
from gradbench.estimators.draws import SAMPLES, own
from gradbench.estimators.scope import Scope
from gradbench.objectives.base import average
from gradbench.objectives.chosen import ChosenObjective
from gradbench.problems import PROBLEMS
from gradbench.problems.networks import Calls
from gradbench.statistics import block_variances
from tests.helpers import CASES, TINY, exact_reference, integrated, label, noise_of, pairs, suits, task_of

CONTRACT = pairs(CASES, (2, 4))
REPLICATES = 5
SECTIONS = ("Estimates", "Surrogate", "Held constant", "Unbiased for", "Needs", "Cost", "Paper")

WITHOUT_EFFECT = {
    ("disarm", "b"): "a comparison has no gradient",
    ("gumbel-softmax", "b"): "a comparison has no gradient",
    ("exact", "q in f"): "the sum over all z of q(z) grad log q(z) is 0 exactly",
}
"""Holds that change no gradient: the ledger explains them, and nothing can go wrong without them."""

ALL = pytest.mark.parametrize("values", CONTRACT, ids=label)


QUICK = {"score-function-learned": {"fit_steps": 5}}
"""Parameters that make a fit short: what is held to here does not depend on how good it is."""


def make(values) -> Task:
    name, one, kl, samples = values
    return task_of(one.point(), name, samples, kl, **QUICK.get(name, {}))


def values_of(task: Task, noise: Noise) -> Tensor:
    problem = task.point.problem
    return task.values(noise, Calls(problem.phi), Calls(problem.theta)).detach()


def changed(noise: Noise, where: tuple) -> Noise:
    """Noise with other draws of the same distribution at ``where``."""
    assert isinstance(noise, Tensor)
    other = noise.clone()
    other[where] = other[where].flip(-1) * 0.5 + 0.21
    return other


def drawn(task: Task) -> bool:
    noise = noise_of(task, 1)
    return not isinstance(noise, Tensor) or noise.numel() > 0


@ALL
def test_a_surrogate_is_one_value_per_replicate(values):
    task = make(values)
    assert values_of(task, noise_of(task, REPLICATES)).shape == (REPLICATES,)


@ALL
def test_noise_has_a_replicate_axis_first_and_comes_from_its_generator(values):
    task = make(values)
    before = torch.get_rng_state()
    one, same, other = (noise_of(task, REPLICATES, seed) for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    for a, b, c in zip(*(n.values() if isinstance(n, dict) else [n] for n in (one, same, other)), strict=True):
        assert a.shape[0] == REPLICATES
        assert torch.equal(a, b)
        assert a.numel() == 0 or not torch.equal(a, c)
        assert not a.requires_grad
    assert drawn(task) != task.estimator.deterministic


@ALL
def test_replicates_do_not_mix(values):
    task = make(values)
    noise = noise_of(task, REPLICATES)
    first, gradients = values_of(task, noise), replicate_gradients(task, noise, REPLICATES)
    if not drawn(task):
        assert torch.equal(first, first[:1].expand(REPLICATES))
        assert all(torch.equal(value, value[:1].expand_as(value)) for value in gradients.values())
        return
    other = changed(noise, (0,))
    assert torch.equal(values_of(task, other)[1:], first[1:])
    for name, value in replicate_gradients(task, other, REPLICATES).items():
        assert torch.equal(value[1:], gradients[name][1:]), name
    order = torch.tensor([3, 1, 4, 0, 2])
    assert isinstance(noise, Tensor)
    torch.testing.assert_close(values_of(task, noise[order]), first[order], rtol=1e-12, atol=0)
    for name, value in replicate_gradients(task, noise[order], REPLICATES).items():
        scale = float(gradients[name].abs().max())
        torch.testing.assert_close(value, gradients[name][order], rtol=0, atol=1e-12 * scale)


@ALL
def test_nothing_hidden_is_drawn(values):
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        task = make(values)
        noise = noise_of(task, REPLICATES)
        found.append((values_of(task, noise), task.gradient(noise)))
        assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(found[0][0], found[1][0])
    assert all(torch.equal(value, found[1][1][name]) for name, value in found[0][1].items())


def interaction(task: Task) -> float:
    """How far the draws of two datapoints are from acting on the gradient one by one, relative to their action."""
    noise = noise_of(task, REPLICATES)
    both = [
        replicate_gradients(task, one, REPLICATES)
        for one in (
            noise,
            changed(noise, (slice(None), slice(None), 0)),
            changed(noise, (slice(None), slice(None), 1)),
            changed(noise, (slice(None), slice(None), slice(0, 2))),
        )
    ]
    neither, first, second, together = (torch.cat([g.flatten() for g in found.values()]) for found in both)
    return float((together - first - second + neither).norm() / (first - neither).norm())


@pytest.mark.parametrize("values", [v for v in CONTRACT if dict(v[1].parameters).get("batch") == 2], ids=label)
def test_datapoints_mix_only_where_that_is_declared(values):
    task = make(values)
    if drawn(task):
        assert (interaction(task) > 1e-9) == task.estimator.mixes_datapoints


def baseline_over_the_batch(objective, q, noise):
    z = hold(q.sample(noise), "z")
    f = objective.f(z, hold(q, "q in f"))
    return average(hold(f - f.mean(2, keepdim=True), "weight") * q.log_prob(z))


def antithetic_datapoints(q, replicates, samples, generator):
    noise = q.noise(replicates, samples, generator)
    noise[:, :, 1] = -noise[:, :, 0]
    return noise


MIXING = [
    replace(ESTIMATORS["score-function"], name="batch baseline", surrogate=baseline_over_the_batch, ledger=()),
    replace(ESTIMATORS["pathwise"], name="antithetic datapoints", draws=own(antithetic_datapoints)),
]


def test_a_baseline_over_the_batch_is_seen_to_mix_datapoints():
    (one,) = (c for c in CASES if c.label == "gaussian-vae")
    assert interaction(task_of(one.point(), MIXING[0], 2)) > 1e-3


def forms(estimator, one, samples: int, kl: str | None) -> tuple[float, float]:
    """The variance by datapoint less that of the whole gradient, and the standard error of the difference."""
    task = task_of(one.point(), estimator, samples, kl, **QUICK.get(estimator.name, {}))
    reference = {name: value.detach() for name, value in task.point.problem.named_parameters().items()}
    apart, whole = (
        block_variances(measure(task, range(128), 16, reference, options=Options(variance=form)))["all"]
        for form in ("datapoint", "whole")
    )
    difference = (apart - whole) / whole.mean()
    return float(difference.mean()), float(difference.std(ddof=1) / math.sqrt(len(difference)))


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_the_variance_by_datapoint_is_that_of_the_whole_gradient(name):
    """What an undeclared mixing would make wrong; 4.5 standard errors: 7e-6 for each."""
    for values in CONTRACT:
        if values[0] != name or values[3] != 2 or dict(values[1].parameters).get("batch") != 2:
            continue
        task = make(values)
        if drawn(task) and not task.estimator.mixes_datapoints:
            difference, error = forms(task.estimator, values[1], 2, values[2])
            assert abs(difference) <= 4.5 * error + 1e-9, label(values)
            assert error < 0.1


@pytest.mark.parametrize("estimator", MIXING, ids=lambda estimator: estimator.name)
def test_mixing_that_is_not_declared_is_caught_and_would_have_been_wrong(estimator, monkeypatch):
    (one,) = (c for c in CASES if c.label == "gaussian-vae")
    if estimator.name == "batch baseline":  # which one pass shows; of the noise, `check` looks at the draws
        with pytest.raises(MeasurementError, match="changes with another's noise"):
            forms(estimator, one, 2, "analytic")
    monkeypatch.setattr(layer_norms, "check_apart", lambda task: None)
    difference, error = forms(estimator, one, 2, "analytic")
    assert abs(difference) > 5 * error
    result = check(estimator, problems=["linear-gaussian"])
    assert [found.kind for found in result.violations] == ["mixes datapoints"]
    declared = replace(estimator, mixes_datapoints=True)
    assert not check(declared, problems=["linear-gaussian"], replicates=2048).violations
    task = task_of(one.point(), declared, 2)
    reference = {name: value.detach() for name, value in task.point.problem.named_parameters().items()}
    assert not measure(task, range(4), 8, reference).by_datapoint
    with pytest.raises(MeasurementError, match="mixes datapoints"):
        measure(task, range(4), 8, reference, options=Options(variance="datapoint"))


# The ledger


def of(name: str) -> list:
    return [values for values in CONTRACT if values[0] == name]


def gradient_under(task: Task, noise: Noise, **context) -> dict[str, Tensor]:
    """The gradient of the surrogate alone, the remainder left out, with holds dropped or added."""
    problem = task.point.problem
    kept = {name: frozenset(factors) for name, factors in context.items()}

    def bare(objective, q, noise, *rest):
        with holding(**kept):
            value = task.estimator.surrogate(objective, q, noise, *rest)
        remainder = objective.remainder(q)
        return value if remainder is None else value - remainder

    found = replace(task, estimator=replace(task.estimator, surrogate=bare)).gradient(noise)
    assert set(found) == set(problem.named_parameters())
    return found


def moved(a: dict[str, Tensor], b: dict[str, Tensor], group: str) -> bool:
    """Do two gradients differ, beyond rounding, in a group?"""
    scale = max([1e-300, *(float(v.abs().max()) for v in (*a.values(), *b.values()))])
    return any(float((a[n] - b[n]).abs().max()) > 1e-11 * scale for n in a if n.startswith(group + "."))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_ledger_names_exactly_the_factors_of_the_surrogate(name):
    declared = {factor.name: factor.held for factor in ESTIMATORS[name].ledger}
    assert len(declared) == len(ESTIMATORS[name].ledger)
    union: dict[str, bool] = {}
    for values in of(name):
        task = make(values)
        with watching() as seen:
            values_of(task, noise_of(task, 2))
        assert all(union.get(factor, held) == held for factor, held in seen.items())
        union |= seen
    assert union == declared
    assert all(factor.why for factor in ESTIMATORS[name].ledger)


@ALL
def test_the_ledger_is_complete(values):
    """With all that is differentiated held too, nothing is left to differentiate."""
    task = make(values)
    factors = {factor.name for factor in task.estimator.ledger if not factor.held}
    found = gradient_under(task, noise_of(task, 3), add=factors)
    # the remainder is added and subtracted again: zero up to its rounding
    assert all(float(value.abs().max()) < 1e-12 for value in found.values())


@pytest.mark.parametrize("name", ESTIMATORS)
def test_each_live_factor_carries_what_the_ledger_says(name):
    """Holding it changes the φ-gradient, the θ-gradient, or both, on some problem: as declared."""
    carried: dict[str, set[str]] = {factor.name: set() for factor in ESTIMATORS[name].ledger if not factor.held}
    for values in of(name):
        task = make(values)
        noise = noise_of(task, 3)
        full = gradient_under(task, noise)
        for factor, groups in carried.items():
            without = gradient_under(task, noise, add={factor})
            groups |= {group for group in ("phi", "theta") if moved(full, without, group)}
    for factor in ESTIMATORS[name].ledger:
        if not factor.held:
            declared = {group for group in ("phi", "theta") if getattr(factor, group)}
            assert carried[factor.name] == declared, factor.name


@pytest.mark.parametrize("name", ESTIMATORS)
def test_each_hold_matters(name):
    """Dropping it changes the gradient on some problem, or nothing could flow there in the first place."""
    for factor in (factor.name for factor in ESTIMATORS[name].ledger if factor.held):
        differs = False
        for values in of(name):
            task = make(values)
            noise = noise_of(task, 3)
            full, without = gradient_under(task, noise), gradient_under(task, noise, drop={factor})
            differs |= moved(full, without, "phi") or moved(full, without, "theta")
        assert differs != ((name, factor) in WITHOUT_EFFECT), factor


def test_the_exceptions_are_factors_that_exist():
    held = {(e.name, factor.name) for e in ESTIMATORS.values() for factor in e.ledger if factor.held}
    assert set(WITHOUT_EFFECT) <= held


# Unbiasedness, by exact expectations over the noise

EXPECTED = [
    v
    for v in pairs(TINY, (1, 2))
    if not (v[3] == 2 and v[0] not in ("score-function-loo", "disarm", "pathwise-antithetic") and "vae" in v[1].label)
]


def bias_by_integration(values) -> dict[str, float]:
    """‖E ĝ − g‖ relative to ‖g‖, in φ and in θ, with the expectation over the noise computed exactly."""
    task = make(values)
    nodes = 100 if values[3] == 1 or task.objective.joint else 48
    weights, noise = integrated(task, nodes)
    bound = task.objective.joint
    exact = bound_gradient(task, weights, noise) if bound else exact_reference(task.point).gradient
    found = replicate_gradients(task, noise, len(weights))
    whole = sum(float(value.square().sum()) for value in exact.values()) ** 0.5
    sums = {"phi": 0.0, "theta": 0.0}
    for name, value in found.items():
        difference = weights @ value - exact[name].flatten()
        sums[name.partition(".")[0]] += float(difference.square().sum())
    return {group: value**0.5 / whole for group, value in sums.items()}


def bound_gradient(task: Task, weights: Tensor, noise: Noise) -> dict[str, Tensor]:
    """The gradient of the importance-weighted bound itself, integrated over the noise and then differentiated.

    Of latents without a path, the masses of the samples are what depends on φ: q over q held, sample by sample.
    """
    problem = task.point.problem
    assert isinstance(noise, Tensor)
    q = problem.posterior(Calls(problem.phi), task.point.x)
    log_weights = task.at(Calls(problem.theta)).f(q.sample(noise), q)
    bound = (log_weights.logsumexp(1) - math.log(task.samples)).mean(-1)
    if not q.reparameterised:
        log_q = q.log_prob(q.sample(noise)).sum((1, 2))
        bound = bound * (log_q - log_q.detach()).exp()
    value = (weights * bound).sum()
    parameters = problem.named_parameters()
    return dict(zip(parameters, torch.autograd.grad(value, tuple(parameters.values())), strict=True))


@pytest.mark.parametrize("values", EXPECTED, ids=label)
def test_an_unbiased_estimator_has_the_reference_as_its_exact_mean(values):
    bias, task = bias_by_integration(values), make(values)
    for part in ("phi", "theta"):
        if task.estimator.is_unbiased(task.objective.name, part, task.samples):
            assert bias[part] < 1e-8


def declared_biased(name: str) -> list[tuple[str, str]]:
    """The objectives and parts of which an estimator is declared biased."""
    declared = ESTIMATORS[name].unbiased
    return [(o, part) for o in declared for part in ("phi", "theta") if getattr(declared[o], part) is Scope.BIASED]


@pytest.mark.parametrize("name", [name for name in ESTIMATORS if declared_biased(name)])
def test_an_estimator_declared_biased_is_biased(name):
    expected = [(values, make(values).objective.name) for values in EXPECTED if values[0] == name]
    for objective, part in declared_biased(name):
        found = [bias_by_integration(values)[part] for values, at in expected if at == objective]
        if part == "theta" and objective == "cost":
            continue  # a cost has no θ
        assert max(found) > 1e-2, (objective, part)


# Files and registry


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_docstring_has_every_section_in_order(name):
    module = ESTIMATORS[name].surrogate.__module__.removeprefix("gradbench.estimators.")
    text = (Path(package.__path__[0]) / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
    positions = [text.find(f"\n{section}: ") for section in SECTIONS]
    assert all(position > 0 for position in positions), dict(zip(SECTIONS, positions, strict=True))
    assert positions == sorted(positions)
    assert positions[-1] < text.index('"""', 3)


def test_the_folder_and_the_registry_agree():
    files = {path.stem for path in Path(package.__path__[0]).glob("*/*.py")} - {"__init__"}
    assert files == {name.replace("-", "_") for name in ESTIMATORS}
    for name, estimator in ESTIMATORS.items():
        assert estimator.name == name
        assert estimator.surrogate.__module__.rpartition(".")[2] == name.replace("-", "_")
        assert estimator.title
        assert estimator.paper


def test_every_problem_and_latent_family_has_an_estimator_that_runs():
    assert {values[0] for values in CONTRACT} == set(ESTIMATORS)
    assert {values[1].label for values in CONTRACT} == {one.label for one in CASES}


# Settings that make no sense


def setting(problem="gaussian-vae", objective="elbo", kl="analytic", samples=2, layers=1, **parameters) -> Setting:
    kind = PROBLEMS[problem]
    where = Setting.of(
        kind, kind.Parameters(**parameters), ChosenObjective(objective, kl), samples, EstimatorParameters()
    )
    return replace(where, layers=layers)


BITS = {"problem": "sigmoid-belief"}


@pytest.mark.parametrize(
    ("name", "keys", "says"),
    [
        (
            "pathwise",
            BITS,
            "needs latents with a differentiable sampling path; the bernoulli latents of sigmoid-belief",
        ),
        ("disarm", BITS | {"layers": 2}, "is for one layer of latents; sigmoid-belief has 2"),
        ("disarm", {}, "needs bernoulli latents; gaussian-vae has gaussian"),
        ("gumbel-softmax", {}, "needs bernoulli latents"),
        ("score-function-loo", {"samples": 1}, "samples >= 2"),
        ("pathwise-antithetic", {"samples": 3}, "samples = 3 is odd"),
        ("disarm", BITS | {"samples": 1}, "samples = 1 is odd"),
        ("sticking-the-landing", {}, "use kl = 'monte-carlo'"),
        ("exact", BITS | {"latent": 13}, r"8192 latent states are too many to enumerate \(at most 4096\)"),
        ("score-function", {"objective": "iwae"}, "not iwae"),
    ],
)
def test_a_setting_that_cannot_work_has_its_reason(name, keys, says):
    reason = ESTIMATORS[name].why_not(setting(**keys))
    assert reason is not None
    assert name in reason
    assert re.search(says, reason)


def test_settings_that_work_have_none():
    assert ESTIMATORS["sticking-the-landing"].why_not(setting(kl="monte-carlo", samples=1)) is None
    assert ESTIMATORS["exact"].why_not(setting(**BITS, latent=12)) is None
    assert ESTIMATORS["score-function-loo"].why_not(setting(**BITS)) is None


TWICE = ("gumbel-softmax", "iwae-dreg")
"""Estimators that evaluate each sample once for φ and once for θ."""


@pytest.mark.parametrize(("name", "expected"), [(n, 6.0) for n in ESTIMATORS if n not in (*TWICE, "exact")])
def test_evaluations_are_counted_as_the_surrogate_makes_them(name, expected):
    assert ESTIMATORS[name].cost(setting(samples=6)).total == expected


@ALL
def test_the_declared_evaluations_are_those_made(values):
    """Latents per datapoint that the likelihood, or the cost, is evaluated at."""
    task = make(values)
    name = "cost" if task.point.problem.objective == "cost" else "log_likelihood"
    original, made = getattr(task.point.problem, name), []

    def counted(*arguments):
        made.append(arguments[-1].shape[1])
        return original(*arguments)

    setattr(task.point.problem, name, counted)
    values_of(task, noise_of(task, 1))
    own = task.estimator.Parameters(**task.parameters)
    where = Setting.of(type(task.point.problem), task.point.axes.parameters, task.objective, task.samples, own)
    assert sum(made) == task.estimator.cost(where).forward


def test_standard_noise_is_shared_by_the_estimators_that_draw_it():
    """Estimators are compared on the same draws wherever they draw the same shape."""
    (one,) = (c for c in CASES if c.label == "gaussian-vae")
    drawn = [
        noise_of(task_of(one.point(), e, 2), 3)
        for e in ESTIMATORS.values()
        if e.draws is SAMPLES and suits(e, "gaussian-vae")
    ]
    assert len(drawn) > 3
    assert all(torch.equal(a, b) for a, b in itertools.pairwise(drawn))  # pyright: ignore
