"""Data sets: built in, fetched, drawn by a problem itself, or read from a file, which is known by its contents.

``digits`` and ``mnist``, which is fetched, are binarised once, with a fixed stream; ``breast-cancer`` has labels.
``file:PATH`` is an .npz, .npy, .csv or .parquet file; of several arrays or columns the name says which,
``file:PATH#x``. The identity of what is read or fetched is the SHA-256 of the
numbers that are taken of it: however its path is written, the same numbers are the same data, and other numbers under
the same path are not. A label is the last column of the rows: ``file:PATH#age,weight,label``.
"""

from gradbench.problems.data.builtin import DATA_SETS, LABELLED
from gradbench.problems.data.loading import DataSet, Shelf, check_data, find_rows, known_by_contents, load_rows
from gradbench.problems.data.minibatch import check_batch, minibatch
from gradbench.problems.data.spelling import whereabouts

__all__ = [
    "DATA_SETS",
    "LABELLED",
    "DataSet",
    "Shelf",
    "check_batch",
    "check_data",
    "find_rows",
    "known_by_contents",
    "load_rows",
    "minibatch",
    "whereabouts",
]
