from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.datasets import load_digits

from gradbench.core.errors import UsageError
from gradbench.problems import data
from gradbench.problems.data import loading

VALUES = np.arange(6.0).reshape(3, 2) / 7


def refused(name: str, scale: float | None = None) -> str:
    with pytest.raises(UsageError) as error:
        data.find_rows(name, scale)
    text = str(error.value)
    assert len(text.splitlines()) <= 2
    assert name.removeprefix("file:").partition("#")[0] in text
    return text


def contents(name: str | Path, scale: float | None = None) -> str:
    found = data.find_rows(str(name) if str(name).startswith("file:") else f"file:{name}", scale).contents
    assert found is not None
    return found


# Built in


def test_digits_are_bits_drawn_with_the_pixels_own_probabilities():
    rows = data.load_rows("digits")
    pixels = torch.as_tensor(load_digits().data) / 16
    assert rows.shape == (1797, 64)
    assert rows.dtype == torch.float64
    assert set(rows.unique().tolist()) == {0.0, 1.0}
    certain = (pixels == 0) | (pixels == 1)
    assert torch.equal(rows[certain], pixels[certain])
    # a sum of independent bits: 4 standard errors, error rate 6e-5
    error = (pixels * (1 - pixels)).sum().sqrt()
    assert abs(rows.sum() - pixels.sum()) < 4 * error


def test_digits_are_the_same_whatever_happened_before(monkeypatch):
    first = data.load_rows("digits").clone()
    torch.manual_seed(5)
    monkeypatch.setattr(loading, "_kept", type(loading._kept)())
    assert torch.equal(first, data.load_rows("digits"))


def test_digits_are_known_by_their_name():
    assert data.find_rows("digits") == data.DataSet("digits")
    assert data.find_rows("synthetic").contents is None


# Formats


def written(folder: Path, kind: str, values: np.ndarray = VALUES) -> str:
    """The values in a file of one of the formats; what a suite calls it."""
    names = [f"p{index}" for index in range(values.shape[1])]
    frame = pd.DataFrame(values, columns=names)
    match kind:
        case "npz":
            np.savez(folder / "a.npz", values)
        case "npz of x":
            np.savez(folder / "a.npz", x=values)
        case "npz, compressed":
            np.savez_compressed(folder / "a.npz", values)
        case "npz, one of two":
            np.savez(folder / "a.npz", y=values[:, 0], train=values)
            return f"file:{folder / 'a.npz'}#train"
        case "npz of labels, named":
            np.savez(folder / "a.npz", y=values)
            return f"file:{folder / 'a.npz'}#y"
        case "npy":
            np.save(folder / "a.npy", values)
            return f"file:{folder / 'a.npy'}"
        case "npy, by columns":
            np.save(folder / "a.npy", np.asfortranarray(values))
            return f"file:{folder / 'a.npy'}"
        case "npy, the other byte order":
            np.save(folder / "a.npy", values.astype(">f8"))
            return f"file:{folder / 'a.npy'}"
        case "csv":
            frame.to_csv(folder / "a.csv", index=False)
            return f"file:{folder / 'a.csv'}"
        case "csv, upper case":
            frame.to_csv(folder / "A.CSV", index=False)
            return f"file:{folder / 'A.CSV'}"
        case "csv, columns chosen":
            frame.assign(label=3, name="n").to_csv(folder / "a.csv", index=False)
            return f"file:{folder / 'a.csv'}#{','.join(names)}"
        case "csv, columns left out":
            frame.assign(label=3, name="n").to_csv(folder / "a.csv")
            text = (folder / "a.csv").read_text()
            (folder / "a.csv").write_text("number" + text)
            return f"file:{folder / 'a.csv'}#-label, -number,-name"
        case "parquet":
            frame.to_parquet(folder / "a.parquet")
            return f"file:{folder / 'a.parquet'}"
        case "parquet, columns left out":
            frame.assign(label=3).to_parquet(folder / "a.parquet")
            return f"file:{folder / 'a.parquet'}#-label"
        case "parquet, nullable types":
            frame.convert_dtypes().to_parquet(folder / "a.parquet")
            return f"file:{folder / 'a.parquet'}"
        case _:
            raise AssertionError(kind)
    return f"file:{folder / 'a.npz'}"


