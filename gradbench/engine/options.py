"""How a task is to be measured: which path, which form of the variance, and within how much memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import psutil
import torch

Engine = Literal["auto", "layers", "general"]
"""``layers`` reads per-replicate norms off the linear layers; ``general`` forms every replicate's gradient."""
Variance = Literal["auto", "datapoint", "whole"]
"""``datapoint`` adds up the variances of the datapoints' gradients; ``whole`` watches the gradient of the minibatch."""

UNLIMITED = 2**63
FREE_SHARE = 0.5
"""Share of the memory that is free which is used where no budget is given."""


@dataclass(frozen=True)
class Options:
    """The choices of one measurement. Figures depend on ``engine`` and ``variance``, never on ``memory``."""

    engine: Engine = "auto"
    variance: Variance = "auto"
    memory: int | None = None
    """Bytes that block means may take before they go to a temporary file; None: half of what is free."""

    def budget(self) -> int:
        """Bytes of main memory for block means."""
        return int(psutil.virtual_memory().available * FREE_SHARE) if self.memory is None else self.memory


PASS_BYTES = {"cpu": 2**24, "cuda": 2**28}
"""Activations of one pass. Constants, so that figures do not depend on the machine's free memory."""


def pass_bytes(device: str | torch.device) -> int:
    """Bytes of activations per pass on ``device``."""
    return PASS_BYTES["cuda" if str(device).startswith("cuda") else "cpu"]
