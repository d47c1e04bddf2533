"""run --precision and --budget."""

from __future__ import annotations

import math
import time

import pandas as pd
import pytest

import gradbench as library
from gradbench.suite.measure import MOST_BLOCKS
from tests.cli.test_run import TIMED
from tests.helpers import taken_apart

SUITE = """
name = "narrow"
[measure]
replicates = 128
blocks = 8
[[grid]]
problem = "gaussian-cost"
k = 3.0
estimators = ["pathwise"]
samples = [1, 4]
[[grid]]
problem = "bernoulli-cost"
estimators = ["exact", "disarm"]
samples = 2
"""


@pytest.fixture
def suite(tmp_path):
    (tmp_path / "narrow.toml").write_text(SUITE)
    return "narrow.toml"


def half_widths(frame: pd.DataFrame) -> pd.Series:
    rows = frame[frame.group.isin(["all", "phi"]) & (frame.variance > 0)]
    return (rows.variance_high - rows.variance_low) / 2 / rows.variance


def test_precision_adds_blocks_until_it_is_met(gradbench, suite, tmp_path):
    assert gradbench("run", suite, "--out", "short").code == 0
    short = library.load(tmp_path / "short")
    assert half_widths(short).max() > 0.1
    assert gradbench("run", suite, "--out", "narrow", "--precision", "0.1").code == 0
    narrow = library.load(tmp_path / "narrow")
    assert half_widths(narrow).max() <= 0.1
    noisy = narrow[narrow.estimator == "pathwise"]
    assert (noisy.blocks > 8).all()
    assert (noisy.replicates == 16 * noisy.blocks).all()
    # nothing to know better: a constant, and a pair that is always both states
    still = narrow[narrow.problem == "bernoulli-cost"]
    assert still.groupby("estimator").blocks.first().to_dict() == {"disarm": 8, "exact": 4}


def test_the_added_blocks_are_those_of_a_longer_run(gradbench, suite, tmp_path):
    select = ("--select", "estimator=pathwise", "--select", "samples=1")
    gradbench("run", suite, "--out", "narrow", "--precision", "0.1", *select)
    narrow = library.load(tmp_path / "narrow")
    blocks = int(narrow.blocks.iloc[0])
    (tmp_path / "long.toml").write_text(
        SUITE.replace("blocks = 8", f"blocks = {blocks}").replace("replicates = 128", f"replicates = {16 * blocks}")
    )
    gradbench("run", "long.toml", "--out", "long", *select)
    both = [frame.drop(columns=[*TIMED, "suite"]) for frame in (narrow, library.load(tmp_path / "long"))]
    pd.testing.assert_frame_equal(*both, check_exact=True)


def test_a_budget_fills_the_time_and_no_more(gradbench, suite, tmp_path):
    select = ("--select", "estimator=pathwise")
    plain = time.perf_counter()
    gradbench("run", suite, "--out", "plain", *select)
    plain = time.perf_counter() - plain
    start = time.perf_counter()
    assert gradbench("run", suite, "--out", "filled", "--budget", f"{plain + 3:.2f}s", *select).code == 0
    took = time.perf_counter() - start
    frame = library.load(tmp_path / "filled")
    assert (frame.blocks > 8).all()
    assert (frame.blocks <= MOST_BLOCKS).all()
    # the run's budget, then its tables; one step of blocks may end after it
    assert took < 2 * plain + 10


def test_a_budget_that_is_too_small_leaves_each_cell_its_first_blocks(gradbench, suite, tmp_path):
    assert gradbench("run", suite, "--out", "hurried", "--budget", "0.001s", "--precision", "0.001").code == 0
    frame = library.load(tmp_path / "hurried")
    assert set(frame[frame.estimator == "pathwise"].blocks) == {8}


def test_the_most_blocks_are_the_most(gradbench, suite, tmp_path):
    select = ("--select", "estimator=pathwise", "--select", "samples=4")
    assert gradbench("run", suite, "--out", "most", "--precision", "0.0001", *select).code == 0
    frame = library.load(tmp_path / "most")
    assert set(frame.blocks) == {MOST_BLOCKS}
    assert half_widths(frame).min() > 0.0001, "asked for more than the blocks can give"


def test_a_run_with_precision_goes_on_in_its_folder(gradbench, suite, tmp_path):
    arguments = ("run", suite, "--out", "run", "--precision", "0.1")
    gradbench(*arguments)
    whole = library.load(tmp_path / "run")
    lost, *kept = taken_apart(tmp_path / "run")
    lost.unlink()
    assert gradbench(*arguments).code == 0
    again = library.load(tmp_path / "run")
    begun = [frame[frame.cell_id.isin([file.stem for file in kept])].started_at for frame in (whole, again)]
    assert list(begun[0]) == list(begun[1])
    pd.testing.assert_frame_equal(whole.drop(columns=TIMED), again.drop(columns=TIMED), check_exact=True)
    # it is another run without the precision
    other = gradbench("run", suite, "--out", "run")
    assert other.code == 2
    assert "give another --out" in other.err


def test_a_suite_can_ask_for_it(gradbench, tmp_path):
    (tmp_path / "own.toml").write_text(SUITE.replace("blocks = 8", "blocks = 8\nprecision = 0.1"))
    gradbench("run", "own.toml", "--out", "run", "--select", "samples=1")
    assert half_widths(library.load(tmp_path / "run")).max() <= 0.1
    gradbench("run", "own.toml", "--out", "wide", "--select", "samples=1", "--precision", "0.5")
    assert half_widths(library.load(tmp_path / "wide")).max() > 0.1


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--budget", "soon", "expected a time such as 90s, 10m or 2h"),
        ("--budget", "0s", "expected a time greater than 0, such as 90s"),
        ("--budget", "-5", "greater than 0"),
        ("--budget", "nan", "--budget"),
        ("--precision", "0", "--precision: input should be greater than 0"),
        ("--precision", "1.5", "less than 1"),
        ("--precision", "nan", "--precision"),
    ],
)
def test_what_is_no_time_and_no_share_is_refused(gradbench, suite, tmp_path, option, value, says):
    result = gradbench("run", suite, "--out", "run", f"{option}={value}")
    assert (result.code, result.out) == (2, "")
    assert says in result.err
    assert len(result.err.strip().splitlines()) <= 2
    assert not (tmp_path / "run").exists()


def test_units_of_time():
    from gradbench.cli.quantities import seconds_of

    assert [seconds_of(text, "--budget") for text in ("90s", "1.5m", "2h", "45", None)] == [
        90.0,
        90.0,
        7200.0,
        45.0,
        None,
    ]
    assert math.isclose(seconds_of("0.25s", "--budget") or 0, 0.25)
