"""MNIST, from OpenML through scikit-learn, which keeps what it has fetched: 70 000 images of 28 × 28 pixels.

Each pixel is drawn once from Bernoulli(value / 255) with a fixed stream: static stochastic binarisation, the same for
every seed. What comes is checked: its shape, its values, and how many images there are of each digit. scikit-learn
compares the file with the checksum that OpenML names; the SHA-256 of the rows is kept with a run.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

from gradbench.core.errors import UsageError
from gradbench.core.seeding import stream

OPENML_NAME, OPENML_VERSION = "mnist_784", 1
PIXELS, BRIGHTEST = 784, 255
IMAGES_OF_DIGITS = (6903, 7877, 6990, 7141, 6824, 6313, 6876, 7293, 6825, 6958)
"""How many images there are of 0, 1, … 9, those of training and of test together."""


def binarised_mnist() -> Tensor:
    """The binarised images, float64 [70000, 784]. Raises UsageError where they cannot be had, or are others."""
    images, labels = _fetched()
    check_images(images, labels)
    pixels = torch.as_tensor(images, dtype=torch.float32) / BRIGHTEST
    return torch.bernoulli(pixels, generator=stream(0, "data", "mnist", "binarise")).double()


def check_images(images: np.ndarray, labels: np.ndarray) -> None:
    """Raise UsageError unless these are as many images of each digit as MNIST has, of so many pixels of 0 … 255."""
    expected = (sum(IMAGES_OF_DIGITS), PIXELS)
    if images.shape != expected:
        _refuse(f"images of shape {list(images.shape)}, not {list(expected)}")
    if images.min() < 0 or images.max() > BRIGHTEST or (images != np.round(images)).any():
        _refuse(f"pixels that are not whole numbers of 0 … {BRIGHTEST}")
    found = tuple(int((labels.astype(str) == str(digit)).sum()) for digit in range(len(IMAGES_OF_DIGITS)))
    if found != IMAGES_OF_DIGITS:
        digit = next(d for d, count in enumerate(found) if count != IMAGES_OF_DIGITS[d])
        _refuse(f"{found[digit]} images of the digit {digit}, not {IMAGES_OF_DIGITS[digit]}")


def _fetched() -> tuple[np.ndarray, np.ndarray]:
    """The images [N, 784] and the label of each. Raises UsageError where they are neither kept nor to be fetched."""
    from sklearn import datasets

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a try that failed
            found = datasets.fetch_openml(
                OPENML_NAME, version=OPENML_VERSION, as_frame=False, return_X_y=True, n_retries=1
            )
    except Exception as error:  # no network, no disk, a file that is not what OpenML says
        why = " ".join(f"{type(error).__name__}: {error}".split())[:100]
        raise UsageError(
            f"data 'mnist': cannot be fetched from OpenML ({why})\n"
            f"run once with a network, which keeps it in {datasets.get_data_home()}, or give it as data = 'file:PATH'"
        ) from error
    images, labels = found
    return np.asarray(images), np.asarray(labels)


def _refuse(what: str) -> None:
    raise UsageError(
        f"data 'mnist': OpenML's {OPENML_NAME} holds {what}\n"
        f"delete what scikit-learn keeps of it, or give MNIST as data = 'file:PATH'"
    )
