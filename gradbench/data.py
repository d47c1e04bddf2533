"""Data sets, binarised the same way in every run.

``digits`` is scikit-learn's 8 × 8 digits (1797 images, 64 pixels), each pixel drawn once from
Bernoulli(value / 16) with a fixed stream: static stochastic binarisation, the same for every seed.
``file:PATH`` reads an .npz (its only array, or the one called ``x``) or a .parquet; values are used as they are.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from gradbench.errors import UnknownNameError, UsageError
from gradbench.seeding import stream

DATA_SETS = ("digits", "synthetic")


def check_data(name: str) -> None:
    """Raise UsageError unless ``name`` is a data set or an existing ``file:PATH``."""
    if name.startswith("file:"):
        path = Path(name.removeprefix("file:"))
        if path.suffix not in {".npz", ".parquet"}:
            raise UsageError(f"data {name!r}: expected a .npz or .parquet file")
        if not path.is_file():
            raise UsageError(f"data {name!r}: there is no such file; give a path from {Path.cwd()}")
    elif name not in DATA_SETS:
        raise UnknownNameError("data set", name, [*DATA_SETS, "file:PATH"])


@cache
def load(name: str) -> Tensor:
    """All rows of data set ``name`` as float64 [N, features]. Raises UsageError where it cannot be read.

    ``synthetic`` has no rows here: a problem draws them from its own prior.
    """
    check_data(name)
    if name == "digits":
        from sklearn.datasets import load_digits

        images, _ = load_digits(return_X_y=True)
        pixels = torch.as_tensor(np.asarray(images)) / 16
        return torch.bernoulli(pixels, generator=stream(0, "data", "digits", "binarise")).double()
    if name.startswith("file:"):
        return _from_file(Path(name.removeprefix("file:")))
    raise UsageError(f"data {name!r} has no rows of its own; this problem needs a data set such as 'digits'")


def _from_file(path: Path) -> Tensor:
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                array = arrays["x"] if "x" in arrays else arrays[arrays.files[0]]
        else:
            array = pd.read_parquet(path).to_numpy()
        rows = torch.as_tensor(np.array(array, dtype=np.float64))  # a copy: Parquet gives read-only memory
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise UsageError(f"data file {path}: cannot be read as numbers ({error})") from error
    if rows.ndim < 2 or not len(rows) or not torch.isfinite(rows).all():
        raise UsageError(f"data file {path}: expected finite numbers [rows, features], got {tuple(rows.shape)}")
    return rows.flatten(1)


def minibatch(rows: Tensor, size: int, seed: int) -> Tensor:
    """The ``size`` rows that every estimator is measured on: the first of a seeded permutation.

    Raises UsageError where there are fewer rows than ``size``.
    """
    if size > len(rows):
        raise UsageError(f"batch = {size} is more than the {len(rows)} rows of the data; choose at most {len(rows)}")
    return rows[torch.randperm(len(rows), generator=stream(seed, "minibatch"))[:size]]
