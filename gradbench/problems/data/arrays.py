"""Files of arrays, .npz and .npy: the one array that is meant."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradbench.core.errors import UsageError
from gradbench.problems.data.sizes import check_shape, shape_of
from gradbench.problems.data.spelling import DataFile
from gradbench.problems.data.unlabelled import reads_like_labels

NPY = np.lib.format.MAGIC_PREFIX
MOST_TOLD = 16
"""Arrays of an archive that a message lists."""


def read_npy(file: DataFile) -> tuple[str, np.ndarray]:
    """The array of an .npy file, and what to call it."""
    if file.chosen:
        raise UsageError(f"{file}: an .npy file holds one array without a name; drop what stands after #")
    with file.path.open("rb") as stream:
        if stream.peek(len(NPY))[: len(NPY)] == NPY:
            check_shape(file, "the array", shape_of(stream))
    array = np.load(file.path, allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise ValueError("it is an .npz file by its contents")
    return "the array", array


def read_npz(file: DataFile) -> tuple[str, np.ndarray]:
    """The array of an .npz file that is named, or its only one, and what to call it."""
    archive = np.load(file.path, allow_pickle=False)
    if isinstance(archive, np.ndarray):
        raise ValueError("it is an .npy file by its contents")
    with archive as arrays:
        name = _chosen(file, arrays)
        if (shape := _shape(arrays, name)) is not None:
            check_shape(file, f"array {name!r}", shape)
        array = arrays[name]
    if not isinstance(array, np.ndarray):
        raise ValueError(f"its member {name!r} is no array")
    return f"array {name!r}", array


def _chosen(file: DataFile, arrays: Any) -> str:
    names = list(arrays.files)
    if not names:
        raise UsageError(f"{file}: holds no array; expected one of [rows, features]")
    if len(file.chosen) > 1:
        raise UsageError(f"{file}: expected the name of one array after #; it holds {_listed(arrays)}")
    if file.chosen:
        if file.chosen[0] not in names:
            raise UsageError(f"{file}: has no array {file.chosen[0]!r}; it holds {_listed(arrays)}")
        return file.chosen[0]
    likely = next((name for name in names if not reads_like_labels(name)), names[0])
    if len(names) > 1:
        raise UsageError(f"{file}: holds {_listed(arrays)}\nname the one to take: {file.naming(likely)}")
    if reads_like_labels(names[0]):
        raise UsageError(
            f"{file}: its array {names[0]!r} reads like labels, not like data\n"
            f"name it if it is to be taken: {file.naming(names[0])}"
        )
    return names[0]


def _listed(arrays: Any) -> str:
    """Names with shapes, of which one that cannot be read does not keep the others from being named."""
    shapes = [(name, _shape(arrays, name)) for name in arrays.files[:MOST_TOLD]]
    told = [f"{name!r} {'(unreadable)' if shape is None else list(shape)}" for name, shape in shapes]
    return ", ".join([*told, "…"] if len(arrays.files) > MOST_TOLD else told)


def _shape(arrays: Any, name: str) -> tuple[int, ...] | None:
    """The shape of a member of an archive; None where it is no array, or its beginning cannot be read."""
    try:
        with arrays.zip.open(f"{name}.npy") as stream:
            return shape_of(stream)
    except Exception:  # an archive may be broken in any way
        return None
