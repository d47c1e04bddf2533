"""compare: identical runs, refusals, reasons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gradbench.core.errors import UnknownNameError, UsageError
from gradbench.results.compare import INCOMPARABLE, UNDECIDED, alarms, compare_runs, only_in_one, rank, where
from gradbench.runner import runs
from gradbench.suite.suites import Settings, resolve


def run(path, **grid):
    raw = {
        "name": "s",
        "measure": {"replicates": 256, "blocks": 16},
        "grid": [{"problem": "bernoulli-cost", "estimators": ["score-function", "disarm"], "samples": 2, **grid}],
    }
    return runs.run(resolve(raw, "s.toml", Settings()), path).run


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return run(tmp_path_factory.mktemp("runs") / "a")


def test_a_run_equals_itself(first):
    table = compare_runs(first, first)
    assert set(table["mark"]) == {UNDECIDED}
    assert table["paired"].all()
    assert alarms(table).empty


def test_the_baseline_is_not_compared_with_itself(first):
    name, table = rank(first, "score-function")
    assert name == "score-function"
    assert set(table["estimator_b"]) == {"disarm"}
    assert (table["seconds_ratio_low"] < table["seconds_ratio_high"]).all()
    assert len(rank(first, "disarm")[1]) == len(table)


def test_what_only_one_run_has_says_why(first, tmp_path):
    second = run(tmp_path / "b", target=[0.45, 0.3])
    table = compare_runs(first, second)
    alone = table[table["mark"] == INCOMPARABLE]
    assert len(alone)
    assert set(alone["why"]) == {f"only in {second.path}"}


def test_nothing_in_common_is_an_error(first, tmp_path):
    with pytest.raises(UsageError, match="seed is 0 in one and 7 in the other"):
        compare_runs(first, run(tmp_path / "c", seed=7))


def test_baseline_and_filters(first):
    _, table = rank(first, "score-function")
    assert set(table.loc[table["estimator_b"] == "disarm", "mark"]) == {"better"}
    with pytest.raises(UnknownNameError):
        rank(first, "nothing")
    assert set(where(first, ["estimator=disarm"]).frame.estimator) == {"disarm"}
    with pytest.raises(UsageError, match="no row"):
        where(first, ["samples=9"])


# Data files


@pytest.fixture
def bits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.random.default_rng(0).integers(0, 2, (20, 6)))
    return {"problem": "gaussian-vae", "hidden": 2, "latent": 1, "batch": 4, "estimators": ["pathwise"]}


def test_runs_of_the_same_contents_are_compared_whatever_the_files_are_called(bits):
    one, two = (run(Path(f"run{n}"), **bits, data=name) for n, name in enumerate(("file:a.npy", "file:./a.npy")))
    table = compare_runs(one, two)
    assert len(table) == len(one.ok())
    assert set(table["mark"]) == {UNDECIDED}
    assert set(table["data"]) == {"file:a.npy"}
    assert table["paired"].all()
    assert all(rows.empty for rows in only_in_one(one, two))


def test_other_contents_under_the_same_name_are_not_compared(bits):
    one = run(Path("one"), **bits, data=["file:a.npy", "digits"])
    np.save("a.npy", 1 - np.load("a.npy"))
    two = run(Path("two"), **bits, data=["file:a.npy", "digits"])
    table = compare_runs(one, two)
    alone = table[table["mark"] == INCOMPARABLE]
    assert len(alone) == 2 * len(table[table["mark"] == UNDECIDED])
    assert set(table.loc[table["mark"] == UNDECIDED, "data"]) == {"digits"}
    first, second = (found.manifest["data"][0]["sha256"][:8] for found in (one, two))
    assert set(alone["data"]) == {f"file:a.npy ({first}…)", f"file:a.npy ({second}…)"}
    assert any(f"other data: file:a.npy ({first}…) and file:a.npy ({second}…)" in why for why in alone["why"])
    left, right = only_in_one(one, two)
    assert set(left["data"]) == {f"file:a.npy ({first}…)"}
    assert set(right["data"]) == {f"file:a.npy ({second}…)"}


def test_runs_of_other_contents_alone_say_so(bits):
    one = run(Path("one"), **bits, data="file:a.npy")
    np.save("a.npy", 1 - np.load("a.npy"))
    with pytest.raises(
        UsageError, match=r"data is file:a\.npy \(.{8}…\) in one and file:a\.npy \(.{8}…\) in the other"
    ):
        compare_runs(one, run(Path("two"), **bits, data="file:a.npy"))


def test_runs_of_other_seeds_are_compared_unpaired(first, tmp_path):
    second = run(tmp_path / "d", seed=7)
    table = compare_runs(first, second, ignore=["seed"])
    compared = table[table["mark"] != INCOMPARABLE]
    assert len(compared) == len(first.ok())
    assert not compared["paired"].any()
    assert set(compared["seed"]) == {"0 and 7"}
    keys = ["estimator", "group", "problem_params"]
    one, two = (found.ok().set_index(keys).variance for found in (first, second))
    for row in compared.to_dict("records"):
        key = tuple(row[name] for name in keys)
        if one[key] > 0:
            assert row["variance_ratio"] == pytest.approx(two[key] / one[key])
    noisy = compared[compared["variance_ratio"].notna() & (compared["variance_ratio"] > 0)]
    paired = compare_runs(first, first)
    same = paired.loc[paired["variance_ratio"].notna(), "variance_ratio"]
    assert (same == 1).all()
    assert (noisy["variance_ratio_low"] < noisy["variance_ratio_high"]).all()


def test_what_may_be_ignored_and_what_leaves_no_pairs(first, tmp_path):
    with pytest.raises(UsageError, match="--ignore: unknown column 'sed'; did you mean 'seed'"):
        compare_runs(first, first, ignore=["sed"])
    both = run(tmp_path / "e", seed=[1, 2])
    with pytest.raises(UsageError, match=r"several rows that differ in seed alone \(1, 2\).*\n.*--where seed=A,B"):
        compare_runs(first, both, ignore=["seed"])


def test_a_variance_that_is_rounding_has_no_ratio_of_rounding(tmp_path):
    """At target ½ pairs of opposite bits have no variance, though their blocks hold rounding."""
    found = run(tmp_path / "f", problem="gaussian-cost", estimators=["pathwise", "fixed-sample"], samples=1)
    _, table = rank(found, "pathwise")
    ours = table[(table["estimator_b"] == "fixed-sample") & (table["group"] == "phi")]
    assert set(ours["variance_ratio"]) == {0.0}