FORMATS = [
    *("npz", "npz of x", "npz, compressed", "npz, one of two", "npz of labels, named"),
    *("npy", "npy, by columns", "npy, the other byte order"),
    *("csv", "csv, upper case", "csv, columns chosen", "csv, columns left out"),
    *("parquet", "parquet, columns left out", "parquet, nullable types"),
]


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_rows_and_the_same_contents(tmp_path, kind):
    name = written(tmp_path, kind)
    rows = data.load_rows(name)
    assert rows.dtype == torch.float64
    assert torch.equal(rows, torch.as_tensor(VALUES))
    np.savez(tmp_path / "plain.npz", VALUES)
    assert contents(name) == contents(tmp_path / "plain.npz")


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float32, np.float16, np.bool_])
def test_numbers_of_any_real_type_are_taken(tmp_path, kind):
    bits = np.array([[0, 1, 1], [1, 0, 1]])
    np.save(tmp_path / "a.npy", bits.astype(kind))
    assert torch.equal(data.load_rows(f"file:{tmp_path / 'a.npy'}"), torch.as_tensor(bits).double())


def test_pictures_are_flattened_and_divided(tmp_path):
    pictures = np.arange(60, dtype=np.uint8).reshape(5, 4, 3)
    np.savez(tmp_path / "a.npz", pictures)
    rows = data.load_rows(f"file:{tmp_path / 'a.npz'}", 255.0)
    assert torch.equal(rows, torch.as_tensor(pictures.reshape(5, 12) / 255))


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_a_scale_is_for_files(name):
    for asked in (data.find_rows, data.load_rows):
        with pytest.raises(UsageError, match=r"drop the key|no rows of its own"):
            asked(name, 2.0)


def test_columns_are_taken_in_the_order_in_which_they_are_named(tmp_path):
    written(tmp_path, "csv")
    rows = data.load_rows(f"file:{tmp_path / 'a.csv'}#p1,p0")
    assert torch.equal(rows, torch.as_tensor(VALUES[:, ::-1].copy()))


def test_the_header_of_a_table_without_names_may_be_their_numbers(tmp_path):
    pd.DataFrame(np.eye(3)).to_csv(tmp_path / "a.csv", index=False)
    assert torch.equal(data.load_rows(f"file:{tmp_path / 'a.csv'}"), torch.eye(3, dtype=torch.float64))


def test_a_path_may_hold_the_character_of_a_choice(tmp_path):
    (tmp_path / "a#b").mkdir()
    written(tmp_path / "a#b", "npz")
    assert data.load_rows(f"file:{tmp_path / 'a#b' / 'a.npz'}").shape == (3, 2)


# What is refused


def save(**arrays):
    return lambda path: np.savez(path.with_suffix(".npz"), **arrays)


def with_nan(row: int, column: int, value: float = np.nan) -> np.ndarray:
    values = np.ones((6, 4))
    values[row, column] = value
    values[5, 3] = np.inf
    return values


