"""How many processes a run is best shared out among, where nobody has said."""

from __future__ import annotations

from collections.abc import Sequence

import psutil
import torch

from gradbench.core.isolation import starting
from gradbench.engine.options import FREE_SHARE
from gradbench.runner.predicted import Predicted
from gradbench.suite.cell import Cell

WORTH = 2.0
"""Seconds of statistics that are shared out: of fewer, starting processes would cost more than it saves."""


def processes_for(cells: Sequence[Cell], predicted: Predicted) -> int:
    """One process for each core, as far as there are cells and memory for them; 0: all in this one.

    No more than torch has threads; on one core, on a GPU, and for a few seconds, none beside this one.
    """
    if any(cell.device.startswith("cuda") for cell in cells):
        return 0
    if sum(map(predicted.statistics, cells)) < WORTH:
        return 0
    each = max(map(predicted.memory, cells))
    fit = int(FREE_SHARE * psutil.virtual_memory().available / each)
    found = min(starting.cores(), torch.get_num_threads(), len(cells), fit)
    return found if found > 1 else 0


def longest_first(cells: Sequence[Cell], predicted: Predicted) -> list[Cell]:
    """The same, in the order that processes are done with soonest."""
    return sorted(cells, key=predicted.statistics, reverse=True)
