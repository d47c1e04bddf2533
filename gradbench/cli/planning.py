"""Printing what a suite would measure, without measuring it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradbench.suite.suites import Suite


def print_plan(suite: Suite, out: Path | None, *, piloted: bool, as_json: bool) -> None:
    """Print the resolved cells of a suite, what they are expected to take here, and its claims.

    ``piloted``: some cells are tried briefly to tell. ``out``: a run folder that may have some of the cells already.
    """
    from gradbench.cli import output
    from gradbench.core.printable import how_many
    from gradbench.report.claims import claim_line
    from gradbench.report.format import duration, size
    from gradbench.report.planned import plan_lines, until
    from gradbench.report.plans import plan_tables
    from gradbench.runner.expected import expectation
    from gradbench.runner.plan import plan_rows

    found = expectation(suite, out, piloted=piloted)
    if as_json:
        output.show_json({**suite.resolved(), **found.record()})
        return
    if piloted:
        for line in plan_lines(suite, found):
            output.show(line)
    skipped = sum(cell.skip is not None for cell in suite.cells)
    redrawn = ", each with a minibatch of its own" if suite.measure.noise == "latent+data" else ""
    output.show(plan_tables(plan_rows(suite), f"{suite.name}: {suite.title}" if suite.title else suite.name))
    if not piloted:
        taken = f"{duration(found.seconds)} and {size(found.memory)} here in one process"
        output.show(
            f"{how_many(len(suite.cells) - skipped, 'cell')} to measure, {skipped} skipped; "
            f"{suite.measure.replicates} replicates in {suite.measure.blocks} blocks{redrawn}; "
            f"about {taken}{until(suite)}"
        )
    for claim in suite.expect:
        output.show(claim_line(claim))


def print_dry_run(suite: Suite, out: Path | None, *, as_json: bool) -> None:
    """Print the plan of a run, with what its folder has already, and that nothing was measured."""
    from gradbench.cli import output
    from gradbench.results.manifest import has_manifest

    print_plan(suite, out, piloted=False, as_json=as_json)
    there = out is not None and out.is_dir() and has_manifest(out)
    where = f"{out} would go on" if there else f"{out or f'results/{suite.name}-…'} would be made"
    output.say(f"dry run: nothing was measured, nothing written; {where}")
