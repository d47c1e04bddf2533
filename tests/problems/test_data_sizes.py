"""How much a data file may hold, and what it may be called: found before it is read."""

from __future__ import annotations

import struct
import zipfile

import numpy as np
import pandas as pd
import pytest

from gradbench.core.errors import UsageError
from gradbench.problems import data
from gradbench.problems.data import sizes


def refused(name: str) -> str:
    with pytest.raises(UsageError) as error:
        data.find_rows(name)
    return str(error.value)


def header(shape: tuple[int, ...], version: int = 1) -> bytes:
    """An .npy file that promises numbers of that shape, and has eight bytes of them."""
    text = repr({"descr": "<f8", "fortran_order": False, "shape": shape}).encode() + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + bytes(8)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_an_array_is_measured_by_its_header_before_it_is_read(tmp_path, version) -> None:
    """Half a terabyte in a file of a few hundred bytes."""
    (tmp_path / "a.npy").write_bytes(header((10**6, 65536), version))
    text = refused(f"file:{tmp_path / 'a.npy'}")
    assert text.endswith(
        "the array of 1,000,000 × 65,536 numbers takes 524 GB; at most 4.29 GB: keep the rows that "
        "minibatches are to be drawn from"
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", header((10**12, 10**12), version))
        archive.writestr("z.npy", b"no array")
    assert "'x' [1000000000000, 1000000000000], 'z' (unreadable)" in refused(f"file:{tmp_path / 'a.npz'}")
    assert "array 'x' of 1,000,000,000,000 × 1,000,000,000,000 numbers takes over a million GB" in refused(
        f"file:{tmp_path / 'a.npz'}#x"
    )
    (tmp_path / "b.npy").write_bytes(header((10**3, 10), version))
    assert "cannot be read as .npy" in refused(f"file:{tmp_path / 'b.npy'}")


def test_a_table_is_measured_by_its_header_before_it_is_read(tmp_path, monkeypatch) -> None:
    pd.DataFrame({"a": np.zeros(1000), "b": np.zeros(1000)}).to_parquet(tmp_path / "a.parquet")
    data.find_rows(f"file:{tmp_path / 'a.parquet'}")
    monkeypatch.setattr(sizes, "MOST_BYTES", 15_999)
    assert "a table of 1,000 × 2 numbers takes 1.6e-05 GB" in refused(f"file:{tmp_path / 'a.parquet'}")
    monkeypatch.setattr(sizes, "MOST_BYTES", 16_000)
    data.find_rows(f"file:{tmp_path / 'a.parquet'}")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".parquet"])
def test_a_file_is_measured_before_it_is_opened(tmp_path, suffix) -> None:
    path = tmp_path / f"a{suffix}"
    with path.open("wb") as file:
        file.truncate(sizes.MOST_BYTES + 1)  # a hole, which takes no room
    assert "4.29 GB are too many to be read" in refused(f"file:{path}")
    with path.open("wb") as file:
        file.truncate(sizes.MOST_TEXT_BYTES + 1)
    assert ("are too many to be read" in refused(f"file:{path}")) == (suffix == ".csv")


@pytest.mark.parametrize("path", ["a" * 5000, "\0", "a\nb", "//x", "~", "a/" * 2000 + "x", "~nobody/x", "a/../x"])
def test_a_path_that_no_file_can_have_is_one_that_is_not_there(path) -> None:
    text = refused(f"file:{path}.npz")
    assert "there is no such file" in text
    assert len(text.split("\n")) == 1
