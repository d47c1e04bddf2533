"""Times: a star only where the intervals decide, and a word where the machine was not quiet."""

from __future__ import annotations

import pandas as pd

from gradbench.report.timings import certain_best, contradicted, noise_words
from gradbench.results.columns import POINT


def rows(*some: dict) -> pd.DataFrame:
    """Rows of one point; ``v`` and ``s`` are variance and seconds with their ends."""
    usual = dict.fromkeys(POINT, "x") | {"estimator_params": "{}", "group": "phi", "samples": 1, "verdict": "unbiased"}
    found = []
    for row in some:
        figures = {}
        for name, key in (("variance", "v"), ("seconds", "s")):
            value, low, high = row[key]
            figures |= {name: value, f"{name}_low": low, f"{name}_high": high}
        found.append(usual | {k: v for k, v in row.items() if k not in "vs"} | figures)
    frame = pd.DataFrame(found)
    return frame.assign(work_variance=frame.variance * frame.seconds)


QUIET = (1.0, 0.9, 1.1)
A = {"estimator": "a", "v": (1.0, 0.9, 1.1), "s": QUIET}
B = {"estimator": "b", "v": (2.0, 1.8, 2.2), "s": QUIET}


def test_the_least_is_starred_where_intervals_lie_apart() -> None:
    assert certain_best(rows(A, B)) == {0}


def test_none_is_starred_where_they_overlap_in_variance_or_in_time() -> None:
    assert certain_best(rows(A, B | {"v": (1.2, 1.0, 1.4)})) == set()
    slow = {"s": (1.0, 0.3, 3.0)}
    assert certain_best(rows(A | slow, B | slow)) == set()


def test_biased_ones_take_no_part_and_one_alone_wins_nothing() -> None:
    assert certain_best(rows(A | {"verdict": "biased"}, B)) == set()
    assert certain_best(rows(A | {"verdict": "biased"}, B, B | {"estimator": "c", "v": (9.0, 8.0, 10.0)})) == {1}
    assert certain_best(rows(A)) == set()


def test_points_and_l_are_contests_of_their_own() -> None:
    other = [row | {"samples": 2} for row in (A, B)] + [row | {"seed": "y"} for row in (A, B)]
    assert certain_best(rows(A, B, *other)) == {0, 2, 4}


def test_more_samples_do_not_take_half_the_time() -> None:
    first = {"estimator": "a", "v": QUIET, "s": (10.0, 9.9, 10.1)}
    later = {"estimator": "a", "samples": 4, "v": QUIET, "s": (1.0, 0.9, 1.1)}
    other = {"estimator": "b", "v": QUIET, "s": (1.0, 0.9, 1.1)}
    frame = rows(later, first, other)
    assert contradicted(frame).tolist() == [True, True, False]
    assert certain_best(frame) == set(), "what contradicts itself decides nothing"
    said = "".join(noise_words(frame))
    assert said.startswith("noisy machine: 2 times contradict others")
    slower = rows(first, later | {"s": (6.0, 5.9, 6.1)})
    assert not contradicted(slower).any(), "somewhat faster is no contradiction"


def test_a_wide_interval_of_a_median_is_said_and_a_narrow_one_is_not() -> None:
    assert list(noise_words(rows({"estimator": "a", "v": QUIET, "s": QUIET}))) == []
    said = "".join(noise_words(rows({"estimator": "a", "v": QUIET, "s": (1.0, 0.5, 6.0)})))
    assert "noisy machine: the interval of a median spans up to 12 ×" in said
