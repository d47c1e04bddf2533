"""Names that are not those of features."""

from __future__ import annotations

LABELS = frozenset({"label", "labels", "target", "targets", "y", "class", "classes", "index", "id"})
"""Names, in lower case, that columns of labels or of row numbers have."""


def reads_like_labels(name: str) -> bool:
    """Whether a column or array of that name is taken for labels or row numbers unless a suite names it.

    >>> [reads_like_labels(name) for name in ("Label", "y", "pixel0", "")]
    [True, True, False, True]
    """
    name = name.strip().lower()
    return not name or name in LABELS
