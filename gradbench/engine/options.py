"""How a task is to be measured: which path, which form of the variance, and within how much memory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import psutil
import torch

from gradbench.core.printable import shortened

Engine = Literal["auto", "layers", "general"]
"""``layers`` reads per-replicate norms off the linear layers; ``general`` forms every replicate's gradient."""
Variance = Literal["auto", "datapoint", "whole"]
"""``datapoint`` adds up the variances of the datapoints' gradients; ``whole`` watches the gradient of the minibatch."""

NoiseSource = Literal["latent", "latent+data"]
"""``latent``: the minibatch is fixed; ``latent+data``: every block draws one of its own."""

FREE_SHARE = 0.5
"""Share of the memory that is free which is used where no budget is given."""
BANKS = 3
"""What takes K × P numbers: block means, the same with a control subtracted, and the blocks of the reference."""


@dataclass(frozen=True)
class Options:
    """The choices of one measurement. Figures depend on ``engine`` and ``variance``, never on ``memory``."""

    engine: Engine = "auto"
    variance: Variance = "auto"
    memory: int | None = None
    """Bytes that all of K × P numbers may take before it goes to temporary files; None: half of what is free."""

    def budget(self) -> int:
        """Bytes of main memory for each of the `BANKS`."""
        memory = int(psutil.virtual_memory().available * FREE_SHARE) if self.memory is None else self.memory
        return memory // BANKS


def device_budget(device: torch.device) -> int:
    """Bytes of block means that may stay on ``device`` until all of them are there."""
    if device.type != "cuda":
        return 0
    free, _ = torch.cuda.mem_get_info(device)
    return int(free * FREE_SHARE) // BANKS


UNITS = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def parse_bytes(text: str | int) -> int:
    """Bytes from a number or from text with a unit.

    >>> parse_bytes("2GB"), parse_bytes("1.5 MiB"), parse_bytes(64)
    (2000000000, 1572864, 64)

    Raises ValueError for anything else.
    """
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", str(text))
    size = float(found[1]) * UNITS.get(found[2], 0) if found else 0.0
    if not 1 <= size < 2**63:
        raise ValueError(f"expected bytes with a unit, such as 2GB or 500MiB, got {shortened(text)}")
    return int(size)


PASS_BYTES = {"cpu": 2**24, "cuda": 2**28}
"""Activations of one pass. Constants, so that figures do not depend on the machine's free memory."""
FEW_REPLICATES, FEW_BYTES = 32, 2**25
"""A pass of fewer replicates is made this large as long as its activations take no more than that."""


def replicates_per_pass(size: int, device: str | torch.device) -> int:
    """How many replicates with ``size`` bytes of activations each go into a pass on ``device``."""
    many = PASS_BYTES["cuda" if str(device).startswith("cuda") else "cpu"] // size
    return max(1, many, min(FEW_REPLICATES, FEW_BYTES // size))
