"""A suite tells all its faults at once, each with its place and its remedy."""

from __future__ import annotations

import pytest

from gradbench.core.errors import SeveralFaultsError, SuiteError, UnknownNameError
from gradbench.suite.suites import Settings, resolve

GRID = {"problem": "gaussian-cost", "estimators": ["pathwise"]}


def faults(**top) -> list[str]:
    with pytest.raises(SeveralFaultsError) as error:
        resolve(top, "s.toml", Settings())
    first, *rest = str(error.value).splitlines()
    assert first == f"s.toml: {len(error.value.faults)} faults"
    assert len(rest) == len(error.value.faults) or rest[-1].endswith(" more")
    return [line.strip() for line in rest]


def test_faults_of_all_tables_are_told_together() -> None:
    bad = {"problem": "gaussian-cost", "estimators": ["pathwize", "exakt"], "kk": 1, "train_steps": "many"}
    found = faults(name="s", sed=1, measure={"blocks": 2, "replicas": 4}, grid=[GRID, bad, {}])
    assert found == [
        "measure.blocks: input should be greater than or equal to 4, got 2",
        "measure: unknown key 'replicas'; did you mean 'replicates'?",
        "unknown key 'sed'; did you mean 'seed'?",
        "grid[1].estimators[0]: unknown estimator 'pathwize'; did you mean 'pathwise'?",
        "grid[1].estimators[1]: unknown estimator 'exakt'; did you mean 'exact'?",
        "grid[1]: unknown key 'kk'; did you mean 'k'?",
        "grid[1].train_steps: input should be a valid integer, got 'many'",
        "grid[2].problem: is missing: a grid has one problem by name; see gradbench list problems",
        "grid[2].estimators: is missing: a grid has a list of estimators; see gradbench list estimators",
    ]


def test_of_an_unknown_problem_what_is_no_matter_of_the_problem_is_told() -> None:
    grid = {
        "problem": "gausian-cost",
        "estimators": ["exact"],
        "size": [{"samples": [0, 2.5]}],
        "hidden": 0,
        "scale": 0,
    }
    assert faults(
        name="s", grid=[grid | {"kl": "analytical", "data": ["digit", "digits"], "dtype": "float64", "seed": [1, -1]}]
    ) == [
        "grid[0].problem: unknown problem 'gausian-cost'; did you mean 'gaussian-cost'?",
        "grid[0].data: unknown data set 'digit'; did you mean 'digits'?",
        "grid[0].kl: input should be 'analytic' or 'monte-carlo', got 'analytical'",
        "grid[0].samples: input should be greater than 0, got 0",
        "grid[0].samples: input should be a valid integer, got 2.5",
        "grid[0].seed: input should be greater than or equal to 0, got -1",
    ]


def test_what_names_and_devices_may_be_is_said_in_words() -> None:
    assert faults(name="größe", grid=[GRID | {"device": "gpu"}]) == [
        "name: expected letters (A to Z), digits, and . _ - after the first, as in my-suite: it names the run folder; "
        "got 'größe'",
        "grid[0].device: expected auto, cpu, cuda or cuda:N, got 'gpu'",
    ]


@pytest.mark.parametrize(
    ("top", "said"),
    [
        ({"dtype": "float64"}, "s.toml: unknown key 'dtype'; it belongs in a [[grid]]"),
        ({"replicates": 64}, "s.toml: unknown key 'replicates'; it belongs in [measure]"),
        ({"hidden": 3}, "s.toml: unknown key 'hidden'; it belongs in a [[grid]] of gaussian-vae"),
        ({"measure": {"samples": 3}}, "s.toml: measure: unknown key 'samples'; it belongs in a [[grid]]"),
        ({"grid": [GRID | {"blocks": 3}]}, "s.toml: grid[0]: unknown key 'blocks'; it belongs in [measure]"),
        ({"grid": [GRID | {"title": "x"}]}, "s.toml: grid[0]: unknown key 'title'; it belongs at the top of the file"),
        ({"grid": GRID}, "s.toml: grid: is one table; write [[grid]] with two brackets"),
    ],
)
def test_a_key_in_the_wrong_table_is_told_where_it_belongs(top, said) -> None:
    with pytest.raises(SuiteError) as error:
        resolve({"name": "s", "grid": [GRID]} | top, "s.toml", Settings())
    assert str(error.value).startswith(said)


def test_what_a_suite_lacks_is_named() -> None:
    assert faults() == [
        'name: is missing: a suite begins with name = "…"',
        "grid: is missing: a suite has at least one [[grid]], with a problem and its estimators",
    ]


def test_one_fault_is_one_line_and_stays_what_it_is() -> None:
    with pytest.raises(UnknownNameError, match=r"^s\.toml: unknown key 'sed'; did you mean 'seed'\?$"):
        resolve({"name": "s", "sed": 1, "grid": [GRID]}, "s.toml", Settings())


def test_the_same_fault_at_many_points_is_told_once() -> None:
    grid = GRID | {"k": [0, 1, 2], "kk": 1, "train_steps": 5}
    assert len(faults(name="s", dtype="float64", grid=[grid])) == 2


def test_many_faults_are_cut_off_with_their_number() -> None:
    found = faults(name="s", **{f"key{i}": 1 for i in range(30)}, grid=[GRID])
    assert len(found) == 21
    assert found[-1] == "and 10 more"
