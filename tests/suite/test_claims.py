"""Claims: bands, judgements, and refusal before anything runs."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from gradbench.core.errors import RunError, UsageError
from gradbench.estimators import ESTIMATORS
from gradbench.problems import PROBLEMS
from gradbench.problems.rainforth import Rainforth
from gradbench.results.outcomes import claims_of, verify
from gradbench.runner import runs
from gradbench.suite.claims import CONTRADICTED, REPRODUCED, UNRESOLVED, Claim, ClaimOutcome, judge, worst
from gradbench.suite.suites import Settings, resolve
from tests.runner.test_runs import Interrupt, broken_surrogate

BITS = {"problem": "bernoulli-cost", "estimators": ["exact", "score-function"], "samples": 1}


def suite(*grids, **claim):
    return {
        "name": "s",
        "measure": {"replicates": 1024, "blocks": 32},
        "grid": list(grids or [BITS]),
        "expect": [{"claim": "c", "kind": "value", "select": {"estimator": "exact"}, **claim}],
    }


def outcomes(folder, raw):
    resolved = resolve(raw, "s.toml", Settings())
    return verify(runs.run(resolved, folder).run, resolved.expect)


def test_judgement():
    assert judge(0.9, 1.1, (0.5, 1.5)) == REPRODUCED
    assert judge(0.9, 1.1, (1.2, 1.5)) == CONTRADICTED
    assert judge(0.9, 1.1, (1.0, 1.5)) == UNRESOLVED
    assert Claim(claim="c", kind="slope", select={}, value=-1, tolerance=0.1).band() == (-1.1, -0.9)


def test_the_worst_of_several_is_the_one_with_the_least_room():
    claim = Claim(claim="c", kind="value", select={}, above=1.0)
    near, far = (ClaimOutcome(claim, REPRODUCED, low + 0.5, low, low + 1.0) for low in (1.1, 5.0))
    assert worst([far, near], claim.band()) is near
    assert worst([near, far], (-math.inf, 10.0)) is far
    open_ = ClaimOutcome(claim, UNRESOLVED, 1.0, 0.9, 1.1)
    assert worst([far, open_, near], claim.band()) is open_
    silent = ClaimOutcome(claim, REPRODUCED)
    assert worst([silent, far], claim.band()) is far


def test_the_row_that_decides_is_named(tmp_path):
    # (x − k)², x ~ N(1, 1): the score function over the pathwise gradient in the mean is 7.5 at k = 0, 21.7 at k = 3
    grid = COST | {"samples": [1, 2]}
    raw = suite(grid, kind="ordering", select={"group": "phi.mean"}, order=["pathwise", "score-function"])
    select = {"estimator": "score-function", "group": "phi.mean"}
    raw["expect"].append({"claim": "v", "kind": "value", "select": select, "above": 0.0})
    raw["measure"] = {"replicates": 8192, "blocks": 32}
    order, value = outcomes(tmp_path / "run", raw)
    assert order.note.startswith("score-function over pathwise, k = 0, L = ")
    assert value.note == "k = 0, L = 2", "the smallest variance has the least room above 0: 15, and 43.5 at k = 3"


def test_both_parts_of_the_variance_can_be_claimed(tmp_path):
    grid = {"problem": "linear-gaussian", "latent": 2, "features": 4, "batch": 2, "estimators": ["pathwise"]}
    raw = suite(grid, select={}, figure="variance_data", above=0.0)
    raw["measure"] |= {"noise": "latent+data"}
    raw["expect"] += [raw["expect"][0] | {"figure": figure} for figure in ("variance_latent", "variance")]
    data, latent, both = outcomes(tmp_path / "run", raw)
    assert {data.status, latent.status, both.status} == {REPRODUCED}
    assert data.figure + latent.figure == pytest.approx(both.figure, rel=1e-9)
    assert data.low < data.figure < data.high < both.high


def test_claims_against_a_run(tmp_path):
    raw = suite(below=1e-12)
    raw["expect"].append({**raw["expect"][0], "below": None, "above": 1.0})
    raw["expect"] = [{k: v for k, v in claim.items() if v is not None} for claim in raw["expect"]]
    resolved = resolve(raw, "s.toml", Settings())
    outcome = runs.run(resolved, tmp_path / "run")
    assert [o.status for o in verify(outcome.run, resolved.expect)] == [REPRODUCED, CONTRADICTED]
    assert (tmp_path / "run" / "slopes.parquet").exists()


# Refused before anything runs

VAE = {"problem": "gaussian-vae", "estimators": ["pathwise"], "samples": [1, 2], "data": "digits", "hidden": 3}
COST = {"problem": "gaussian-cost", "k": [0.0, 3.0], "estimators": ["pathwise", "score-function"]}
PAIRS = {"problem": "bernoulli-cost", "estimators": ["score-function-loo", "disarm"], "samples": [1, 2, 4]}
ABOVE = {"kind": "value", "above": 0.0}
BETTER = {"kind": "ordering", "select": {}}
SLOPE = {"kind": "slope", "value": -1.0, "select": {"estimator": "pathwise"}}

ABSENT = {
    "θ of a cost": ([COST], {**ABOVE, "select": {"group": "theta"}}, "select.group: gaussian-cost has no θ"),
    "tensor of a θ that is not": ([COST], {**ABOVE, "select": {"group": "theta.w"}}, "select.group: gaussian-cost has"),
    "absent tensor": (
        [VAE],
        {**ABOVE, "select": {"group": "phi.encoder.hidden1.wieght"}},
        "select.group: unknown group of gaussian-vae 'phi.encoder.hidden1.wieght'; did you mean 'phi.encoder.hidden1.w",
    ),
    "tensor of the other problem": (
        [VAE, COST],
        {**ABOVE, "select": {"problem": "gaussian-cost", "group": "phi.encoder.hidden1.weight"}},
        "select.group: unknown group of gaussian-cost",
    ),
    "no group at all": ([COST], {**ABOVE, "select": {"group": "psi"}}, "select.group: expected all, phi, theta"),
    "several groups": ([COST], {**ABOVE, "select": {"group": ["phi", "all"]}}, "got ['phi', 'all']"),
    "unknown key": ([COST], {**ABOVE, "select": {"estimater": "pathwise"}}, "select: unknown key 'estimater'; did you"),
    "estimator": (
        [COST],
        {**ABOVE, "select": {"estimator": "pathwize"}},
        "select.estimator: no cell has estimator = 'pathwize'; did you mean 'pathwise'?",
    ),
    "one of several": ([COST], {**ABOVE, "select": {"k": [0.0, 2.0]}}, "select.k[1]: no cell has k = 2; k is 0, 3"),
    "samples": ([VAE], {**ABOVE, "select": {"samples": 3}}, "select.samples: no cell has samples = 3; samples is 1, 2"),
    "as text": (
        [VAE],
        {**ABOVE, "select": {"samples": "2"}},
        "select.samples: no cell has samples = '2'; samples is",
    ),
    "empty": ([VAE], {**ABOVE, "select": {"samples": []}}, "select.samples: an empty list names no row"),
    "together": (
        [COST, VAE],
        {**ABOVE, "select": {"problem": "gaussian-vae", "estimator": "score-function"}},
        "select.problem: no cell has problem = 'gaussian-vae' together with estimator = 'score-function'; there probl",
    ),
    "parameter of another problem": (
        [COST, VAE],
        {**ABOVE, "select": {"problem": "gaussian-vae", "k": 3.0}},
        "select.problem: no cell has problem = 'gaussian-vae' together with k = 3; there problem is 'gaussian-cost'",
    ),
    "skipped": ([PAIRS], {**ABOVE, "select": {"samples": 1}}, "select.samples: every cell with samples = 1 is skipped"),
    "order": ([COST], {**BETTER, "order": ["pathwise", "exakt"]}, "order[1]: no cell has estimator = 'exakt'; estimat"),
    "order, not met": (
        [BITS, PAIRS | {"samples": 2}],
        {**BETTER, "order": ["exact", "disarm"]},
        "order: nothing to compare: exact at samples = 1 and disarm at samples = 2 share no target",
    ),
    "over": (
        [COST],
        {"kind": "ratio", "above": 1.0, "select": {"k": 3.0}, "over": {"k": 1.0}},
        "over.k: no cell has k = 1; k is 0, 3",
    ),
    "over, not met": (
        [COST, COST | {"k": 5.0, "scale": 2.0}],
        {"kind": "ratio", "above": 1.0, "select": {"k": 3.0}, "over": {"k": 5.0}},
        "over: nothing to compare: pathwise at scale = 1 and pathwise at scale = 2 share no target",
    ),
    "minibatch's part of a fixed one": (
        [VAE],
        {**ABOVE, "select": {}, "figure": "variance_data"},
        "figure: the minibatch is fixed, so that variance_data is unknown; measure with noise = 'latent+data'",
    ),
    "slope of one point": ([COST], SLOPE, "against: a slope needs two values of samples"),
    "slope in size": (
        [VAE],
        {**SLOPE, "against": "num_parameters"},
        "against: a slope needs two values of the pro",
    ),
}


@pytest.mark.parametrize("fault", ABSENT)
def test_what_is_absent_is_refused_with_its_path(fault):
    grids, claim, says = ABSENT[fault]
    with pytest.raises(UsageError) as error:
        resolve(suite(*grids, **claim), "s.toml", Settings())
    assert str(error.value).startswith("s.toml: expect[0].")
    assert says in str(error.value)
    assert len(str(error.value).splitlines()) <= 2


WRONG = {
    "ordering of one": ({**BETTER, "order": ["pathwise"]}, "order needs two"),
    "ordering of the same": ({**BETTER, "order": ["pathwise", "pathwise"]}, "names an estimator twice"),
    "ordering with an estimator": (
        {"kind": "ordering", "select": {"estimator": "pathwise"}, "order": ["pathwise", "score-function"]},
        "drop select.estimator",
    ),
    "ordering with a band": ({**BETTER, "order": ["pathwise", "score-function"], "below": 2.0}, "below belongs to a"),
    "value with an order": ({**ABOVE, "order": ["pathwise", "score-function"]}, "order belongs to a claim of kind ord"),
    "verdict without one": ({"kind": "verdict"}, "needs verdict"),
    "value without a band": ({"kind": "value"}, "needs value (with tolerance), above or below"),
    "band that holds nothing": ({**ABOVE, "above": 2.0, "below": 1.0}, "no figure lies above 2 and below 1"),
    "figure of another kind": ({**SLOPE, "figure": "seconds"}, "is about variance, bias_sq, snr_root, not seconds"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_claim_that_says_nothing_is_refused(fault):
    claim, says = WRONG[fault]
    with pytest.raises(UsageError) as error:
        resolve(suite(COST, **{"select": {}, **claim}), "s.toml", Settings())
    assert str(error.value).startswith("s.toml: expect[0]: ")
    assert says in str(error.value)


def test_problems_are_built_only_where_a_group_is_in_doubt(monkeypatch):
    def constructed(*_):
        raise AssertionError("built")

    with monkeypatch.context() as patch:
        patch.setattr("gradbench.suite.claim_coverage.construct", constructed)
        for group in ("phi", "all"):
            resolve(suite(VAE, **ABOVE, select={"group": group}), "s.toml", Settings())
    for group in ("theta", "theta.decoder.output.bias"):
        assert resolve(suite(VAE, **ABOVE, select={"group": group}), "s.toml", Settings()).expect


def test_a_group_of_some_of_the_cells_is_a_claim_about_those(tmp_path):
    belief = {"problem": "sigmoid-belief", "latent": 2, "batch": 2, "estimators": ["exact"]}
    raw = suite(BITS, belief, **ABOVE, select={"group": "theta", "estimator": "exact"}, figure="gradient_norm")
    (outcome,) = outcomes(tmp_path / "run", raw)
    assert outcome.status == REPRODUCED


class Broken(Rainforth):
    def __init__(self, *arguments) -> None:
        raise ZeroDivisionError("a bug in a problem")


def test_a_problem_that_cannot_be_built_is_left_to_its_cells(tmp_path, monkeypatch):
    monkeypatch.setitem(PROBLEMS, "rainforth", Broken)
    grid = {"problem": "rainforth", "estimators": ["pathwise"], "kl": "monte-carlo"}
    (outcome,) = outcomes(tmp_path / "run", suite(grid, **ABOVE, select={"group": "phi.encoder.weight"}))
    assert outcome.status == UNRESOLVED
    assert outcome.note.startswith("the cell failed: ZeroDivisionError: a bug in a problem")


# What became of the cells that a claim is about


def test_a_claim_about_cells_that_failed_says_so(tmp_path, monkeypatch):
    faulty = dataclasses.replace(ESTIMATORS["score-function"], surrogate=broken_surrogate)
    raw = suite(COST, **ABOVE, select={"estimator": "score-function"})
    raw["expect"] += [{**raw["expect"][0], "select": {"k": 3.0}}, {**raw["expect"][0], "select": {"k": 3.0}}]
    raw["expect"][1] |= {"kind": "verdict", "verdict": "unbiased"}
    del raw["expect"][1]["above"]
    raw["expect"][2] |= {"above": 1e9}
    with monkeypatch.context() as patch:
        patch.setitem(ESTIMATORS, "score-function", faulty)
        lost, partly, against = outcomes(tmp_path / "run", raw)
    assert (lost.status, lost.figure) == (UNRESOLVED, None)
    assert lost.note.startswith("all 2 cells failed: score-function: raises ZeroDivisionError at test_runs.py")
    assert "a bug in an estimator" in lost.note
    assert partly.status == UNRESOLVED, "the half that was measured does not make it reproduced"
    assert "1 of 2 cells failed: score-function: raises ZeroDivisionError" in partly.note
    assert against.status == CONTRADICTED, "one row is enough to contradict"


def test_a_claim_of_an_interrupted_run_is_not_reproduced(tmp_path):
    raw = suite(COST, **ABOVE, select={"estimator": ["pathwise", "score-function"]})
    resolved = resolve(raw, "s.toml", Settings())
    stopped = runs.run(resolved, tmp_path / "run", Interrupt())
    (outcome,) = verify(stopped.run, resolved.expect)
    assert (outcome.status, "2 of 4 cells not measured yet" in outcome.note) == (UNRESOLVED, True)
    (outcome,) = verify(runs.run(resolved, tmp_path / "run").run, resolved.expect)
    assert outcome.status == REPRODUCED


def test_cells_that_are_skipped_take_no_part(tmp_path):
    raw = suite(
        PAIRS | {"prob": 0.3}, kind="slope", figure="variance", above=-3.0, below=0.0, select={"estimator": "disarm"}
    )
    (outcome,) = outcomes(tmp_path / "run", raw)
    assert (outcome.status, outcome.note) == (REPRODUCED, "2 points")


def test_a_ratio_over_a_parameter_keeps_the_others_apart(tmp_path):
    """Each target over its own, not over every target's: k = 3 over k = 0 at both scales."""
    grid = COST | {"scale": [1.0, 2.0], "estimators": ["score-function"]}
    raw = suite(grid, kind="ratio", above=0.0, select={"k": 3.0, "scale": 2.0}, over={"k": 0.0})
    raw["expect"].append({**raw["expect"][0], "select": {"k": 3.0}})
    raw["measure"] = {"replicates": 8192, "blocks": 32}
    one, both = outcomes(tmp_path / "run", raw)
    frame = runs.run(resolve(raw, "s.toml", Settings()), tmp_path / "run").run.ok()
    phi = frame[frame.group == "phi"].copy()
    phi["k"] = [json.loads(text)["k"] for text in phi.problem_params]
    phi["scale"] = [json.loads(text)["scale"] for text in phi.problem_params]
    variance = phi.set_index(["k", "scale"]).variance
    assert one.figure == pytest.approx(variance[3.0, 2.0] / variance[0.0, 2.0], rel=1e-12)
    assert both.figure in [pytest.approx(variance[3.0, s] / variance[0.0, s], rel=1e-12) for s in (1.0, 2.0)]


