"""What a suite is expected to take, in a few lines."""

from __future__ import annotations

from collections.abc import Iterator

from gradbench.core.printable import how_many
from gradbench.report.format import duration, percent, size
from gradbench.runner.expected import Expected
from gradbench.suite.suites import Suite

WORKERS = (2, 4, 8)
MOST_FAILURES = 5
"""Failures that are told one by one."""


def until(suite: Suite) -> str:
    """What more blocks are added for, beyond those that a plan counts; empty where there are no more."""
    aims = ["every bias is decided"] if suite.measure.decide else []
    if suite.measure.precision is not None:
        aims.append(f"variance is known to {percent(suite.measure.precision)}")
    return f"; then more blocks, not counted here, until {' and '.join(aims)}" if aims else ""


def plan_lines(suite: Suite, found: Expected) -> Iterator[str]:
    """The summary of a plan: cells, time, memory, and what fails at once."""
    counts = ", ".join(f"{count} {name}" for name, count in found.counts.items() if count)
    measure = suite.measure
    size_of_each = f"{measure.replicates} replicates in {measure.blocks} blocks"
    yield f"{how_many(len(suite.cells), 'cell')}: {counts}; {size_of_each}{until(suite)}"
    parts = ", ".join(f"{duration(seconds)} {name}" for name, seconds in found.parts.items() if seconds > 0)
    yield f"about {duration(found.seconds)} here in one process ({parts}; {how_many(found.looked_at, 'cell')} tried)"
    apart = found.parts.get("timings", 0.0)
    side = ", ".join(f"{n}: {duration((found.seconds - apart) / n + apart)}" for n in WORKERS)
    yield f"about, by --workers and where there are as many cores: {side}"
    yield f"peak memory about {size(found.memory)} in each process"
    for cell in [cell for cell in suite.cells if cell.cell_id in found.failures][:MOST_FAILURES]:
        said = " ".join(found.failures[cell.cell_id].message.split())
        yield f"fails: {cell.axes.problem} {cell.estimator} L={cell.samples}: {said}"
    if len(found.failures) > MOST_FAILURES:
        yield f"fails: {len(found.failures) - MOST_FAILURES} more"
