"""A problem's contract: every fault is found and named before anything is measured, and what keeps it passes."""

from __future__ import annotations

import copy
import re
import warnings
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from gradbench.checking import models
from gradbench.checking.contract import Violation
from gradbench.checking.models import fault
from gradbench.checking.problem import check_problem
from gradbench.checking.targets import targets
from gradbench.core.errors import ContractError, MeasurementError
from gradbench.problems import PROBLEMS
from gradbench.runner import measuring, runs
from gradbench.suite.suites import Settings, resolve
from gradbench.target import whole_data
from tests.helpers import objective_of, run_grids
from tests.models.base import Model, point_of
from tests.models.faulty import FAULTS, AnotherLaw, DropsInEncoder, Fault, OverwritesTheMinibatch, RunningStatistics
from tests.models.legitimate import LEGITIMATE, CommonLatents, MixturePrior, SqueezedPrior, Standardised


def found(kind: type[Model], patch: pytest.MonkeyPatch) -> Violation | None:
    """What is found of a model, where building it already tells, too."""
    try:
        return fault(point_of(kind, patch))
    except ContractError as broken:
        return Violation(broken.kind, kind.name, broken.seen, broken.remedy)


@pytest.mark.parametrize("one", FAULTS, ids=lambda one: one.model.name)
def test_every_fault_is_found_and_named(one: Fault, monkeypatch) -> None:
    seen = found(one.model, monkeypatch)
    assert seen is not None
    assert seen.kind == one.kind, seen
    assert re.search(one.words, seen.seen), seen.seen
    assert seen.remedy


@pytest.mark.parametrize("kind", LEGITIMATE, ids=lambda kind: kind.name)
def test_what_keeps_the_contract_passes(kind: type[Model], monkeypatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert found(kind, monkeypatch) is None


@pytest.mark.parametrize("target", targets(), ids=lambda target: target.label)
def test_built_in_problems_keep_it(target) -> None:
    assert fault(target.point) is None


@pytest.mark.parametrize("kind", [OverwritesTheMinibatch, DropsInEncoder, RunningStatistics])
def test_looking_changes_nothing(kind, monkeypatch) -> None:
    point = point_of(kind, monkeypatch)
    x, state = (
        point.x.clone(),
        copy.deepcopy([module.state_dict() for module in (point.problem.phi, point.problem.theta)]),
    )
    random = torch.get_rng_state()
    assert fault(point) is not None
    assert torch.equal(point.x, x)
    for before, module in zip(state, (point.problem.phi, point.problem.theta), strict=True):
        assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    if kind is not DropsInEncoder:
        assert torch.equal(torch.get_rng_state(), random)


def grid(kind: type[Model], **keys) -> dict:
    return {"problem": kind.name, "estimators": ["pathwise", "score-function"], "batch": 3} | keys


@pytest.mark.parametrize("one", FAULTS[:2] + FAULTS[-1:], ids=lambda one: one.model.name)
def test_a_run_fails_the_cells_of_a_faulty_problem_with_the_reason(one: Fault, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setitem(PROBLEMS, one.model.name, one.model)
    monkeypatch.setitem(PROBLEMS, Model.name, Model)
    family = grid(one.model, train_steps=2)
    outcome = run_grids(tmp_path / "run", family, grid(Model), replicates=64, blocks=4)
    frame = outcome.run.frame
    broken = frame[frame.problem == one.model.name]
    assert set(broken.status) == {"failed"}
    assert all(one.kind in text for text in broken.message)
    assert set(frame[frame.problem == Model.name].status) == {"ok"}
    assert outcome.exit_code == 3
    assert not list((tmp_path / "run").rglob("parameters/*")), "nothing is trained that cannot be measured"


def test_without_the_look_a_run_would_measure_it(monkeypatch, tmp_path: Path) -> None:
    """The mutation: with the looks at problem and estimators taken out, it is measured without a word."""
    monkeypatch.setitem(PROBLEMS, DropsInEncoder.name, DropsInEncoder)
    monkeypatch.setattr(models, "require", lambda axes, device: None)
    monkeypatch.setattr(measuring, "of_a_plugin", lambda *given: False)
    monkeypatch.setattr(measuring, "guarded", lambda *given, **named: nullcontext())
    assert run_grids(tmp_path / "run", grid(DropsInEncoder), replicates=64, blocks=4).exit_code == 0


def test_built_in_problems_are_not_looked_at_again(monkeypatch, tmp_path: Path) -> None:
    def never(*given):
        raise AssertionError("a built-in problem was looked at")

    monkeypatch.setattr(models, "_found", never)
    assert run_grids(tmp_path / "run", grid(PROBLEMS["gaussian-vae"]), replicates=64, blocks=4).exit_code == 0


def test_an_analytic_kl_without_a_closed_form_is_refused_with_the_remedy(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setitem(PROBLEMS, MixturePrior.name, MixturePrior)
    both = grid(MixturePrior, kl=["analytic", "monte-carlo"], train_steps=3)
    frame = run_grids(tmp_path / "run", both, replicates=64, blocks=4).run.frame
    analytic, sampled = frame[frame.kl == "analytic"], frame[frame.kl == "monte-carlo"]
    assert set(analytic.status) == {"failed"}
    assert all("use kl = 'monte-carlo'" in text for text in analytic.message)
    assert set(sampled.status) == {"ok"}
    assert set(sampled.reference) == {"quadrature"}


def test_a_reference_over_the_data_is_refused_where_rows_mix(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setitem(PROBLEMS, Standardised.name, Standardised)
    measure = {"replicates": 16, "blocks": 4, "noise": "latent+data"}
    raw = {"name": "test", "seed": 0, "measure": measure, "grid": [grid(Standardised, estimators=["pathwise"])]}
    frame = runs.run(resolve(raw, "test.toml", Settings()), tmp_path / "run").run.frame
    assert set(frame.status) == {"failed"}
    assert "depend on the rest of its minibatch" in frame.message.iloc[0]
    assert "use noise = 'latent'" in frame.message.iloc[0]


@pytest.mark.parametrize("kind", LEGITIMATE, ids=lambda kind: kind.name)
def test_rows_that_mix_are_told_from_those_that_do_not(kind: type[Model], monkeypatch) -> None:
    point = point_of(kind, monkeypatch)
    # the rows of these are apart, and their free parameters or latents are not
    if kind.apart or kind in (SqueezedPrior, CommonLatents):
        whole_data.check_rows_apart(point, objective_of(point))
        return
    with pytest.raises(MeasurementError, match="latent"):
        whole_data.check_rows_apart(point, objective_of(point))


@pytest.mark.parametrize("kind", [AnotherLaw, MixturePrior, Standardised], ids=lambda kind: kind.name)
def test_check_says_the_same(kind, monkeypatch) -> None:
    monkeypatch.setitem(PROBLEMS, kind.name, kind)
    result = check_problem(kind, replicates=2048)
    if kind is AnotherLaw:
        assert [one.kind for one in result.violations] == ["posterior"]
        return
    assert not result.violations
    assert result.verdict in ("unbiased", "unresolved")
    assert bool(result.left_out) == (kind is MixturePrior)


def test_a_subclass_of_a_built_in_problem_is_a_plugin(monkeypatch) -> None:
    kind = type("Own", (PROBLEMS["gaussian-vae"],), {"name": "own-vae"})
    assert not PROBLEMS.is_own(kind)
