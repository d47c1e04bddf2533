"""A small set of cases that covers what a full product would: a greedy cover, the same every time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def cover(candidates: Sequence[T], goals: Callable[[T], Iterable[Hashable]]) -> list[T]:
    """Candidates that together reach every goal that any candidate reaches, in their order.

    The one that reaches most new goals is taken next; of those that reach as many, the one whose goals were reached
    least often, so that chance repeats are spread, and then the first. What is not needed is left out again.

    >>> cover([(1, "a"), (1, "b"), (2, "a"), (2, "b")], lambda pair: pair)
    [(1, 'a'), (2, 'b')]
    """
    reached = [frozenset(goals(one)) for one in candidates]
    left = set().union(*reached)
    chosen: list[int] = []
    times: Counter[Hashable] = Counter()
    while left:
        worth = [(len(own & left), -sum(times[goal] for goal in own), -index) for index, own in enumerate(reached)]
        best = -max(worth)[2]
        chosen.append(best)
        left -= reached[best]
        times.update(reached[best])
    for index in list(chosen):
        others = [reached[other] for other in chosen if other != index]
        if reached[index] <= set().union(*others):
            chosen.remove(index)
    return [candidates[index] for index in sorted(chosen)]
