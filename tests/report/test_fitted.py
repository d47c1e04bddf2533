"""Tables that fit: columns go in their order, names stay whole, and what is left out is said."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.cells import cell_len

from gradbench.report.fitted import FittedColumn, FittedTable, FittedTables, fitted_listing
from tests.report.test_tables import printed

COLUMNS = (
    FittedColumn("name", "name", "left", folds=True),
    FittedColumn("figure", "figure"),
    FittedColumn("second", "second", goes=1),
    FittedColumn("interval", "95 %", "left", goes=1, title=""),
    FittedColumn("first", "first", goes=0, title="the first"),
)
ROWS = [("score-function-learned", "1.25e5", "44600", "43900–45200", "12.5"), ("exact", "0", "0", "0", "0")]


def table(width: int) -> str:
    return printed(FittedTables(COLUMNS, [FittedTable("title", [(row, "") for row in ROWS])], "--full"), width)


@pytest.mark.parametrize(
    ("width", "gone"),
    [(54, None), (53, "the first"), (48, "the first"), (47, "second, the first"), (29, "second, the first")],
)
def test_columns_go_in_their_order_and_an_interval_with_its_figure(width: int, gone: str | None) -> None:
    text = table(width)
    assert max(map(cell_len, text.splitlines())) <= width
    assert "score-function-learned" in text, "a name is whole"
    assert "1.25e5" in text
    said = " ".join(text.split())
    assert ("no room" in said) == (gone is not None)
    assert gone is None or f"no room at {width} columns for: {gone} (--full)" in said
    assert ("43900–45200" in text) == ("44600" in text) == (gone is None or "second" not in gone)


def test_a_cell_goes_on_behind_a_space_before_a_column_goes() -> None:
    rows = [("gumbel-softmax temperature=0.5", "1", "2", "1–3", "4")]
    text = printed(FittedTables(COLUMNS, [FittedTable("t", [(row, "") for row in rows])]), 47)
    assert "\ntemperature=0.5" in text
    assert "no room" not in text


def test_tables_of_one_run_are_as_wide_as_each_other() -> None:
    two = FittedTables(COLUMNS, [FittedTable(f"title {i}", [(row, "")]) for i, row in enumerate(ROWS)])
    heads = [line for line in printed(two, 80).splitlines() if line.startswith("name")]
    assert len(heads) == 2
    assert len(set(heads)) == 1


def test_a_listing_keeps_names_and_drops_the_last_columns() -> None:
    rows = [("a-rather-long-name-of-a-thing", "what it is, in some words", "differentiable", "incommensurable")]
    assert "incommensurable" in printed(fitted_listing(rows, ("name", "what", "third", "fourth")), 100)
    text = printed(fitted_listing(rows, ("name", "what", "third", "fourth")), 72)
    assert "differentiable" in text
    assert "incommensurable" not in text
    assert "no room at 72 columns for: fourth" in text


def test_names_break_behind_a_hyphen_where_no_column_may_go_and_figures_do_not() -> None:
    text = table(24)
    assert text.splitlines()[1].split() == ["name", "figure"]
    assert "score-function-\nlearned" in "\n".join(line[:17].rstrip() for line in text.splitlines())
    assert max(map(cell_len, text.splitlines())) <= 24
    narrow = table(12)
    assert "1.25e5" in narrow
    assert "no room at 12 columns for: second, the first; what is shown takes 16 columns, and there are 12" in " ".join(
        narrow.split()
    )


def test_words_of_a_column_that_breaks_do_so_before_a_column_goes() -> None:
    columns = (replace(COLUMNS[0], breaks=True), *COLUMNS[1:])
    text = printed(FittedTables(columns, [FittedTable("", [(row, "") for row in ROWS])]), 50)
    assert "no room" not in text
    assert "\nlearned" in text


def test_a_cell_that_is_longer_than_any_figure_goes_on_anywhere() -> None:
    text = printed(FittedTables(COLUMNS[:2], [FittedTable("", [(("x" * 100, "1.25e5"), "")])]), 20)
    assert max(len(line) for line in text.splitlines() if set(line) & {"x", "─"}) == 24 + 1 + 6
