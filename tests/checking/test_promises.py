"""What a surrogate may do with what it is given, and what its parameters and its fitted state reach."""

from __future__ import annotations

import random
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import PositiveInt

from gradbench.checking import contract, evaluating, in_place, mixing
from gradbench.checking.verdict import check_estimator
from gradbench.core.errors import MeasurementError, PluginError
from gradbench.core.isolation.process import RANDOM, Noted
from gradbench.engine import general, passes
from gradbench.engine.measure import measure_moments as measure
from gradbench.engine.minibatches import fitted
from gradbench.engine.options import Options
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.base import Estimator, EstimatorParameters
from gradbench.estimators.draws import own
from gradbench.explaining.variants import explain
from gradbench.objectives.base import average
from gradbench.statistics import block_variances
from tests.checking.broken import pathwise, score
from tests.helpers import exact_reference, point_of, run_grids, task_of
from tests.runner.misbehaving import ends_late


def violation(estimator: Estimator, problem: str = "linear-gaussian", samples: int = 2, **parameters):
    task = task_of(point_of(problem, **parameters), estimator, samples)
    return contract.violation(problem, lambda: task)


def estimator(surrogate, **declared) -> Estimator:
    return Estimator("mine", "mine", surrogate, ledger=(), paper="-", **declared)


# In place


def z_after_f(objective, q, noise):
    z = q.sample(noise).detach()
    f = objective.f(z, q.held())
    z.mul_(2)
    return average(f.detach() * q.log_prob(z) + f)


def q_itself(objective, q, noise):
    with torch.no_grad():
        q.parameters["loc"].mul_(0.5)
    return score(objective, q, noise)


def q_replaced(objective, q, noise):
    q.parameters["scale"] = q.parameters["scale"] * 0.5
    return score(objective, q, noise)


def the_noise(objective, q, noise):
    noise.mul_(0.5)
    return score(objective, q, noise)


def the_minibatch(objective, q, noise):
    objective.x.mul_(0.5)
    return score(objective, q, noise)


def the_state(objective, q, noise, state):
    state["centre"].add_(1)
    return score(objective, q, noise)


IN_PLACE = {
    "z after f": (z_after_f, {}),
    "'loc' of q": (q_itself, {}),
    "'scale' of q": (q_replaced, {}),
    "the noise": (the_noise, {}),
    "'centre' of the fitted state": (the_state, {"fit": lambda *_: {"centre": torch.zeros(())}}),
}


@pytest.mark.parametrize("says", IN_PLACE)
def test_what_is_given_is_not_changed_in_place(says: str, monkeypatch) -> None:
    surrogate, declared = IN_PLACE[says]
    found = violation(estimator(surrogate, latents=frozenset({"gaussian"}), **declared))
    assert found is not None
    assert found.kind == "changes in place"
    assert says.removesuffix(" after f") in found.seen
    assert "make a new tensor" in found.remedy
    monkeypatch.setattr(in_place, "nothing_changed", lambda *_: None)
    missed = violation(estimator(surrogate, latents=frozenset({"gaussian"}), **declared))
    assert missed is None or missed.kind != found.kind


def test_the_minibatch_is_not_changed_in_place() -> None:
    found = violation(estimator(the_minibatch))
    assert found is not None
    assert (found.kind, "the minibatch x" in found.seen) == ("leaves changed", True)


def test_z_may_be_made_in_place_before_it_is_used() -> None:
    def scaled(objective, q, noise):
        z = q.sample(noise).detach().mul_(1.0)
        return average(objective.f(z, q.held()).detach() * q.log_prob(z) + objective.f(z=z, q=q.held()))

    assert violation(estimator(scaled)) is None


def test_code_that_ends_the_process_once_it_is_measured_is_a_violation() -> None:
    result = check_estimator(estimator(ends_late()), problems=["gaussian-cost"])
    assert [(v.kind, v.target, v.raised) for v in result.violations] == [("raises", "measured", "SystemExit")]


def test_state_left_changed_once_it_is_measured_is_a_violation() -> None:
    def late(objective, q, noise):
        if len(noise) > 8:
            torch.set_default_dtype(torch.float64)
        return score(objective, q, noise)

    result = check_estimator(estimator(late), problems=["gaussian-cost"])
    assert [(v.kind, v.target) for v in result.violations] == [("leaves changed", "measured")]
    assert torch.get_default_dtype() is torch.float32


@pytest.mark.parametrize("seed", [torch.manual_seed, np.random.seed, random.seed])
def test_seeding_is_found_where_the_state_came_from_that_seed(seed) -> None:
    def seeds(objective, q, noise):
        seed(1)
        return score(objective, q, noise)

    before = Noted(RANDOM)
    seed(1)
    found = violation(estimator(seeds))
    before.put_back()
    assert found is not None
    assert (found.kind, "or seeds" in found.seen) == ("hidden randomness", True)


# Large models