UNFIT = {
    "no zip": ("a.npz", lambda path: path.write_bytes(b"not a zip"), "cannot be read as .npz (ValueError"),
    "half a zip": ("a.npz", lambda path: path.write_bytes(b"PK\x03\x04 half"), "cannot be read as .npz (BadZipFile"),
    "text": ("a.npz", save(x=np.array([["a", "b"]])), "array 'x' holds text"),
    "pickle": ("a.npz", save(x=np.array([{"a": 1}], dtype=object)), "cannot be read as .npz (ValueError"),
    "complex": ("a.npz", save(x=np.ones((2, 2)) + 1j), "array 'x' holds complex numbers"),
    "dates": ("a.npz", save(x=np.zeros((2, 2), "datetime64[s]")), "array 'x' holds dates"),
    "records": ("a.npz", save(x=np.zeros((2, 2), [("a", "f8")])), "array 'x' holds values of type"),
    "one axis": ("a.npz", save(x=np.zeros(3)), "shape [3]; expected [rows, features]"),
    "no axis": ("a.npz", save(x=np.float64(3)), "shape []; expected [rows, features]"),
    "no rows": ("a.npz", save(x=np.zeros((0, 3))), "shape [0, 3]"),
    "no columns": ("a.npz", save(x=np.zeros((3, 0))), "shape [3, 0]"),
    "no array": ("a.npz", save(), "holds no array"),
    "two arrays": (
        "a.npz",
        save(y=np.zeros((4, 2)), train=np.zeros((4, 3))),
        "holds 'y' [4, 2], 'train' [4, 3]\nname the one to take: data = 'file:{path}#train'",
    ),
    "x beside another": ("a.npz", save(x=np.zeros((4, 2)), z=np.zeros((4, 3))), "#x'"),
    "labels alone": ("a.npz", save(Labels=np.zeros((4, 2))), "'Labels' reads like labels"),
    "an .npy by another name": ("a.npz", lambda path: np.save(path.open("wb"), VALUES), "it is an .npy file"),
    "an .npz by another name": ("a.npy", lambda path: np.savez(path.open("wb"), VALUES), "it is an .npz file"),
    "half an .npy": ("a.npy", lambda path: path.write_bytes(b"\x93NUMPY\x01\x00"), "cannot be read as .npy"),
    "one NaN": ("a.npz", save(x=with_nan(2, 1)), "2 of 24 values are NaN or infinite, the first in row 2, column 1 "),
    "infinity alone": ("a.npz", save(x=with_nan(5, 3, 1.0)), "1 of 24 values is NaN or infinite, the first in row 5,"),
    "large whole numbers": ("a.npz", save(x=np.full((2, 2), 2**53 + 1)), "beyond 2^53"),
    "empty csv": ("a.csv", lambda path: path.write_text(""), "cannot be read as .csv (ArrowInvalid"),
    "csv of a header": ("a.csv", lambda path: path.write_text("a,b\n"), "shape [0, 2]"),
    "csv without a header": ("a.csv", lambda path: path.write_text("0.5,1\n0,1\n"), "first line holds numbers"),
    "bits without a header": ("a.csv", lambda path: path.write_text("0,1\n1,1\n"), "first line holds numbers"),
    "csv of text": ("a.csv", lambda path: path.write_text("a,b\n1,x\n"), "column 'b' is of type"),
    "csv of complex numbers": ("a.csv", lambda path: path.write_text("a,b\n1,1+2j\n"), "column 'b' is of type"),
    "csv with a gap": (
        "a.csv",
        lambda path: path.write_text("a,b\n1,2\n3,\n"),
        "in row 1, column 'b' (counted from 0)",
    ),
    "csv with a field more": ("a.csv", lambda path: path.write_text("a,b\n1,2,3\n4,5,6\n"), "cannot be read as .csv"),
    "csv with row numbers": ("a.csv", lambda path: pd.DataFrame(VALUES).to_csv(path), "a column has no name"),
    "csv with twins": ("a.csv", lambda path: path.write_text("a,b,a\n1,2,3\n"), "several columns are called 'a'"),
    "csv in another code": ("a.csv", lambda path: path.write_bytes(b"\xff\xfea\x00\n"), "cannot be read as .csv"),
    "no parquet": ("a.parquet", lambda path: path.write_bytes(b"PAR1 half"), "cannot be read as .parquet"),
    "parquet of text": (
        "a.parquet",
        lambda path: pd.DataFrame({"a": [1.0], "b": ["x"]}).to_parquet(path),
        "column 'b' is of type",
    ),
    "parquet of lists": (
        "a.parquet",
        lambda path: pq.write_table(pa.table({"a": [[1.0, 2.0]]}), path),
        "column 'a' is of type object",
    ),
    "parquet with a gap": (
        "a.parquet",
        lambda path: pq.write_table(pa.table({"a": [1, None], "b": [1, 2]}), path),
        "1 of 4 values is NaN or infinite, the first in row 1, column 'a'",
    ),
}


@pytest.mark.parametrize("fault", UNFIT)
def test_a_file_that_holds_no_rows_of_numbers_is_refused(tmp_path, fault):
    name, write, says = UNFIT[fault]
    path = tmp_path / name
    write(path)
    assert says.format(path=path) in refused(f"file:{path}")


@pytest.mark.parametrize("label", ["label", "Label", "TARGET", "y", "class", "id"])
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_column_of_labels_is_refused_unless_it_is_named(tmp_path, form, label):
    frame = pd.DataFrame({label: [0, 1], "p0": [0.5, 1.0]})
    path = tmp_path / f"a.{form}"
    frame.to_csv(path, index=False) if form == "csv" else frame.to_parquet(path)
    text = refused(f"file:{path}")
    assert f"column {label!r} reads like labels" in text
    assert f"data = 'file:{path}#-{label}'" in text
    assert data.load_rows(f"file:{path}#-{label}").shape == (2, 1)
    assert data.load_rows(f"file:{path}#{label},p0").shape == (2, 2)


def test_leaving_one_column_out_keeps_the_other_labels_refused(tmp_path):
    pd.DataFrame({"y": [0], "p0": [1], "label": [2]}).to_csv(tmp_path / "a.csv", index=False)
    text = refused(f"file:{tmp_path / 'a.csv'}#-y")
    assert "column 'label'" in text
    assert "#-y,-label'" in text


