"""Whether a loss is unbiased, or less noisy than another, for tests: looked at again until it is clear."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from gradbench.core.arrays import Array
from gradbench.core.errors import UnknownNameError, UsageError
from gradbench.core.isolation.guard import WHEN_LOADED, Guard
from gradbench.core.printable import listed_names
from gradbench.losses.against import fixed_reference, reference_given, reference_of_moments
from gradbench.losses.factors import factor_of
from gradbench.losses.given import GivenParameters, Loss, ascent, callable_as_it_is, parameters_of
from gradbench.losses.grouped import GroupFigures, group_figures
from gradbench.losses.taking import Sampling, TakenLoss, taken
from gradbench.results.compare.ratios import paired_ratio
from gradbench.statistics import holm, no_bias_p
from gradbench.target.reference import Reference

FIRST_LOOK, LOOK_GROWTH = 1024, 4
MOST_FOR_A_LOSS = 2**15
"""Replicates of the last look, where nothing else is asked for."""
BLOCKS_OF_A_LOOK = 32


def looks(most: int) -> Iterator[tuple[int, int]]:
    """The number of each look, and its replicates, in whole blocks.

    >>> list(looks(10000))
    [(0, 1024), (1, 4096), (2, 9984)]
    """
    most = max(most // BLOCKS_OF_A_LOOK, 2) * BLOCKS_OF_A_LOOK
    index, count = 0, min(FIRST_LOOK, most)
    while True:
        yield index, count
        if count == most:
            return
        index, count = index + 1, min(count * LOOK_GROWTH, most)


def why_not_unbiased(
    loss: Any,
    parameters: Any,
    reference: Any,
    *,
    within: float,
    false_alarms: float,
    replicates: int,
    seed: int,
    sign: str | int = "loss",
    state: Any = "refuse",
) -> str | None:
    """What speaks against ``loss`` having the mean gradient of ``reference``, in a few lines; None where it is sure to.

    Every look draws anew, and shares ``false_alarms`` with the others; within a look Holm's correction covers every
    tensor, tested in any direction and along the reference. Raises UsageError where the reference is the loss itself.
    """
    given = parameters_of(parameters)
    name = getattr(loss, "__name__", "loss")
    if loss is reference:
        raise UsageError(
            f"reference: it is {name} itself, whose bias against itself is 0 whatever it is worth; "
            f"give another loss, or the exact gradient"
        )
    loss = callable_as_it_is(loss, name)
    plan = list(looks(replicates))
    unclear: list[str] = []
    needed = 0
    for index, count in plan:
        sampling = Sampling(count, BLOCKS_OF_A_LOOK, seed + index, ascent(sign)[0], state, "auto", timed=False)
        with Guard(name, items=WHEN_LOADED):
            against = _reference(reference, given, sampling)
            own = taken(loss, name, given, sampling, against.gradient)
        precision = torch.finfo(given.held_in).eps
        tensors = [one for one in group_figures(own.moments, against, precision) if one.group in given.tensors]
        p = np.array([_p_values(one, own, against) for one in tensors])
        adjusted = holm(p.flatten()).reshape(p.shape).min(1)
        biased = [one for one, value in zip(tensors, adjusted, strict=True) if value <= false_alarms / len(plan)]
        if biased:
            return "\n".join([f"{name} is biased", *(f"  {_said(one, own, against)}" for one in biased)])
        ratios = {one.group: _bound_of(one) / within for one in tensors}
        unclear = [group for group, ratio in ratios.items() if ratio > 1]
        if not unclear:
            return None
        worst = max(ratios.values())
        needed = math.ceil(count * worst**2) if math.isfinite(worst) else 4 * count
    return (
        f"{name}: no bias found, but none is excluded within {within:.3g} in {listed_names(unclear)}; "
        f"it would take about {needed} replicates (replicates={needed})"
    )


def why_not_less_variance(
    a: Any,
    b: Any,
    parameters: Any,
    *,
    factor: float,
    group: str,
    false_alarms: float,
    replicates: int,
    seed: int,
    state: Any = "refuse",
) -> str | None:
    """What speaks against the variance of ``a`` being below ``factor`` times that of ``b``; None where it is.

    Blocks are paired. The chance of None although it is not is at most ``false_alarms``.
    """
    given = parameters_of(parameters)
    names = [getattr(loss, "__name__", word) for loss, word in ((a, "the first"), (b, "the second"))]
    a, b = (callable_as_it_is(loss, name) for loss, name in zip((a, b), names, strict=True))
    plan = list(looks(replicates))
    said = ""
    for index, count in plan:
        sampling = Sampling(count, BLOCKS_OF_A_LOOK, seed + index, -1.0, state, "auto", timed=False)
        with Guard("a loss", items=WHEN_LOADED):
            one, two = (
                _variances(loss, name, given, sampling, group) for loss, name in zip((a, b), names, strict=True)
            )
        if not one.any() and two.any():
            return None
        ratio = paired_ratio(factor * two, one)
        if len(one) == len(two) and two.any() and ratio.p <= false_alarms / len(plan):
            if ratio.value < 1:
                return None
            return _less(names, factor, ratio.value * factor, "is not below")
        said = _less(names, factor, ratio.value * factor, "is not seen to be below")
    return f"{said}\nmore replicates may tell (replicates={4 * plan[-1][1]})"


def _less(names: list[str], factor: float, ratio: float, verb: str) -> str:
    times = "" if factor == 1 else f"{factor:.3g} × "
    return f"the variance of {names[0]} {verb} {times}that of {names[1]}: it is {ratio:.3g} × as large"


def _reference(given: Any, parameters: GivenParameters, sampling: Sampling) -> Reference:
    found = reference_given(given, [], parameters, sampling.sign)
    if found.gradient is not None:
        return fixed_reference(found.gradient)
    assert found.loss is not None
    own = taken(found.loss, "reference", parameters, sampling)
    return reference_of_moments(own.moments.moments, own.shape, draws=own.draws)


def _variances(loss: Loss, name: str, given: GivenParameters, sampling: Sampling, group: str) -> Array:
    own = taken(loss, name, given, sampling)
    against = reference_of_moments(own.moments.moments, own.shape, draws=own.draws)
    found = {one.group: one.variances for one in group_figures(own.moments, against, torch.finfo(given.held_in).eps)}
    for full in (group, f"phi.{group}", f"theta.{group}"):
        if full in found:
            return found[full]
    raise UnknownNameError("group", group, found)


def _differences(one: GroupFigures, own: TakenLoss, reference: Reference) -> tuple[Array, Array]:
    """Block means of one tensor and what they are held against, [K, P] and [K or 1, P]."""
    name = one.names[0]
    means = np.asarray(own.moments.moments.means[name], dtype=np.float64)
    held = reference.gradient[name][None] if reference.blocks is None else reference.blocks[name]
    return means, held.reshape(len(held), -1).double().cpu().numpy()


def _p_values(one: GroupFigures, own: TakenLoss, reference: Reference) -> tuple[float, float]:
    """Of "no bias", in any direction and along the reference."""
    anywhere = one.figures.bias_p
    means, held = _differences(one, own, reference)
    along = held.mean(0)
    away = (means - held) @ along
    if anywhere in (0.0, 1.0) or not np.ptp(away) > 1e-12 * np.abs(away).max():
        return anywhere, anywhere
    return anywhere, float(no_bias_p(np.outer(away, away)))


def _bound_of(one: GroupFigures) -> float:
    """The bias at most, as a share of the gradient; of one standard deviation where that is 0."""
    figures = one.figures
    scale = figures.gradient_norm if figures.gradient_norm > 0 else math.sqrt(figures.variance)
    return figures.bias_high / scale if scale > 0 else 0.0 if figures.bias_high == 0 else math.inf


def _said(one: GroupFigures, own: TakenLoss, reference: Reference) -> str:
    figures = one.figures
    size = f"{100 * figures.relative_bias:.3g} %" if figures.relative_bias is not None else f"{figures.bias_norm:.3g}"
    means, held = _differences(one, own, reference)
    factor = factor_of(means.mean(0), held.mean(0))
    told = "" if factor is None else f"; it is {factor:.3g} × the reference"
    return f"in {one.group}: by {size} of the reference{told}"
