"""Look, and look again with four times the replicates, until it is clear; with the error of all looks counted.

Every look draws replicates of its own, so looks are independent. The chance that an unbiased estimator is called
biased at all is kept below ``FALSE_ALARMS``: it is shared equally between the looks that are allowed, and within a
look Holm's correction covers every parameter tensor of every target, each tested in two ways:

- in any direction: the sign-flip test of `statistics` on the whole tensor;
- along the exact gradient: the same test on its projection, which sees a wrong scale where the noise of a large
  tensor would drown it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from gradbench.checking.targets import Target
from gradbench.engine.task import Task
from gradbench.statistics import Figures, holm, measurement, no_bias_p
from gradbench.statistics.measurement import Measured

FALSE_ALARMS = 0.01
"""The share of unbiased estimators that a check may call biased, at most."""
POWER = 0.9
CHECK_MARGIN = 0.02
"""A bias certainly below this share of the exact gradient, in every tensor, counts as none."""
FIRST_REPLICATES, GROWTH, MAX_REPLICATES = 2048, 4, 2**17
BLOCKS = 32


@dataclass(frozen=True)
class Finding:
    """One parameter tensor of one target, at the last look at it."""

    target: str
    samples: int
    tensor: str
    verdict: str
    """``biased``, ``unbiased`` (within the margin) or ``unresolved``."""
    reference: str
    replicates: int
    gradient_norm: float
    variance: float
    relative_bias: float | None
    relative_bias_low: float | None
    relative_bias_high: float | None
    counted: float | None
    """⟨mean, g⟩ / ‖g‖²: how many times the exact gradient is counted; 1 is right."""
    counted_error: float | None
    p: float
    """Of "no bias", corrected for everything else that this look tested."""
    detectable: float | None
    """The relative bias along the gradient that this look would have found with probability ``POWER``."""
    needed: int
    """Replicates that it would take to be certain of the margin; those taken, where it is."""

    @property
    def part(self) -> str:
        """``phi`` or ``theta``."""
        return self.tensor.partition(".")[0]


@dataclass(frozen=True)
class Look:
    """The findings of one target, and the measurement behind them."""

    target: Target
    task: Task
    measured: Measured
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> str:
        """Biased if any tensor is, unbiased if all are, else unresolved."""
        verdicts = {finding.verdict for finding in self.findings}
        return "biased" if "biased" in verdicts else "unresolved" if "unresolved" in verdicts else "unbiased"


def schedule(most: int) -> list[int]:
    """Replicates of each look; the last is ``most``.

    >>> schedule(131072), schedule(4096)
    ([2048, 8192, 32768, 131072], [2048, 4096])
    """
    looks = [min(FIRST_REPLICATES, most)]
    while looks[-1] < most:
        looks.append(min(looks[-1] * GROWTH, most))
    return looks


def look_until_clear(
    tasks: list[tuple[Target, Task]],
    margin: float,
    false_alarms: float,
    most: int,
    tick: Callable[[str, int], None],
) -> list[Look]:
    """The last look at each target. After a bias is found there is one more look, to say more exactly where.

    Raises MeasurementError where a gradient is not finite.
    """
    replicates = schedule(most)
    level = false_alarms / len(replicates)
    last: dict[int, Look] = {}
    sharpened: set[int] = set()
    for index, count in enumerate(replicates):
        open_ = [i for i in range(len(tasks)) if i not in last or _worth_another(last, i, i in sharpened)]
        if not open_:
            break
        sharpened |= {i for i in open_ if i in last and last[i].verdict == "biased"}
        measured = {i: _measure(*tasks[i], index, count, tick) for i in open_}
        sharper = _judged({i: (*tasks[i], measured[i]) for i in open_}, margin, level)
        last.update({i: _kept(last.get(i), look) for i, look in sharper.items()})
    return [last[i] for i in range(len(tasks))]


def _worth_another(last: dict[int, Look], i: int, sharpened: bool) -> bool:
    """Whether another look at target ``i`` may say more: where a bias is, or what is unclear in a part without one."""
    if last[i].verdict == "biased" and not sharpened:
        return True
    biased = {f.part for look in last.values() for f in look.findings if f.verdict == "biased"}
    return any(f.verdict == "unresolved" and f.part not in biased for f in last[i].findings)


def _measure(target: Target, task: Task, index: int, count: int, tick: Callable[[str, int], None]) -> Measured:
    blocks, per_block = task.estimator.planned(count, BLOCKS)
    first = index * BLOCKS
    return measurement.measure_figures(
        task,
        target.reference(task.samples),
        range(first, first + blocks),
        per_block,
        lambda done: tick(target.label, done),
    )


def _judged(measured: dict[int, tuple[Target, Task, Measured]], margin: float, level: float) -> dict[int, Look]:
    tested = [(i, name) for i, (_, _, m) in measured.items() for name in m.moments.means]
    p_values = [_p_values(*measured[i][1:], name) for i, name in tested]
    adjusted = holm(np.array(p_values).flatten()).reshape(-1, 2).min(1)
    threshold = level / (2 * len(tested))
    findings: dict[int, list[Finding]] = {i: [] for i in measured}
    for (i, name), p in zip(tested, adjusted, strict=True):
        findings[i].append(_finding(*measured[i], name, float(p), margin, level, threshold))
    return {i: Look(*measured[i], tuple(findings[i])) for i in measured}


def _p_values(task: Task, measured: Measured, name: str) -> tuple[float, float]:
    anywhere = measured.figures[name].bias_p
    away = measured.multiples(name) - 1
    if not np.isfinite(away).all() or anywhere in (0.0, 1.0):  # settled without a test: constant, or at rounding level
        return anywhere, anywhere
    if measured.is_counted_once(name):
        return anywhere, 1.0
    if type(task.held_q).implicit:
        away = away - np.clip(away.mean(), -PATH_ACCURACY, PATH_ACCURACY)
    return anywhere, float(no_bias_p(np.outer(away, away)))


PATH_ACCURACY = 1e-3
"""By how much the multiple of the exact gradient may differ from 1 where a family's path has a numerical derivative.

