"""MNIST as OpenML has it, without a network: what is asked for, what is checked, and what it is known by."""

from __future__ import annotations

from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from sklearn import datasets

from gradbench.core.errors import UsageError
from gradbench.problems import PROBLEMS, data
from gradbench.problems.data import loading, mnist
from gradbench.suite.suites import Settings, resolve
from gradbench.target.points import Axes

FEW = tuple(range(3, 13))
"""Images of each digit of the small copy."""


def images() -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat(np.arange(10), FEW).astype(str)
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), mnist.PIXELS))
    pixels[:, :100], pixels[:, 100:200] = 0, 255
    return pixels, labels


class OpenMl:
    """Stands in for OpenML: what it holds, and how often it was asked."""

    def __init__(self) -> None:
        self.held: Any = images()
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def fetch(self, name: str, **keys):
        self.asked.append((name, keys))
        if isinstance(self.held, Exception):
            raise self.held
        return self.held


@pytest.fixture
def openml(monkeypatch):
    one = OpenMl()
    monkeypatch.setattr(datasets, "fetch_openml", one.fetch)
    monkeypatch.setattr(mnist, "IMAGES_OF_DIGITS", FEW)
    monkeypatch.setattr(loading, "_kept", type(loading._kept)())
    monkeypatch.setattr(loading, "_fetched", {})
    return one


def test_the_images_of_each_digit_are_the_seventy_thousand():
    assert sum(mnist.IMAGES_OF_DIGITS) == 70_000
    assert len(mnist.IMAGES_OF_DIGITS) == 10


def test_rows_are_bits_drawn_with_the_pixels_own_probabilities(openml):
    rows = data.load_rows("mnist")
    pixels = torch.as_tensor(openml.held[0]) / 255
    assert rows.shape == (sum(FEW), 784)
    assert rows.dtype == torch.float64
    assert set(rows.unique().tolist()) == {0.0, 1.0}
    assert not rows[:, :100].any()
    assert rows[:, 100:200].all()
    # a sum of independent bits: 4 standard errors, error rate 6e-5
    assert abs(rows.sum() - pixels.sum()) < 4 * (pixels * (1 - pixels)).sum().sqrt()


def test_one_version_is_asked_for_once_and_every_time_drawn_alike(openml, monkeypatch):
    first = data.load_rows("mnist").clone()
    data.find_rows("mnist")
    data.load_rows("mnist")
    ((name, keys),) = openml.asked
    assert (name, keys["version"]) == ("mnist_784", 1)
    torch.manual_seed(5)
    monkeypatch.setattr(loading, "_kept", type(loading._kept)())
    assert torch.equal(first, data.load_rows("mnist"))
    assert len(openml.asked) == 2


def test_it_is_known_by_its_contents_which_the_manifest_has(openml):
    found = data.find_rows("mnist")
    assert found.contents == loading.contents_hash(data.load_rows("mnist"))
    axes = Axes("sigmoid-belief", PROBLEMS["sigmoid-belief"].Parameters(), "mnist", 0, 0)
    assert axes.canonical()["data"] == f"sha256:{found.contents}"
    grid = {"problem": "sigmoid-belief", "data": "mnist", "estimators": ["disarm"], "samples": 2}
    suite = resolve({"name": "test", "grid": [grid]}, "test.toml", Settings(device="cpu"))
    (entry,) = suite.data()
    (cell,) = suite.cells
    assert cell.axes == axes
    assert cell.identity()["data"] == "mnist"
    assert (entry["data"], entry["sha256"], entry["rows"], entry["features"]) == ("mnist", found.contents, 75, 784)
    assert entry["path"] is None


def test_other_images_are_other_cells(openml, monkeypatch):
    before = data.find_rows("mnist").contents
    openml.held[0][:, :100] = 255
    monkeypatch.setattr(loading, "_fetched", {})
    assert data.find_rows("mnist").contents != before


def refused(openml: OpenMl, held: Any) -> str:
    openml.held = held
    with pytest.raises(UsageError) as error:
        data.load_rows("mnist")
    text = str(error.value)
    assert len(text.splitlines()) <= 2
    assert "file:PATH" in text
    assert "data 'mnist'" in text
    return text


def test_without_a_network_the_remedy_is_named(openml):
    text = refused(openml, URLError(OSError(-2, "Name or service not known")))
    assert "cannot be fetched from OpenML (URLError" in text
    assert f"run once with a network, which keeps it in {datasets.get_data_home()}" in text


def test_a_file_that_is_not_what_openml_says_is_refused(openml):
    assert "md5 checksum" in refused(openml, ValueError("md5 checksum of local file does not match description"))


def changed(pixels=None, labels=None):
    right, right_labels = images()
    return right if pixels is None else pixels(right), right_labels if labels is None else labels(right_labels)


@pytest.mark.parametrize(
    ("held", "says"),
    [
        (changed(lambda p: p[:-1], lambda text: text[:-1]), "images of shape [74, 784], not [75, 784]"),
        (changed(lambda p: p[:, :-1]), "images of shape [75, 783]"),
        (changed(lambda p: p + 1), "pixels that are not whole numbers of 0 … 255"),
        (changed(lambda p: p - 1), "pixels that are not whole numbers of 0 … 255"),
        (changed(lambda p: p / 255), "pixels that are not whole numbers of 0 … 255"),
        (changed(labels=lambda text: np.where(text == "0", "1", text)), "0 images of the digit 0, not 3"),
    ],
)
def test_what_is_not_mnist_is_refused(openml, held, says):
    assert says in refused(openml, held)


def test_a_scale_is_for_files(openml):
    with pytest.raises(UsageError, match="drop the key"):
        data.find_rows("mnist", 255.0)