@pytest.mark.parametrize(
    ("kind", "choice", "says"),
    [
        ("npz, one of two", "z", "has no array 'z'; it holds 'y' [3], 'train' [3, 2]"),
        ("npz, one of two", "y,train", "the name of one array"),
        ("npz, one of two", "y", "shape [3]"),
        ("npy", "x", "one array without a name"),
        ("csv", "p2", "unknown column 'p2'; did you mean"),
        ("csv", "-p2", "unknown column 'p2'; did you mean"),
        ("csv", "p0,-p1", "unknown column '-p1'; did you mean 'p1'"),
        ("csv", "p0,p0", "expected different names"),
        ("csv", "p0,", "expected different names"),
        ("csv", "", "expected different names"),
        ("csv", "-p0,-p1", "shape [3, 0]"),
    ],
)
def test_a_choice_that_is_not_there_is_refused(tmp_path, kind, choice, says):
    name = written(tmp_path, kind).partition("#")[0]
    assert says in refused(f"{name}#{choice}")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("digit", "did you mean 'digits'"),
        ("file:nowhere.npz", "no such file"),
        ("file:nowhere.npz#x", "no such file"),
        ("file:a.txt", r"expected a \.npz, \.npy, \.csv or \.parquet file"),
        ("file:", "expected a"),
        ("synthetic", "no rows of its own"),
    ],
)
def test_an_unknown_data_set_is_refused(name, says):
    with pytest.raises(UsageError, match=says):
        data.load_rows(name)


# Known by contents


def test_how_a_path_is_written_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("a.npz", VALUES)
    names = (
        "file:a.npz",
        "file:./a.npz",
        f"file:{tmp_path / 'a.npz'}",
        f"file:../{tmp_path.name}/a.npz",
        "file:a.npz#arr_0",
    )
    assert len({contents(name) for name in names}) == 1


def test_other_numbers_are_other_contents(tmp_path):
    nearest = VALUES.copy()
    nearest[2, 1] = np.nextafter(nearest[2, 1], 1)
    others = (
        VALUES,
        nearest,
        VALUES[::-1],
        VALUES[:, ::-1],
        VALUES.reshape(2, 3),
        VALUES[:2],
        VALUES.astype(np.float32),
    )
    found = set()
    for values in others:
        np.save(tmp_path / "a.npy", values)
        found.add(contents(tmp_path / "a.npy"))
    assert len(found) == len(others)


def test_contents_are_those_that_are_measured(tmp_path):
    """After the division, and with one zero: what is computed from -0 and from 0 is compared as equal."""
    np.save(tmp_path / "a.npy", np.array([[0.0, 51.0]]))
    np.save(tmp_path / "b.npy", np.array([[-0.0, 0.2]]))
    assert contents(tmp_path / "a.npy", 255.0) == contents(tmp_path / "b.npy")
    assert contents(tmp_path / "a.npy") != contents(tmp_path / "b.npy")


def test_a_file_that_is_replaced_is_read_anew(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, VALUES)
    name = f"file:{path}"
    before = data.find_rows(name)
    np.save(path, VALUES + 1)  # as many bytes, within the resolution of the file system's clock
    assert data.find_rows(name).contents != before.contents
    assert torch.equal(data.load_rows(name), torch.as_tensor(VALUES + 1))
    # who has read the old contents goes on with them while they are kept, and never takes the new ones for them
    assert torch.equal(data.load_rows(name, None, before.contents), torch.as_tensor(VALUES))
    loading._kept.clear()
    with pytest.raises(UsageError, match="the file has changed since it was first read"):
        data.load_rows(name, None, before.contents)


def test_rows_that_somebody_changed_in_place_are_read_anew(tmp_path):
    np.save(tmp_path / "a.npy", VALUES)
    name = f"file:{tmp_path / 'a.npy'}"
    found = data.find_rows(name)
    data.load_rows(name, None, found.contents)[1:].add_(1)
    assert torch.equal(data.load_rows(name, None, found.contents), torch.as_tensor(VALUES))
    before = data.load_rows("digits").clone()
    data.load_rows("digits").zero_()
    assert torch.equal(data.load_rows("digits"), before)


def test_few_data_sets_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "MOST_KEPT", 2)
    for index in range(4):
        np.save(tmp_path / f"{index}.npy", VALUES + index)
        data.find_rows(f"file:{tmp_path / f'{index}.npy'}")
    assert len(loading._kept) == 2


def test_a_shelf_reads_a_file_once_and_calls_the_same_contents_by_one_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", VALUES)
    shelf = data.Shelf()
    first = shelf.find("file:a.npy")
    assert shelf.find("file:./a.npy") is first
    np.save("a.npy", VALUES + 1)
    assert shelf.find("file:a.npy") is first
    assert data.Shelf().find("file:a.npy").contents != first.contents


# Minibatches


def test_a_minibatch_is_distinct_rows_chosen_by_the_seed():
    rows = torch.arange(20.0)[:, None]
    batch = data.minibatch(rows, 8, seed=0)
    assert len(batch.unique()) == 8
    assert torch.equal(batch, data.minibatch(rows, 8, seed=0))
    assert not torch.equal(batch, data.minibatch(rows, 8, seed=1))
    assert torch.equal(batch[:4], data.minibatch(rows, 4, seed=0))
    with pytest.raises(UsageError, match="at most 20"):
        data.minibatch(rows, 21, seed=0)