Antithetic pairs may have so little noise along the gradient that a derivative which is right to 2e-5 there is found
wrong with 8192 replicates.
"""
ENOUGH = 1.9
"""Replicates beyond those that bring a typical upper bound to the margin: one bound in ten is 1.4 times the typical."""


def _finding(
    target: Target, task: Task, measured: Measured, name: str, p: float, margin: float, level: float, threshold: float
) -> Finding:
    figures = measured.figures[name]
    scale = figures.gradient_norm if figures.gradient_norm > 0 else math.sqrt(figures.variance)
    high = _bound(figures) / scale if scale > 0 else 0.0 if figures.bias_high == 0 else math.inf
    counted, error = measured.counted(name)
    known = figures.gradient_norm > 0
    verdict = "biased" if p <= level else "unbiased" if high <= margin else "unresolved"
    replicates = figures.replicates
    short = ENOUGH * (high / margin) ** 2 if math.isfinite(high) else 1.0
    return Finding(
        target=target.label,
        samples=task.samples,
        tensor=name,
        verdict=verdict,
        reference=figures.reference,
        replicates=replicates,
        gradient_norm=figures.gradient_norm,
        variance=figures.variance,
        relative_bias=figures.bias_norm / scale if scale > 0 else None,
        relative_bias_low=figures.bias_low / scale if scale > 0 else None,
        relative_bias_high=high if math.isfinite(high) else None,
        counted=counted if known else None,
        counted_error=error if known else None,
        p=p,
        detectable=float(ndtri(POWER) - ndtri(threshold / 2)) * error if known else None,
        needed=replicates if verdict != "unresolved" else math.ceil(replicates * max(short, 1.0)),
    )


def _bound(figures: Figures) -> float:
    """The upper end of the interval of ‖bias‖, but never below what "no bias at all" would typically give.

    Where the noise happens to cancel the interval can shrink to nothing, and a check that looks at many tensors
    would take that luck for certainty.
    """
    return max(figures.bias_high, math.sqrt(max(figures.bias_sq, 0.0) + 1.96 * figures.bias_sq_se))


def _kept(before: Look | None, now: Look) -> Look:
    """The look of now, in which a tensor found biased before stays so: no level is spent twice, and none is lost."""
    if before is None:
        return now
    biased = {finding.tensor for finding in before.findings if finding.verdict == "biased"}
    findings = tuple(replace(f, verdict="biased") if f.tensor in biased else f for f in now.findings)
    return replace(now, findings=findings)
