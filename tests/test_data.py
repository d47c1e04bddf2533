import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits

from gradbench import data
from gradbench.errors import UsageError


def test_digits_are_bits_drawn_with_the_pixels_own_probabilities():
    rows = data.load("digits")
    pixels = torch.as_tensor(load_digits().data) / 16
    assert rows.shape == (1797, 64)
    assert rows.dtype == torch.float64
    assert set(rows.unique().tolist()) == {0.0, 1.0}
    certain = (pixels == 0) | (pixels == 1)
    assert torch.equal(rows[certain], pixels[certain])
    # a sum of independent bits: 4 standard errors, error rate 6e-5
    error = (pixels * (1 - pixels)).sum().sqrt()
    assert abs(rows.sum() - pixels.sum()) < 4 * error


def test_digits_are_the_same_whatever_happened_before():
    first = data.load("digits")
    torch.manual_seed(5)
    data.load.cache_clear()
    assert torch.equal(first, data.load("digits"))


@pytest.mark.parametrize("kind", ["npz", "npz-named", "parquet"])
def test_files_are_read_as_they_are(tmp_path, kind):
    values = np.arange(6.0).reshape(3, 2)
    path = tmp_path / ("a.parquet" if kind == "parquet" else "a.npz")
    match kind:
        case "npz":
            np.savez(path, values)
        case "npz-named":
            np.savez(path, other=values + 1, x=values)
        case "parquet":
            pd.DataFrame(values, columns=["a", "b"]).to_parquet(path)
    assert torch.equal(data.load(f"file:{path}"), torch.as_tensor(values))


def test_images_in_a_file_are_flattened(tmp_path):
    np.savez(tmp_path / "a.npz", np.zeros((5, 4, 3)))
    assert data.load(f"file:{tmp_path / 'a.npz'}").shape == (5, 12)


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda path: path.write_bytes(b"not a zip"), "cannot be read"),
        (lambda path: np.savez(path, np.array(["a", "b"])), "cannot be read"),
        (lambda path: np.savez(path, np.array([{"a": 1}], dtype=object)), "cannot be read"),
        (lambda path: np.savez(path, np.zeros(3)), "finite numbers"),
        (lambda path: np.savez(path, np.zeros((0, 3))), "finite numbers"),
        (lambda path: np.savez(path, np.full((2, 2), np.nan)), "finite numbers"),
        (lambda path: np.savez(path), "cannot be read"),
    ],
    ids=["garbage", "text", "pickle", "one axis", "empty", "nan", "no array"],
)
def test_a_file_that_holds_no_rows_of_numbers_is_refused(tmp_path, write, says):
    path = tmp_path / "a.npz"
    write(path)
    with pytest.raises(UsageError, match=says) as error:
        data.load(f"file:{path}")
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("digit", "did you mean 'digits'"),
        ("file:nowhere.npz", "no such file"),
        ("file:a.csv", r"\.npz or \.parquet"),
        ("synthetic", "no rows of its own"),
    ],
)
def test_an_unknown_data_set_is_refused(name, says):
    with pytest.raises(UsageError, match=says):
        data.load(name)


def test_a_minibatch_is_distinct_rows_chosen_by_the_seed():
    rows = torch.arange(20.0)[:, None]
    batch = data.minibatch(rows, 8, seed=0)
    assert len(batch.unique()) == 8
    assert torch.equal(batch, data.minibatch(rows, 8, seed=0))
    assert not torch.equal(batch, data.minibatch(rows, 8, seed=1))
    assert torch.equal(batch[:4], data.minibatch(rows, 4, seed=0))
    with pytest.raises(UsageError, match="at most 20"):
        data.minibatch(rows, 21, seed=0)