def test_large_models_are_tested_on_few_replicates(monkeypatch) -> None:
    seen = []

    def spied(objective, q, noise):
        seen.append(len(noise))
        return score(objective, q, noise)

    monkeypatch.setattr(evaluating, "LARGE", 1)
    assert violation(estimator(spied)) is None
    assert max(seen) == evaluating.FEW
    mixed = estimator(lambda o, q, n: score(o, q, n, weight=lambda f: f - f.mean(0, keepdim=True)))
    found = violation(mixed)
    assert found is not None
    assert found.kind == "mixes replicates"


def test_ties_of_large_noise_are_looked_for_in_draws_that_fit(monkeypatch) -> None:
    def flipped(q, replicates, samples, generator):
        noise = q.noise(replicates, samples, generator)
        drawn.append(replicates)
        noise[:, :, 1] = -noise[:, :, 0]
        return noise

    drawn: list[int] = []
    monkeypatch.setattr(mixing, "TIED_NUMBERS", 2**12)
    found = violation(estimator(pathwise, draws=own(flipped), latents=frozenset({"gaussian"})), samples=64, batch=2)
    assert found is not None
    assert found.seen == "the noise of one datapoint goes with another's"
    assert max(drawn) < mixing.TIED_REPLICATES


# Parameters


class Parameters(EstimatorParameters):
    repeats: PositiveInt = 2


def repeated_noise(q, replicates, samples, generator, parameters):
    return q.noise(replicates, samples * parameters.repeats, generator)


def repeated(objective, q, noise, parameters):
    assert isinstance(parameters, Parameters)
    assert noise.shape[1] % parameters.repeats == 0
    return average(objective.f(q.sample(noise), q))


def even_at_three(setting):
    return "an odd L" if setting.parameters.repeats == 3 and setting.samples % 2 else None


REPEATED = Estimator(
    "repeated",
    "draws some samples for each",
    repeated,
    ledger=(),
    paper="-",
    Parameters=Parameters,
    draws=own(repeated_noise),
    needs=even_at_three,
    evaluations=lambda setting: float(setting.samples * setting.parameters.repeats),
    latents=frozenset({"gaussian"}),
    scored=False,
)


