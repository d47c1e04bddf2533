"""What of a run is shown, and how: as the options of commands say it, before there are rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gradbench.core.errors import UnknownNameError
from gradbench.results.columns import IDENTITY, PARAMETERS

GROUPED_BY = tuple(name for name in (*IDENTITY, "size") if name not in (*PARAMETERS, "group"))
"""Columns that tables may be made by."""


@dataclass(frozen=True)
class View:
    """What of a run is shown, and how."""

    columns: Sequence[str] | None = None
    sort: str | None = None
    """A column; with a minus before it, the largest first."""
    group_by: Sequence[str] | None = None
    """Columns that the rows of one table share; those of a point unless given."""
    relative: bool = False
    """Whether variance/‖g‖² stands beside the variance, and ‖bias‖ beside its share."""
    full: bool = False
    """Whether every row and column is shown, however wide."""

    def check(self) -> None:
        """Raise UnknownNameError for a column that there is not."""
        if not (self.columns or self.sort or self.group_by):
            return
        from gradbench.report.row_cells import chosen_columns, names_of_columns  # which take pandas

        chosen_columns(self.columns or ())
        if self.sort is not None and self.sort.removeprefix("-") not in names_of_columns():
            raise UnknownNameError("column", self.sort.removeprefix("-"), names_of_columns(), where="--sort")
        for name in self.group_by or ():
            if name not in GROUPED_BY:
                raise UnknownNameError("column", name, GROUPED_BY, where="--group-by")

    @property
    def wide(self) -> bool:
        """Whether lines may be longer than the terminal."""
        return self.full or self.columns is not None


AS_USUAL = View()
