"""Tables that no column may go from: cells that wrap do so at the least width of their words, nothing else does."""

from __future__ import annotations

from rich.cells import cell_len

from gradbench.report.layout import plain_table
from gradbench.report.plain import Table
from gradbench.report.widths import shared_out
from tests.report.test_tables import printed


def table() -> Table:
    drawn = plain_table(None)
    drawn.add_column("figure", justify="right", no_wrap=True)
    drawn.add_column("what it is", overflow="fold")
    drawn.add_column("interval")
    drawn.add_row("0.00353", "a sentence that may go on in as many lines as it takes", "45200–46500")
    return drawn


def test_the_widest_column_gives_way() -> None:
    assert shared_out([7, 54, 11], [7, 8, 6], 40) == [7, 22, 11]
    assert shared_out([7, 54, 11], [7, 8, 6], 10) == [7, 8, 6]
    assert shared_out([], [], 10) == []


def test_a_figure_is_whole_at_any_width_and_lines_are_no_longer_than_that_takes() -> None:
    for width in range(5, 80):
        text = printed(table(), width)
        assert "0.00353" in text
        assert "45200–" in text
        assert "46500" in text
        assert "…" not in text
        assert max(map(cell_len, text.splitlines())) <= max(width, 7 + 8 + 8 + 4)


def test_a_table_may_be_printed_at_one_width_and_then_at_another() -> None:
    drawn = table()
    wide = printed(drawn, 80)
    printed(drawn, 20)
    assert printed(drawn, 80) == wide