def test_parameters_reach_noise_needs_and_evaluations(monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(ESTIMATORS, "repeated", REPEATED)
    grid = {
        "problem": "gaussian-cost",
        "estimators": ["pathwise", {"name": "repeated", "repeats": [1, 2, 3]}],
        "samples": [1, 2],
    }
    frame = run_grids(tmp_path / "run", grid, replicates=4096).run.frame
    cells = frame[(frame.estimator == "repeated") & (frame.group == "all")]
    rows = {(row.estimator_params, row.samples): row for row in cells.itertuples()}
    assert rows['{"repeats":3}', 1].status == "skipped"
    assert rows['{"repeats":3}', 1].message == "repeated: an odd L"
    assert {key: row.evaluations for key, row in rows.items() if row.status == "ok"} == {
        (f'{{"repeats":{repeats}}}', samples): repeats * samples
        for repeats, samples in [(1, 1), (1, 2), (2, 1), (2, 2), (3, 2)]
    }
    one, two = rows['{"repeats":1}', 1], rows['{"repeats":2}', 1]
    plain = frame[(frame.estimator == "pathwise") & (frame.group == "all")].set_index("samples").variance
    assert one.variance == plain[1]  # the same draws
    assert abs(two.variance - plain[2]) < 1e-12 * plain[2]


def test_parameters_reach_check_and_explain() -> None:
    assert check_estimator(REPEATED, problems=["gaussian-cost"], margin=0.1).verdict == "unbiased"
    assert explain(REPEATED, "gaussian-cost").data()["evaluations"] == 2


def test_a_needs_that_does_not_say_is_the_plugins_fault() -> None:
    setting = task_setting()
    for needs, says in (
        (lambda setting: 1 / 0, "needs.setting. raises ZeroDivisionError"),
        (lambda setting: True, "needs.setting. gives True"),
        (lambda setting: exit(0), "needs.setting. raises SystemExit"),
    ):
        with pytest.raises(PluginError, match=says):
            estimator(pathwise, needs=needs).why_not(setting)


def task_setting():
    from gradbench.checking.targets import Target

    return Target("gaussian-cost", None).setting(2, REPEATED)


# Fitted state


def fit_by_datapoint(objective, q, samples, generator):
    f = objective.f(q.sample(q.noise(64, samples, generator)), q)
    return {"centre": f.mean((0, 1), keepdim=True)}


def fit_flat(objective, q, samples, generator):
    return {"centre": fit_by_datapoint(objective, q, samples, generator)["centre"].flatten()}


def with_baselines(objective, q, noise, state):
    return score(objective, q, noise, weight=lambda f: f - state["centre"])


DECLARED = estimator(with_baselines, fit=fit_by_datapoint, state_by_datapoint=frozenset({"centre"}))


@pytest.mark.parametrize("fit", [fit_by_datapoint, fit_flat])
@pytest.mark.parametrize("batch", [2, 3])
def test_a_state_by_datapoint_is_refused_unless_it_is_declared(fit, batch: int) -> None:
    found = violation(estimator(with_baselines, fit=fit), batch=batch)
    assert found is not None
    assert found.kind == "state by datapoint"
    assert "declare state_by_datapoint" in found.remedy
    assert violation(DECLARED, batch=batch) is None


def test_a_state_that_is_shared_is_none() -> None:
    shared = estimator(with_baselines, fit=lambda *given: {"centre": fit_by_datapoint(*given)["centre"].mean()})
    assert violation(shared) is None
    assert violation(ESTIMATORS["score-function-learned"]) is None


def test_a_declared_state_gives_the_same_variance_on_every_path(monkeypatch) -> None:
    monkeypatch.setattr(passes, "TELLING", 1)  # the same replicates on both
    point = point_of("gaussian-vae", hidden=3, latent=2, batch=3)
    far = lambda *given: {"centre": torch.linspace(-99, 99, 3, dtype=torch.float64)[None, None]}  # noqa: E731
    task = task_of(point, replace(DECLARED, fit=far), 2)
    gradient = exact_reference(point).gradient

    def spread(engine: str, variance: str) -> float:
        options = Options(engine=engine, variance=variance)  # pyright: ignore[reportArgumentType]
        return float(block_variances(measure(task, range(32), 64, gradient, options=options))["all"].mean())

    by_layers, by_general = spread("layers", "datapoint"), spread("general", "datapoint")
    assert abs(by_layers - by_general) < 0.02 * by_layers
    whole = spread("general", "whole")
    assert abs(whole - by_general) < 0.25 * whole
    undeclared = replace(task, estimator=replace(task.estimator, state_by_datapoint=frozenset()))
    options = Options(engine="general", variance="datapoint")
    with pytest.raises(MeasurementError, match=r"variance = 'datapoint'"):
        measure(undeclared, range(32), 64, gradient, options=options)
    monkeypatch.setattr(general, "_check_alone", lambda *given: None)
    wrong = measure(undeclared, range(32), 64, gradient, options=options)
    assert float(block_variances(wrong)["all"].mean()) < 0.9 * by_general  # what would be measured undeclared


def test_a_state_by_datapoint_does_not_go_to_other_minibatches() -> None:
    point = point_of("gaussian-vae", hidden=3, latent=2, batch=3)
    declared, undeclared = DECLARED, replace(DECLARED, state_by_datapoint=frozenset())
    task = task_of(point, ESTIMATORS["score-function"], 2)
    with pytest.raises(MeasurementError, match=r"centre of its fitted state belong.*\nuse noise = 'latent'"):
        fitted(replace(task, estimator=declared))
    alone = replace(task, point=replace(point, x=None if point.x is None else point.x[:, :, :1]))
    for here in (task, alone):  # at one datapoint it would broadcast
        elsewhere = fitted(replace(here, estimator=undeclared))
        found = contract.violation("elsewhere", lambda elsewhere=elsewhere: elsewhere)
        assert found is not None
        assert found.kind in ("state by datapoint", "raises")


@pytest.mark.parametrize(
    ("fit", "says"),
    [
        (lambda *_: {}, "gives nothing as 'centre'"),
        (fit_flat, r"gives \[2\] as 'centre'.*\nexpected an entry for each of 2 datapoints along axis 2"),
        (lambda *_: torch.zeros(2), "its fit gives Tensor; expected a dict"),
    ],
)
def test_a_state_is_what_is_declared(fit, says: str) -> None:
    with pytest.raises(MeasurementError, match=says):
        task_of(point_of("linear-gaussian", batch=2), replace(DECLARED, fit=fit), 2)


# Declared samples


def from_noise(q, noise):
    return q.sample(noise)


def shifted(q, noise):
    return q.sample(noise + 0.1)


def flipped_bits(q, noise):
    return 1 - q.sample(noise)


def one_of_them(q, noise):
    return q.sample(noise)[:, :1]


def beside_replicates(q, noise):
    return q.sample(noise).flatten(0, 1)[:, None]


def wrapped(q, replicates, samples, generator):
    return q.noise(replicates, samples, generator)


@pytest.mark.parametrize(
    ("family", "latents", "says"),
    [
        ("gaussian", shifted, "no samples of q: .*distribution functions differ"),
        ("bernoulli", flipped_bits, "no samples of q: .*the mean of its samples is off"),
        ("gaussian", beside_replicates, r"latents gives \[65536, 1, 1, \d\], expected \[32768, any, 1, \d\]"),
        ("gaussian", one_of_them, None),
        ("gaussian", from_noise, None),
        ("bernoulli", from_noise, None),
    ],
)
def test_samples_that_are_declared_are_samples_of_q(family, latents, says):
    """A control of their score would otherwise move the mean that bias is measured by."""
    made = estimator(score, draws=own(wrapped, latents), latents=frozenset({family}))
    found = violation(made, "linear-gaussian" if family == "gaussian" else "sigmoid-belief")
    if says is None:
        assert found is None
    else:
        assert found is not None
        assert found.kind == "declared samples"
        assert re.search(says, found.seen)