# Claims of a run that is there


def test_the_claims_of_a_run_are_in_its_manifest(tmp_path):
    resolved = resolve(suite(below=1e-12, paper="P"), "s.toml", Settings())
    run = runs.run(resolved, tmp_path / "run").run
    assert claims_of(run) == list(resolved.expect)
    run.manifest["suite_resolved"]["expect"][0]["kind"] = "guess"
    with pytest.raises(RunError, match="claims cannot be read"):
        claims_of(run)


def test_select_keeps_the_claims_that_can_still_be_decided():
    raw = suite(COST, **ABOVE, select={"k": [0.0, 3.0]})
    raw["expect"].append({**raw["expect"][0], "select": {"k": 3.0}, "claim": "kept"})
    whole = resolve(raw, "s.toml", Settings())
    assert [claim.claim for claim in whole.select(["k=3.0"]).expect] == ["kept"]
    assert whole.select([]).expect == whole.expect


@pytest.mark.parametrize("problem", PROBLEMS)
def test_every_problem_tells_its_groups(problem):
    from gradbench.suite.claim_coverage import groups_of_cell

    family = PROBLEMS[problem].family
    raw = suite({"problem": problem, "estimators": [{"gaussian": "pathwise"}.get(family, "score-function")]})
    (cell,) = resolve({**raw, "expect": []}, "s.toml", Settings()).cells
    groups = groups_of_cell(cell)
    assert {"all", "phi"} <= set(groups)
    assert any(name.startswith("phi.") for name in groups)
