"""Gradients of blocks in files, each made by one of the processes that need it, which share them out as they go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gradbench.core.canonical import canonical, digest
from gradbench.core.sealed import SealError, read_sealed, write_sealed
from gradbench.core.types import Gradients

BLOCKS_OF_A_FILE = 8
"""Blocks in a file, at most."""

Made = list[tuple[int, Gradients]]


class SharedBlocks:
    """The blocks of one reference, in a folder."""

    def __init__(self, folder: Path, name: object) -> None:
        """``name`` is everything that the blocks depend on, as plain data."""
        self.folder, self.name = folder, name

    def each(self, blocks: range, gradient: Callable[[int], Gradients]) -> Iterator[tuple[int, Gradients]]:
        """The gradient of each block with its number, in whatever order: from its file, or by ``gradient``.

        What another process is at is left to it; where that ends before it is done, it is made here.
        """
        left = []
        for part in _parts(blocks):
            found = self._read(part) or self._made(part, gradient, patience=0)
            if found is None:
                left.append(part)
            else:
                yield from found
        for part in left:
            yield from self._read(part) or self._made(part, gradient, patience=-1) or ()

    def _made(self, part: range, gradient: Callable[[int], Gradients], patience: float) -> Made | None:
        """What a part comes out as, by whoever makes it; None where another is at it, longer than ``patience`` s."""
        with locked(self._file(part)[0], patience) as free:
            if not free:
                return None
            if (found := self._read(part)) is not None:  # another has ended meanwhile
                return found
            found = [(block, gradient(block)) for block in part]
            tensors = {f"{block}/{name}": value for block, own in found for name, value in own.items()}
            with suppress(OSError):  # no room: everybody makes it
                write_sealed(*self._file(part), tensors)
            return found

    def _read(self, part: range) -> Made | None:
        try:
            tensors = read_sealed(*self._file(part))
        except SealError:  # not there, or damaged: computed anew
            return None
        found: dict[int, Gradients] = {block: {} for block in part}
        for key, value in tensors.items():
            block, _, name = key.partition("/")
            found[int(block)][name] = value
        return list(found.items())

    def _file(self, part: range) -> tuple[Path, str]:
        name = [self.name, part.start, part.stop]
        return self.folder / f"{digest(name)}.safetensors", canonical(name)


@contextmanager
def locked(file: Path, patience: float) -> Iterator[bool]:
    """Hold the right to make ``file``. Gives False where another has it, and keeps it longer than ``patience`` s.

    -1: however long. In a folder where nothing can be locked everybody has it.
    """
    from filelock import FileLock, Timeout

    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
    lock, free = FileLock(file.with_suffix(".lock"), timeout=patience, is_singleton=False), True
    try:
        lock.acquire(poll_interval=0.02)
    except Timeout:
        free = False
    except (OSError, NotImplementedError):
        pass  # no locks here, as on some network file systems: work may be done twice, to the same bits
    try:
        yield free
    finally:
        lock.release()


def _parts(blocks: range) -> Iterator[range]:
    """``blocks`` cut at multiples of ``BLOCKS_OF_A_FILE``.

    >>> list(_parts(range(5, 20)))
    [range(5, 8), range(8, 16), range(16, 20)]
    """
    start = blocks.start
    while start < blocks.stop:
        stop = min(start // BLOCKS_OF_A_FILE * BLOCKS_OF_A_FILE + BLOCKS_OF_A_FILE, blocks.stop)
        yield range(start, stop)
        start = stop
