"""Moments of finished cells in files, so that a run with more replicates goes on where it stopped.

They hold the blocks' mean gradients, which rows do not. A cell without them, or whose file is damaged or of another
version, is measured from its first block on: with the same figures, as blocks are drawn by their numbers.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gradbench.core.canonical import canonical
from gradbench.core.sealed import SealError, read_sealed, write_sealed
from gradbench.core.version import VERSION
from gradbench.engine.layers.factored import Factored, Means
from gradbench.engine.moments import BY_BLOCK, Moments

MOMENTS = "moments"
PLAIN = ("per_block", "probes", "engine", "minibatches", "rarest", "rounding")
"""Fields that JSON can hold as they are; ``certain`` goes beside them as a list."""


class KeptMoments:
    """The moments of a run's cells, in a folder of it that takes at most ``most`` bytes."""

    def __init__(self, run: Path, most: int) -> None:
        self.folder, self.most = run / MOMENTS, most

    def read(self, cell_id: str, about: dict[str, Any]) -> Moments | None:
        """The moments of a cell measured under what ``about`` says; None where there are none."""
        try:
            tensors = read_sealed(self.folder / f"{cell_id}.safetensors", _text(cell_id, about))
        except SealError:
            return None
        plain = json.loads(tensors.pop("plain").numpy().tobytes())
        order = plain.pop("order")  # sums over parameter tensors are taken in their order
        arrays: dict[str, dict[str, Any]] = {name: {} for name in (*BY_BLOCK, "deviation")}
        for key in order:
            value = tensors[key]
            name, _, rest = key.partition("/")
            part, _, side = rest.partition("|")
            arrays[name].setdefault(part, {})[side] = value.numpy()
        found: Any = {name: {part: _joined(sides) for part, sides in own.items()} for name, own in arrays.items()}
        return Moments(**{**plain, "certain": frozenset(plain["certain"]), **found})

    def write(self, cell_id: str, about: dict[str, Any], moments: Moments) -> bool:
        """Keep the moments of a cell, if there is room, and say whether they are kept."""
        if self.most <= 0:
            return False
        plain = {name: getattr(moments, name) for name in PLAIN} | {"certain": sorted(moments.certain)}
        tensors: dict[str, torch.Tensor] = {}
        for name in (*BY_BLOCK, "deviation"):
            for part, value in getattr(moments, name).items():
                for side, array in _sides(value).items():
                    tensors[f"{name}/{part}|{side}"] = torch.from_numpy(np.array(array, order="C"))
        text = json.dumps(plain | {"order": list(tensors)})
        tensors["plain"] = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
        file = self.folder / f"{cell_id}.safetensors"
        taken = sum(one.stat().st_size for one in self.folder.glob("*.safetensors") if one != file)
        if taken + sum(value.nbytes for value in tensors.values()) > self.most:
            with suppress(OSError):
                file.unlink(missing_ok=True)
            return False
        try:
            write_sealed(file, _text(cell_id, about), tensors)
        except OSError:  # what is not kept is measured anew
            return False
        return True


def _sides(value: Means) -> dict[str, np.ndarray]:
    return {"left": value.left, "right": value.right} if isinstance(value, Factored) else {"": value}


def _joined(sides: dict[str, np.ndarray]) -> Means:
    return sides[""] if "" in sides else Factored(sides["left"], sides["right"])


def _text(cell_id: str, about: dict[str, Any]) -> str:
    """What the moments of a cell are of: another version of gradbench, or of their layout, measures them anew."""
    layout = [field.name for field in fields(Moments)]
    versions = {"gradbench": VERSION, "torch": str(torch.__version__)}
    return canonical({"cell": cell_id, **versions, "layout": layout, **about})
