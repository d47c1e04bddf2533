"""How the width that there is goes to the columns of a table."""

from __future__ import annotations

from collections.abc import Sequence


def shared_out(whole: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """The width of each column: as ``whole`` as its cells, the widest ones less where there is no room for all.

    None gets less than its ``least``, so that all of them take more than ``room`` where these do.

    >>> shared_out([30, 8, 20], [10, 8, 10], 44)
    [18, 8, 18]
    >>> shared_out([30, 8, 20], [10, 8, 10], 45)
    [18, 8, 19]
    >>> shared_out([30, 8, 20], [10, 8, 10], 20)
    [10, 8, 10]
    """

    def at_most(cap: int) -> list[int]:
        return [min(wide, max(low, cap)) for wide, low in zip(whole, least, strict=True)]

    cap = max(whole, default=0)
    while cap > 0 and sum(at_most(cap)) > room:
        cap -= 1
    widths = at_most(cap)
    for index, more in reversed(list(enumerate(at_most(cap + 1)))):
        if sum(widths) + more - widths[index] <= room:
            widths[index] = more
    return widths
