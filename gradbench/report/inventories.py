"""What there is of a run, in a few lines."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType

from gradbench.core.printable import how_many, one_line
from gradbench.report.layout import plain_table
from gradbench.report.plain import Text
from gradbench.results.inventory import STATES, Inventory

_WORDS = {
    "ok": "done",
    "failed": "failed, measured again when the run goes on",
    "skipped": "skipped, as they cannot work",
}
_STYLES = {"ok": "green", "failed": "red", "missing": "yellow"}


def inventory_text(found: Inventory) -> RenderableType:
    """Counts of cells, what is stale, under which conditions, and who is writing into the folder."""
    table = plain_table(
        one_line(f"{found.path}: {found.suite}, {how_many(len(found.cells), 'cell')}"), show_header=False
    )
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for state in STATES:
        if (count := found.count(state)) or state == "ok":
            table.add_row(str(count), Text(_WORDS.get(state, state), style=_STYLES.get(state, "")))
    return Group(table, "", *(Text(line) for line in _lines(found)))


def _lines(found: Inventory) -> Iterator[str]:
    for sentence in found.stale:
        yield f"stale: {sentence}"
    yield from found.conditions
    if found.holder is not None and found.alive:
        yield f"in use by {found.holder}"
    elif found.alive:
        yield "in use by a run that does not say which"
    elif found.holder is not None:
        yield f"the run that wrote here has died: {found.holder}"
    if found.finished:
        yield f"finished {found.finished}"
    elif not found.alive:
        yield f"not finished; go on with the same command and --out {found.path}"
