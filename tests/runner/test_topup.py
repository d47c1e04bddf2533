"""More blocks for a cell: when they stop, and that they are the blocks a longer run would have had."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gradbench.engine.moments import Moments
from gradbench.runner import topup
from gradbench.runner.aims import half_width, to_precision
from gradbench.runner.topup import MOST_BLOCKS, topped_up
from gradbench.statistics import skewed_interval
from tests.helpers import moments_of

PER_BLOCK = 16
NOISE = np.random.default_rng(5).standard_normal((2 * MOST_BLOCKS, PER_BLOCK, 1))


class Source:
    """Blocks of Gaussian replicates, the same for a number whenever it is asked for; remembers what was asked."""

    def __init__(self, scale: float = 1.0) -> None:
        self.scale, self.asked = scale, []

    def __call__(self, some: range) -> Moments:
        self.asked.append(some)
        return moments_of(1 + self.scale * NOISE[list(some)], np.ones(1))


def first(source: Source, blocks: int = 8) -> Moments:
    moments = source(range(blocks))
    source.asked.clear()
    return moments


def test_without_precision_or_budget_nothing_is_added():
    source = Source()
    start = first(source)
    assert topped_up(start, source, None, None) is start
    assert source.asked == []


def test_blocks_are_added_until_the_half_width_is_met():
    source = Source()
    start = first(source)
    moments = topped_up(start, source, to_precision(0.1), None)
    assert half_width(start) > 0.1 >= half_width(moments)
    # the blocks before the last were not enough, and each step is a quarter of what is there
    before = source(range(source.asked[-1].start))
    assert half_width(before) > 0.1
    have = 8
    for some in source.asked[:-1]:
        assert (some.start, len(some)) == (have, have // 4)
        have = some.stop
    assert moments.blocks == have


def test_the_blocks_are_those_of_a_longer_run():
    source = Source()
    moments = topped_up(first(source), source, to_precision(0.1), None)
    whole = Source()(range(moments.blocks))
    for name in ("square", "fourth", "shift"):
        np.testing.assert_array_equal(getattr(moments, name)["phi"], getattr(whole, name)["phi"])
    np.testing.assert_array_equal(moments.means["phi.w"], whole.means["phi.w"])


def test_a_precision_that_is_met_adds_nothing():
    source = Source()
    start = first(source, 64)
    assert topped_up(start, source, to_precision(0.5), None) is start
    assert source.asked == []


def test_blocks_are_capped():
    source = Source()
    moments = topped_up(first(source, 1000), source, to_precision(1e-9), None)
    assert moments.blocks == MOST_BLOCKS
    assert source.asked == [range(1000, MOST_BLOCKS)]
    # a cell that already has as many as there may be gets none
    source.asked.clear()
    assert topped_up(moments, source, to_precision(1e-9), None) is moments
    assert source.asked == []


class Clock:
    """A clock that a block moves on by a second."""

    def __init__(self, monkeypatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(topup.time, "perf_counter", lambda: self.now)

    def timed(self, source: Source):
        def more(some: range) -> Moments:
            self.now += len(some)
            return source(some)

        return more


@pytest.mark.parametrize("precision", [None, 1e-9])
def test_the_budget_bounds_the_time(monkeypatch, precision):
    clock, source = Clock(monkeypatch), Source()
    moments = topped_up(first(source), clock.timed(source), precision and to_precision(precision), 20.0)
    # a quarter more each time; at 19 seconds a quarter would be 6, and 1 is left
    assert [len(some) for some in source.asked] == [2, 2, 3, 3, 4, 5, 1]
    assert (moments.blocks, clock.now) == (28, 20.0)


def test_a_first_step_longer_than_the_budget_is_the_only_one(monkeypatch):
    clock, source = Clock(monkeypatch), Source()
    assert topped_up(first(source, 64), clock.timed(source), None, 3.0).blocks == 80


def test_a_budget_that_is_spent_adds_nothing(monkeypatch):
    clock, source = Clock(monkeypatch), Source()
    start = first(source)
    clock.now = 5.0
    assert topped_up(start, clock.timed(source), None, 5.0) is start


def test_a_precision_that_is_met_leaves_budget_unspent(monkeypatch):
    clock, source = Clock(monkeypatch), Source()
    topped_up(first(source), clock.timed(source), to_precision(0.2), 1e6)
    assert clock.now < 100


def test_the_half_width_is_the_widest_of_all_phi_and_theta():
    generator = np.random.default_rng(3)
    noise = generator.standard_normal(16)
    spread = {"all": 0.1, "phi": 0.3, "theta": 0.2, "phi.w": 0.9}  # one tensor may be noisier: it is not asked for
    values = {group: np.exp(width * noise) for group, width in spread.items()}
    moments = dataclasses.replace(Source()(range(16)), by_datapoint=values)
    widths = {}
    for group in spread:
        low, high = skewed_interval(values[group])
        widths[group] = (high - low) / 2 / values[group].mean()
    assert widths["phi.w"] > widths["phi"] == max(widths[group] for group in ("all", "phi", "theta"))
    assert half_width(moments) == pytest.approx(widths["phi"], rel=1e-12)


def test_what_does_not_vary_has_no_half_width():
    source = Source(scale=0.0)
    start = first(source)
    assert half_width(start) == 0.0
    assert topped_up(start, source, to_precision(1e-9), None) is start
