"""Data sets that are called by a name, the same in every run.

``digits`` is scikit-learn's 8 × 8 digits (1797 images, 64 pixels), each pixel drawn once from
Bernoulli(value / 16) with a fixed stream: static stochastic binarisation, the same for every seed.

``breast-cancer`` is scikit-learn's copy of the Wisconsin diagnostic data (569 tumours, 30 features), each feature less
its mean and divided by its standard deviation. The last column is the label: 1 for benign, 0 for malignant.

``mnist`` is fetched (see `mnist`).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gradbench.core.seeding import stream
from gradbench.problems.data.mnist import binarised_mnist

DATA_SETS = ("digits", "mnist", "breast-cancer", "synthetic")
"""Names that need no file; ``synthetic`` is drawn by a problem from its own prior."""
FETCHED = frozenset({"mnist"})
"""Those of them that come over a network: they are known by their contents, as files are."""
LABELLED = frozenset({"breast-cancer"})
"""Those of them whose last column is a label."""


def binarised_digits() -> Tensor:
    """The binarised digits, float64 [1797, 64]."""
    pixels = torch.from_numpy(_images_of_digits()) / 16
    return torch.bernoulli(pixels, generator=stream(0, "data", "digits", "binarise")).double()


def _images_of_digits() -> np.ndarray:
    """Values from 0 to 16, float64 [1797, 64]: scikit-learn's file, read without the second that its import takes."""
    package = find_spec("sklearn")
    if package is not None and package.origin is not None:
        file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            return np.loadtxt(file, delimiter=",", usecols=range(64))
    from sklearn.datasets import load_digits  # it knows where a release keeps them elsewhere

    return np.asarray(load_digits(return_X_y=True)[0])


def standardised_tumours() -> Tensor:
    """Standardised features and, last, the label of each tumour, float64 [569, 31]."""
    from sklearn.datasets import load_breast_cancer

    features, labels = (np.asarray(part, dtype=np.float64) for part in load_breast_cancer(return_X_y=True))
    standard = (features - features.mean(0)) / features.std(0)
    return torch.from_numpy(np.column_stack([standard, labels]))


BUILT_IN: dict[str, Callable[[], Tensor]] = {
    "digits": binarised_digits,
    "mnist": binarised_mnist,
    "breast-cancer": standardised_tumours,
}
"""What makes the rows of each that has any."""
