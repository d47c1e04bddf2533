"""Parameters whose block means are all equal: found, and kept apart from those that were seen to vary.

Equal blocks of a parameter may be a constant, or all that was drawn of a rare event's absence. A control variate can
make such a constant where the plain block means do vary: where f has two values, it takes all noise out of the
gradient but the event that was not drawn. Its values are then given up for the plain ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gradbench.core.arrays import Array
from gradbench.engine.layers.factored import Factored, Means

LAST_BITS = 4
"""Block means that differ by no more than so many units of rounding are equal."""
CONTROLLED_BITS = 256
"""The same for those with a control subtracted, in units of rounding of the plain ones."""


def where_equal(controlled: Array, plain: Means) -> Array:
    """Controlled block means [K, P], with the plain ones in the columns that the control has made all equal."""
    first, second = (np.asarray(plain[row : row + 1])[0] for row in (0, 1))
    bits = CONTROLLED_BITS * np.finfo(controlled.dtype).eps
    near = np.abs(controlled[0] - controlled[1]) <= bits * np.maximum(np.abs(first), np.abs(second))
    columns = np.flatnonzero(near)  # two rows tell most of them apart
    if not len(columns):
        return controlled
    own = _chosen(plain, columns)
    some = controlled[:, columns]
    equal = np.ptp(some, axis=0) <= bits * np.abs(own).max(0)
    if not equal.any():
        return controlled
    found = controlled.copy()
    found[:, columns[equal]] = own[:, equal]
    return found


def unseen_grams(
    means: Means, open_: NDArray[np.bool_], exact: Array, drawn: Array | None, starts: NDArray[np.int64]
) -> Array:
    """Inner products [n, K, K], by tensor, of the differences of columns that are all equal and ``open_`` [P].

    The differences are those from ``exact`` [P], or block by block from ``drawn`` [K, P]; tensors begin at ``starts``.
    """
    found = np.zeros((len(starts), len(means), len(means)))
    columns = _equal(means)
    columns = columns[open_[columns]]
    if not len(columns):
        return found
    away = _chosen(means, columns).astype(np.float64) - (exact[columns] if drawn is None else drawn[:, columns])
    for index, members in enumerate(
        np.searchsorted(starts, columns, side="right") - 1 == np.arange(len(starts))[:, None]
    ):
        found[index] = away[:, members] @ away[:, members].T
    return found


def _equal(means: Means) -> NDArray[np.int64]:
    """The columns of block means [K, P] that are equal in all blocks, to the last bits."""
    bits = LAST_BITS * np.finfo(means.dtype).eps
    if isinstance(means, Factored):  # a column is an output and an input: outputs whose factors are all equal
        left, width = means.left, means.right.shape[1]
        outputs = np.flatnonzero((np.ptp(left, axis=0) <= bits * np.abs(left[0])).all(0))
        return (outputs[:, None] * width + np.arange(width)).ravel()
    columns = np.flatnonzero(np.abs(means[0] - means[1]) <= bits * np.abs(means[0]))
    some = means[:, columns]
    return columns[np.ptp(some, axis=0) <= bits * np.abs(some[0])]


def _chosen(means: Means, columns: NDArray[np.int64]) -> Array:
    """Some columns of block means, [K, columns]."""
    if not isinstance(means, Factored):
        return means[:, columns]
    outputs, inputs = np.divmod(columns, means.right.shape[1])
    return np.einsum("knc,nc->kc", means.left[:, :, outputs], means.right[:, inputs])
