"""In which order the jobs of a run are handed out."""

from __future__ import annotations

from gradbench.runner.executors.queue import Queue
from gradbench.runner.jobs import Job, Phase
from gradbench.suite.suites import Settings, resolve

GRID = {
    "problem": "gaussian-cost",
    "estimators": ["pathwise", "pathwise-antithetic", "score-function", "score-function-loo"],
    "samples": [2, 4, 8],
}


def jobs(phase: Phase, **other: object) -> list[Job]:
    """Those of one target, the most samples first."""
    cells = resolve({"name": "own", "grid": [{**GRID, **other}]}, "here", Settings()).cells
    return [Job(cell, phase) for cell in sorted(cells, key=lambda cell: -cell.samples)]


def test_a_worker_stays_with_the_samples_that_it_has_drawn():
    queue = Queue([jobs("statistics")])
    first = queue.next(None)
    assert first is not None
    assert queue.next(None) is None, "the others wait until the target is there"
    queue.made(first[1])
    at = {1: first, 2: queue.next(None)}
    order: dict[int, list[tuple[str, int]]] = {1: [], 2: []}
    while any(at.values()):  # both take the same time
        for worker, one in at.items():
            if one is not None:
                order[worker].append((one[0].cell.estimator, one[0].cell.samples))
                at[worker] = queue.next(one[1], one[0])
    plain = ["pathwise", "score-function", "score-function-loo"]
    assert order[1][:3] == [(name, 8) for name in plain], "pairs are other samples"
    assert order[2][0] == ("pathwise-antithetic", 8)
    assert order[2][1:4] == [(name, 4) for name in plain]
    assert sorted(order[1] + order[2]) == sorted((name, count) for name in GRID["estimators"] for count in (2, 4, 8))


def test_a_worker_without_samples_of_its_own_takes_the_last_of_others():
    queue = Queue([jobs("timing", samples=[2], estimators=["pathwise", "score-function", "score-function-loo"])])
    first, other = queue.next(None), queue.next(None)
    assert first is not None
    assert other is not None
    assert (first[0].cell.estimator, other[0].cell.estimator) == ("pathwise", "score-function-loo")
    third = queue.next(first[1], first[0])
    assert third is not None
    assert third[0].cell.estimator == "score-function"
    assert queue.next(None) is None
