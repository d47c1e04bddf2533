"""Figures of a loss for every group: those of any run, and those that the caller made of the parameters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gradbench.core.arrays import Array
from gradbench.engine.moments import Moments, groups_of
from gradbench.losses.blocks import BlockMoments
from gradbench.statistics import Figures, block_variances, summarise
from gradbench.target.reference import Reference


@dataclass(frozen=True)
class GroupFigures:
    """One group: its name, the tensors in it, its figures, and its variance block by block, [K]."""

    group: str
    names: tuple[str, ...]
    figures: Figures
    variances: Array


def group_figures(moments: BlockMoments, reference: Reference, precision: float) -> list[GroupFigures]:
    """The figures of every group against ``reference``; ``precision`` is the machine epsilon of the gradients."""
    whole = moments.moments
    groups, variances = groups_of(tuple(whole.means)), block_variances(whole)
    found = [
        GroupFigures(group, groups[group], figures, variances[group])
        for group, figures in summarise(whole, reference, precision).items()
    ]
    return found + [_of_part(group, some, reference, precision) for group, some in moments.of_groups.items()]


def _of_part(group: str, moments: Moments, reference: Reference, precision: float) -> GroupFigures:
    """The figures of a group that is measured as if there were no other parameters."""
    own = _part(reference, moments.means)
    figures = summarise(moments, own, precision)["all"]
    return GroupFigures(group, tuple(moments.means), figures, block_variances(moments)["all"])


def _part(reference: Reference, names: Iterable[str]) -> Reference:
    names = tuple(names)
    blocks = None if reference.blocks is None else {name: reference.blocks[name] for name in names}
    return Reference(reference.kind, {name: reference.gradient[name] for name in names}, blocks)
