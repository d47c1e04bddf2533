"""References in files: computed once, by and for all processes that measure at their target.

What is one number for any number of blocks, or has minibatches, is computed by the first that asks, while others wait.
The blocks of a Monte-Carlo reference are shared out among those that need them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from gradbench.core.canonical import canonical, digest
from gradbench.core.sealed import SealError, read_sealed, write_sealed
from gradbench.core.types import Gradients
from gradbench.target.reference import Reference, ReferenceKind, Source, TargetReference, by_itself
from gradbench.target.shared_blocks import SharedBlocks, locked

MEMBERS = ("gradient", "blocks", "minibatches")
KINDS: tuple[ReferenceKind, ...] = ("closed-form", "enumeration", "quadrature", "monte-carlo")


class SharedReference:
    """A source whose references are kept in files of a folder, and read from there where another has put them."""

    def __init__(
        self,
        folder: Path,
        name: object,
        make: Callable[[], Source],
        device: str,
        most: int,
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        """``name`` is everything that the reference depends on but the number of blocks, as plain data.

        ``make`` gives the source that computes it, and is called only where a file is missing. References of more than
        ``most`` bytes, or that cannot be written, go to no file: every process computes them by itself. ``ready`` is
        called once others can help.
        """
        self.folder, self.name, self.make, self.device, self.most = folder, name, make, device, most
        self.ready = ready
        self._source: Source | None = None
        self._known: dict[int, Reference] = {}

    def upto(self, blocks: int) -> Reference:
        """The reference for a cell of so many blocks. Raises MeasurementError where there is none."""
        if blocks not in self._known:
            found = self._read(blocks) or self._alone(blocks) or self._sampled(blocks)
            gradient = {name: value.contiguous() for name, value in found.gradient.items()}  # as it is in a file
            found = replace(found, gradient=gradient)
            self._known = {**dict(list(self._known.items())[-1:]), blocks: found}  # those of two numbers at most
        return self._known[blocks]

    def _alone(self, blocks: int) -> Reference | None:
        """What one process computes for all; None where it is of blocks that several can compute."""
        if self._is_sampled():
            return None
        with locked(self._files(blocks)[1][0], patience=-1):
            if (found := self._read(blocks)) is not None or self._is_sampled():
                return found
            self._source = self._source or self.make()
            if isinstance(self._source, TargetReference) and self._source.is_sampled:
                with suppress(OSError):
                    write_sealed(*self._mark, {})
                return None
            found = self._source.upto(blocks)
            self._write(blocks, found)
            return found

    def _is_sampled(self) -> bool:
        """Whether somebody has found that the reference must be Monte-Carlo."""
        if isinstance(self._source, TargetReference) and self._source.is_sampled:
            return True
        try:
            read_sealed(*self._mark)
        except SealError:
            return False
        self._source = self._source or self.make()
        assert isinstance(self._source, TargetReference)
        self._source.is_sampled = True
        return True

    def _sampled(self, blocks: int) -> Reference:
        source = self._source
        assert isinstance(source, TargetReference)
        self.ready()
        fits = blocks * source.bytes_of_a_block <= self.most
        source.share = SharedBlocks(self.folder, [self.name, "block"]).each if fits else by_itself
        return source.upto(blocks)

    @property
    def _mark(self) -> tuple[Path, str]:
        """The file that says that the reference is sampled."""
        name = [self.name, "sampled"]
        return self.folder / f"{digest(name)}.safetensors", canonical(name)

    def _files(self, blocks: int) -> tuple[tuple[Path, str], ...]:
        """Where a reference for any number of blocks is, and one for so many."""
        names = [self.name], [self.name, blocks]
        return tuple((self.folder / f"{digest(name)}.safetensors", canonical(name)) for name in names)  # pyright: ignore[reportReturnType]

    def _read(self, blocks: int) -> Reference | None:
        for path, text in self._files(blocks):
            try:
                tensors = read_sealed(path, text)
            except SealError:  # not there, or damaged: computed anew
                continue
            kind = KINDS[int(tensors.pop("kind"))]
            order = json.loads(tensors.pop("order").numpy().tobytes())
            parts: dict[str, dict[str, Tensor]] = {part: {} for part in MEMBERS}
            for key in order:
                part, _, name = key.partition("/")
                parts[part][name] = tensors[key]
            gradient = {name: value.to(self.device) for name, value in parts["gradient"].items()}
            return Reference(kind, gradient, parts["blocks"] or None, parts["minibatches"] or None)
        return None

    def _write(self, blocks: int, reference: Reference) -> None:
        parts: dict[str, Gradients | None] = {part: getattr(reference, part) for part in MEMBERS}
        tensors = {f"{part}/{name}": value for part, own in parts.items() for name, value in (own or {}).items()}
        if sum(value.numel() * value.element_size() for value in tensors.values()) > self.most:
            return
        path, text = self._files(blocks)[reference.count is not None]
        order = torch.frombuffer(bytearray(json.dumps(list(tensors)).encode()), dtype=torch.uint8)
        tensors |= {"kind": torch.tensor(KINDS.index(reference.kind)), "order": order}
        with suppress(OSError):
            write_sealed(path, text, tensors)
