"""run --decide: more blocks until every bias is found, or certainly small."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pandas as pd
import pytest

import gradbench as library
from gradbench.runner.aims import DOUBTFUL, ERRORS_FOUND, FOUND_AT, LONGER_ARM, is_decided, is_out_of_reach
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
    return (frame.bias_p <= FOUND_AT) | ((high <= 0.05 * frame.gradient_norm) & (frame.bias_p > DOUBTFUL))


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


def test_what_no_number_of_blocks_would_decide_is_not_pursued(gradbench, tmp_path):
    """Where E_q f hardly depends on q, a gradient of 0.0005 is asked of f of 0.25: millions of replicates.

    Of 16 bits not all tuples can have been drawn, which would decide it.
    """
    grid = """
[measure]
replicates = 256
blocks = 8
[[grid]]
problem = "bernoulli-cost"
target = [0.2, 0.499]
estimators = ["score-function"]
samples = 16
"""
    (tmp_path / "toy.toml").write_text('name = "toy"' + grid)
    gradbench("run", "toy.toml", "--out", "run", "--decide")
    frame = library.load(tmp_path / "run").query("group == 'phi'").sort_values("gradient_norm")
    assert list(frame.verdict) == ["unresolved", "unbiased"]
    assert 256 <= frame.blocks.iloc[0] < MOST_BLOCKS


def figures_of(norm: float, high: float, blocks: int) -> SimpleNamespace:
    return SimpleNamespace(bias_norm=norm, bias_high=high, bias_p=0.5, gradient_norm=1.0, variance=9.0, blocks=blocks)


@pytest.mark.parametrize("blocks", [256, 512, MOST_BLOCKS])
def test_how_far_reach_goes(blocks):
    """A bias of 0 is within reach where its arm narrows to twice the margin by the most blocks that there may be."""
    at_last = 0.05 / LONGER_ARM * math.sqrt(MOST_BLOCKS / blocks)
    assert not is_out_of_reach(figures_of(0.0, 1.9 * at_last, blocks), 0.05)
    assert is_out_of_reach(figures_of(0.0, 2.1 * at_last, blocks), 0.05)
    # as wide an interval, about a bias that would be found
    assert not is_out_of_reach(figures_of(10.0 * at_last, 12.1 * at_last, blocks), 0.05)
    # and about one that would just be found, were it as large as it is estimated
    arm = 2.1 * at_last
    least = arm * math.sqrt(blocks / MOST_BLOCKS) * ERRORS_FOUND / 1.96
    assert not is_out_of_reach(figures_of(1.05 * least, 1.05 * least + arm, blocks), 0.05)
    assert is_out_of_reach(figures_of(0.95 * least, 0.95 * least + arm, blocks), 0.05)
    # without a gradient, the margin is of the standard deviation
    without = figures_of(0.0, 2.1 * at_last, blocks)
    without.gradient_norm = 0.0
    assert not is_out_of_reach(without, 0.05)


@pytest.mark.parametrize(("p", "settled"), [(1e-5, True), (1e-3, False), (0.2, True)])
def test_a_small_bias_that_is_nearly_found_is_looked_at_again(p, settled):
    """Luck goes with more blocks; a bias that is there is found."""
    figures = figures_of(0.01, 0.02, 32)
    figures.bias_p = p
    assert is_decided(figures, 0.05) is settled  # pyright: ignore[reportArgumentType]


def test_few_blocks_put_nothing_out_of_reach():
    """One rare block makes the interval of few ten times as wide."""
    assert not is_out_of_reach(figures_of(0.0, 1e6, 255), 0.05)
    assert is_out_of_reach(figures_of(0.0, 1e6, 256), 0.05)


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


@pytest.mark.parametrize(("p", "high", "decided"), [(1.0, 1e-15, True), (1.0, math.inf, False), (1e-6, 0.2, True)])
def test_a_gradient_of_0_without_noise_is_decided_where_every_draw_was_0(p, high, decided):
    nothing = {"bias_norm": 0.0, "gradient_norm": 0.0, "variance": 0.0, "blocks": 8}
    assert is_decided(SimpleNamespace(bias_p=p, bias_high=high, **nothing), 0.05) == decided
