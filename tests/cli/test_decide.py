"""run --decide: more blocks until every bias is found, or certainly small."""

from __future__ import annotations

import pandas as pd
import pytest

import gradbench as library
from gradbench.runner.aims import FOUND_AT, LONGER_ARM
from gradbench.suite.measure import MOST_BLOCKS
from tests.cli.test_run import TIMED

SUITE = """
name = "narrow"
[measure]
replicates = 256
blocks = 8
[[grid]]
problem = "gaussian-vae"
data = "digits"
size = {hidden = 4, latent = 1}
batch = 2
kl = "monte-carlo"
estimators = ["pathwise", "double-counted"]
samples = 1
[[grid]]
problem = "bernoulli-cost"
estimators = ["exact", "score-function"]
samples = 2
"""
SAID = ["all", "phi", "theta"]


@pytest.fixture
def suite(tmp_path):
    (tmp_path / "narrow.toml").write_text(SUITE)
    return "narrow.toml"


def decided(frame: pd.DataFrame) -> pd.Series:
    high = frame.bias_norm + LONGER_ARM * (frame.bias_high - frame.bias_norm)
    return (frame.bias_p <= FOUND_AT) | (high <= 0.05 * frame.gradient_norm)


def test_blocks_are_added_until_verdicts_are_there(gradbench, suite, tmp_path):
    gradbench("run", suite, "--out", "short")
    short = library.load(tmp_path / "short")
    short = short[short.group.isin(SAID)]
    assert (short.verdict == "unresolved").any()
    assert gradbench("run", suite, "--out", "decided", "--decide").code == 0
    frame = library.load(tmp_path / "decided")
    frame = frame[frame.group.isin(SAID)]
    assert (decided(frame) | (frame.blocks == MOST_BLOCKS)).all()
    assert (frame.verdict != "unresolved").all()
    right = frame.estimator != "double-counted"
    assert set(frame.verdict[right]) == {"unbiased"}
    assert set(frame.verdict[~right & (frame.group == "phi")]) == {"biased"}
    # a cell that was decided has no more blocks than it began with
    first = short.assign(decided=decided(short)).groupby("cell_id")
    grown = frame.groupby("cell_id").blocks.first() > first.blocks.first()
    assert (grown == ~first.decided.all()).all()


def test_the_figures_are_those_of_as_many_blocks_at_once(gradbench, suite, tmp_path):
    select = ("--select", "estimator=pathwise")
    gradbench("run", suite, "--out", "decided", "--decide", *select)
    found = library.load(tmp_path / "decided")
    blocks = int(found.blocks.iloc[0])
    assert blocks > 8
    gradbench("run", suite, "--out", "long", "--replicates", str(32 * blocks), *select)
    both = [frame.drop(columns=[*TIMED, "suite"]) for frame in (found, library.load(tmp_path / "long"))]
    pd.testing.assert_frame_equal(*both, check_exact=True)


def test_minibatches_are_decided_too(gradbench, suite, tmp_path):
    select = ("--select", "problem=gaussian-vae", "--select", "estimator=double-counted")
    assert gradbench("run", suite, "--out", "run", "--decide", "--noise", "latent+data", *select).code == 0
    frame = library.load(tmp_path / "run")
    assert set(frame.verdict[frame.group == "phi"]) == {"biased"}


def test_a_suite_can_ask_for_it(gradbench, tmp_path):
    (tmp_path / "own.toml").write_text(SUITE.replace("blocks = 8", "blocks = 8\ndecide = true"))
    gradbench("run", "own.toml", "--out", "run", "--select", "estimator=double-counted")
    assert (library.load(tmp_path / "run").query("group == 'phi'").verdict == "biased").all()


def test_a_plan_says_that_more_blocks_may_follow(gradbench, suite) -> None:
    plain = gradbench("run", suite, "--dry-run").out
    assert "more blocks" not in plain
    told = " ".join(gradbench("run", suite, "--dry-run", "--decide", "--precision", "0.1").out.split())
    assert "then more blocks, not counted here, until every bias is decided and variance is known to 10 %" in told
