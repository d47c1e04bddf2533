"""Block means, [K, P] by parameter tensor: allocated once, in memory or, past the budget, in a temporary file.

Pages of a file that have been looked at count as resident memory until the system takes them back. Here they are given
back at once: before another tensor's rows are asked for, and between the columns of a pass over them.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref
from collections.abc import Iterable, Sequence
from typing import IO

import numpy as np
import torch
from torch import Tensor

from gradbench.core.errors import MeasurementError

UNLIMITED = 2**63
"""A budget of memory that nothing exceeds."""

_mapped: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()


class Bank:
    """K rows of every parameter tensor, in the precision of the gradients."""

    def __init__(
        self, rows: int, sizes: dict[str, int], dtype: torch.dtype, budget: int, *, zeroed: bool = True
    ) -> None:
        """Rows that take more than ``budget`` bytes go to a file that vanishes with the last array that uses it.

        Not ``zeroed``: whoever asks will write every row before reading it.
        """
        element = torch.empty(0, dtype=dtype).element_size()
        whole = rows * sum(sizes.values()) * element
        self.spilled = whole > budget
        numpy_type = np.float32 if dtype == torch.float32 else np.float64
        self.rows: dict[str, Tensor] = _Rows() if self.spilled else {}
        for name, size in sizes.items():
            found = allocated((rows, size), numpy_type, spilled=self.spilled, zeroed=zeroed, whole=whole)
            self.rows[name] = torch.from_numpy(found)

    def arrays(self) -> dict[str, np.ndarray]:
        """The rows as NumPy arrays, without a copy."""
        return {name: value.numpy() for name, value in self.rows.items()}


class _Rows(dict[str, Tensor]):
    """Spilled rows by name; what was handed out before leaves main memory."""

    def __getitem__(self, name: str) -> Tensor:
        release()
        return super().__getitem__(name)


def allocated(
    shape: tuple[int, int], dtype: np.typing.DTypeLike, *, spilled: bool, zeroed: bool = True, whole: int | None = None
) -> np.ndarray:
    """An array, of zeros if that is asked for, in memory or in a temporary file (which is zeros).

    ``whole``: bytes of all that it is a part of, to say how much room is needed.

    Raises MeasurementError where the file does not find room: were it found missing later, when a page is written, the
    system would end the process.
    """
    if not spilled or not shape[0] * shape[1]:
        # NumPy asks for huge pages, which are several times faster to touch first
        return np.zeros(shape, dtype) if zeroed else np.empty(shape, dtype)
    size = shape[0] * shape[1] * np.dtype(dtype).itemsize
    try:
        with tempfile.TemporaryFile(prefix="gradbench-") as file:
            _reserve(file, size)
            found = np.memmap(file, dtype, "r+", shape=shape)
    except OSError as error:
        folder = tempfile.gettempdir() if tempfile.tempdir else "the folder for temporary files"
        raise MeasurementError(
            f"{folder}: no room for {whole or size} bytes of block means ({error.strerror or error})\n"
            f"set TMPDIR to a folder with more room, or give --memory more than they take"
        ) from error
    _mapped.add(found._mmap)  # pyright: ignore[reportAttributeAccessIssue]
    return found.view(np.ndarray)


def _reserve(file: IO[bytes], size: int) -> None:
    """Give ``file`` its ``size`` bytes, of zeros, on the device that it is on. Raises OSError where that is full."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    for start in range(0, size, len(ZEROS)):
        file.write(ZEROS[: size - start])
    file.flush()


ZEROS = bytes(2**20)


def side_by_side(parts: Sequence[np.ndarray], *, spilled: bool) -> np.ndarray:
    """The rows of several arrays, one after the other."""
    if not spilled:
        return np.concatenate(parts)
    found = allocated((sum(map(len, parts)), parts[0].shape[1]), parts[0].dtype, spilled=True)
    start = 0
    for part in parts:
        for row in part:
            found[start] = row
            start += 1
            release()
    return found


def release() -> None:
    """Give the pages of all spilled rows back to the system. What is in them stays, in their files."""
    if hasattr(mmap, "MADV_DONTNEED"):
        for one in _mapped:
            one.madvise(mmap.MADV_DONTNEED)


def columns(width: int, rows: int, elements: int = 2**22) -> Iterable[slice]:
    """Slices of ``width`` columns that keep ``rows`` × columns at ``elements``."""
    step = max(1, elements // max(rows, 1))
    for start in range(0, width, step):
        yield slice(start, min(start + step, width))
        release()
