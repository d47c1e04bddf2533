"""Data sets that need no file, binarised the same way in every run.

``digits`` is scikit-learn's 8 × 8 digits (1797 images, 64 pixels), each pixel drawn once from
Bernoulli(value / 16) with a fixed stream: static stochastic binarisation, the same for every seed.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gradbench.core.seeding import stream

DATA_SETS = ("digits", "synthetic")
"""Names that need no file; ``synthetic`` is drawn by a problem from its own prior."""


def binarised_digits() -> Tensor:
    """The binarised digits, float64 [1797, 64]."""
    from sklearn.datasets import load_digits

    images, _ = load_digits(return_X_y=True)
    pixels = torch.as_tensor(np.asarray(images)) / 16
    return torch.bernoulli(pixels, generator=stream(0, "data", "digits", "binarise")).double()
