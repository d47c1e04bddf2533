"""How much a data file may hold: found of its header, before its numbers take any memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from io import BufferedIOBase

import numpy as np

from gradbench.core.errors import UsageError
from gradbench.problems.data.spelling import DataFile

MOST_BYTES = 2**32
"""Of the numbers of a data file as float64, and of the file itself."""
MOST_TEXT_BYTES = 2**30
"""Of a .csv file, whose numbers take up to four times as much as their digits."""


def check_file(file: DataFile, most: int = MOST_BYTES) -> None:
    """Raise UsageError where a file is larger than ``most`` bytes, whatever is in it."""
    size = file.path.stat().st_size
    if size > most:
        raise UsageError(f"{file}: {_gigabytes(size)} are too many to be read; {_remedy(most)}")


def check_shape(file: DataFile, what: str, shape: Sequence[int]) -> None:
    """Raise UsageError where numbers of that ``shape`` take too much memory as float64; ``what`` names them."""
    size = 8 * math.prod(shape)
    if size > MOST_BYTES:
        told = " × ".join(f"{side:,}" for side in shape)
        raise UsageError(f"{file}: {what} of {told} numbers takes {_gigabytes(size)}; {_remedy(MOST_BYTES)}")


def shape_of(stream: BufferedIOBase) -> tuple[int, ...]:
    """The shape of the array in a stream of .npy, of its header alone. Raises ValueError where it is none."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(stream)[0]


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.3g} GB" if size < 1e15 else "over a million GB"


def _remedy(most: int) -> str:
    return f"at most {most / 1e9:.3g} GB: keep the rows that minibatches are to be drawn from"
