"""Block means of a layer that reads the same in every replicate, kept as factors.

Such a layer, the first of an encoder at a fixed minibatch say, has in every block the mean gradient Σ_n δ̄_kn a_nᵀ with
the same inputs a_n. The factors δ̄ are far smaller than the gradients, and everything that is wanted of those follows
from inner products of a with a and of δ̄ with δ̄.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from gradbench.core.arrays import Array
from gradbench.core.bank import side_by_side


class Factored:
    """The rows Σ_n left[k, n] ⊗ right[n], [K, out · in], from left [K, n, out] and right [n, in].

    NumPy makes an ordinary array of it where it is asked to.
    """

    def __init__(self, left: Array, right: Array) -> None:
        self.left, self.right = left, right
        self.shape = (len(left), left.shape[2] * right.shape[1])
        self.dtype, self.nbytes = left.dtype, left.nbytes

    def __len__(self) -> int:
        return len(self.left)

    def __getitem__(self, rows: slice) -> Factored:
        return Factored(self.left[rows], self.right)

    def __array__(self, dtype=None, copy=None) -> Array:
        rows = (self.left.transpose(0, 2, 1) @ self.right).reshape(self.shape)
        return rows if dtype is None else rows.astype(dtype)

    def columns(self, part: slice) -> Array:
        """Some of the columns, [K, columns]."""
        width = self.right.shape[1]
        first, last = part.start // width, -(-part.stop // width)
        found = np.asarray(Factored(self.left[:, :, first:last], self.right))
        return found[:, part.start - first * width : part.stop - first * width]

    def gram(self) -> Array:
        """Inner products of the rows, [K, K]."""
        left = self._wide.reshape(len(self), -1)
        found = left @ self._weighed.reshape(len(self), -1).T
        return (found + found.T) / 2

    def squares(self) -> Array:
        """Squared norms of the rows, [K]."""
        return np.einsum("kno,kno->k", self._wide, self._weighed)

    def inner(self, target: Array) -> Array:
        """Inner products of the rows with ``target`` [out · in], [K]."""
        along = self.right.astype(np.float64) @ target.reshape(-1, self.right.shape[1]).T
        return self._wide.reshape(len(self), -1) @ along.ravel()

    def centred(self) -> Factored:
        """The rows less their mean."""
        return Factored(self._wide - self._wide.mean(0), self.right)

    def spaced(self, out: int, in_: int) -> Array:
        """The entries of every ``out``-th output and ``in_``-th input, [K, entries]."""
        return np.asarray(Factored(self.left[:, :, ::out], self.right[:, ::in_]))

    @cached_property
    def _wide(self) -> Array:
        return self.left.astype(np.float64)

    @cached_property
    def _weighed(self) -> Array:
        right = self.right.astype(np.float64)
        return (right @ right.T) @ self._wide


Means = Array | Factored


def concatenated(parts: Sequence[Means], *, spilled: bool = False) -> Means:
    """Rows of several parts, one after the other; factored where all are, with the same inputs, and small then.

    ``spilled``: to a temporary file.
    """
    factored = [one for one in parts if isinstance(one, Factored)]
    if len(factored) == len(parts) and all(np.array_equal(one.right, factored[0].right) for one in factored):
        return Factored(np.concatenate([one.left for one in factored]), factored[0].right)
    return side_by_side([np.asarray(one) for one in parts], spilled=spilled)
