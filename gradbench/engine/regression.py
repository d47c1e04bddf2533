"""How much of an estimator's noise features of its samples explain: least squares, on draws of their own."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from gradbench.core.types import Noise
from gradbench.engine.drawn import ByParameter
from gradbench.engine.evidence import Evidence
from gradbench.engine.features import Features, Terms
from gradbench.engine.passes import replicates_at_once
from gradbench.engine.task import Task, slice_noise
from gradbench.estimators.parts.own_parameters import apart, derivatives
from gradbench.families.base import Family
from gradbench.problems.networks import Calls

FIRST_LOOK = 32
"""Replicates of a first look: most estimators are seen there to have no use for the control."""
PILOT, PILOT_OF_A_MINIBATCH = 256, 64
"""Samples of each datapoint that coefficients are fitted on, and the fewest replicates; those alone where every block
has a minibatch of its own, and coefficients of its own."""
HEAVY = 30.0
"""Kurtosis of a score above which its values are too rare to be met in the pilot draws."""
VALUES_EACH = 8
"""Different values that the samples must have taken in the pilot draws, for each feature."""
DUPLICATE = 1e-6
"""Eigenvalues of the features' correlations below which a mixture of them is left out: features that are the same."""


@dataclass(frozen=True)
class FittedFeatures:
    """Features and the coefficients of least squares, by parameter of q, [K, 1, 1, B, *its shape]."""

    features: Features
    coefficients: ByParameter


def fit(task: Task, generator: torch.Generator, least: float) -> FittedFeatures | None:
    """The features of ``task`` that explain its noise, fitted on draws of their own.

    None where a first look sees less than the share ``least`` of the noise explained, or what is not finite. Features
    of the evidence, which cost as much as the estimator does, are used where they leave half of what is left without.
    """
    replicates = max(PILOT_OF_A_MINIBATCH, PILOT // task.samples if task.together > 1 else 0)
    noise = task.noise(replicates, generator)
    step = replicates_at_once(task)

    def added(sums: _Sums | None, start: int, stop: int) -> _Sums | None:
        for one in range(start, stop, step):
            end = min(one + step, stop)
            if sums is None or not sums.add(task, slice_noise(noise, slice(one, end)), end - one):
                return None
        return sums

    first = slice_noise(noise, slice(0, min(step, FIRST_LOOK)))
    plain = Features(task)
    sums = added(_Sums(plain, first), 0, FIRST_LOOK)
    evidence = Evidence.of(task, noise, step)
    if evidence is not None:
        both = added(_Sums(Features(task, evidence), first), 0, FIRST_LOOK)
        if both is not None and (sums is None or both.left() < sums.left() / 2):
            sums = both
    if sums is None or sums.share() < least:
        return None
    if sums.features is plain:
        sums = added(sums, FIRST_LOOK, replicates)
        return None if sums is None else FittedFeatures(plain, sums.coefficients())
    half = replicates // 2
    one, other = added(sums, FIRST_LOOK, half), added(_Sums(sums.features, first), half, replicates)
    if one is None or other is None:
        return None
    # where tails are heavy, what was fitted on some replicates may add to the noise of others
    all_left, left = (one.left_by(other, count) + other.left_by(one, count) for count in (None, plain.of_scores))
    if all_left < left / 2:
        return FittedFeatures(sums.features, one.joined(other).coefficients())
    return FittedFeatures(plain, one.joined(other).coefficients(plain.of_scores))


class _Sums:
    """What least squares need of the gradients y in λ and the features x: sums of xx, xy, x, y, yy over replicates."""

    def __init__(self, features: Features, noise: Noise) -> None:
        self.features = features
        self.scales = features.scales(noise)
        self.count = 0
        self.sums: dict[str, list[Tensor]] = {}
        self.powers: dict[str, list[Tensor]] = {}
        """How many scores there are, and the sums of their first four powers, by parameter of q, [B, *its shape]."""
        self.along: list[Tensor] = []

    def add(self, task: Task, noise: Noise, replicates: int) -> bool:
        """Count the replicates of ``noise`` in; False where a gradient or a feature is not finite."""
        y = _gradients(task, self.features.q, noise, replicates)
        terms = self.features.terms(noise)
        x = self.features.of(terms)
        self._remember(terms)
        for name in y:
            a, b = x[name].double(), y[name].double()
            if not (bool(torch.isfinite(a).all()) and bool(torch.isfinite(b).all())):
                return False
            parts = [(a[:, None] * a[None]).sum(2), (a * b).sum(1), a.sum(1), b.sum(0), b.square().sum(0)]
            known = self.sums.get(name)
            self.sums[name] = parts if known is None else [one + two for one, two in zip(known, parts, strict=True)]
        self.count += replicates
        return True

    def joined(self, other: _Sums) -> _Sums:
        """The sums over the replicates of both."""
        found = copy(self)
        found.count = self.count + other.count
        found.sums, found.powers = (
            {name: [a + b for a, b in zip(parts, theirs[name], strict=True)] for name, parts in mine.items()}
            for mine, theirs in ((self.sums, other.sums), (self.powers, other.powers))
        )
        found.along = self.along + other.along
        return found

    def _remember(self, terms: Terms) -> None:
        for name, value in terms.score.items():
            one = value.double()
            two = one.square()
            powers = [part.sum((0, 1)) for part in (torch.ones_like(one), one, two, two * one, two.square())]
            known = self.powers.get(name)
            self.powers[name] = powers if known is None else [a + b for a, b in zip(known, powers, strict=True)]
        if terms.along is not None:
            self.along.append(terms.along.sort(1).values)

    def _usual(self, name: str, features: int) -> Tensor:
        """Where features of scores, beyond their mean, are used at all: [B, *shape] of bits.

        Not where samples take few values, or a score nearly always the same one: all that were drawn could be matched,
        and what is left would be the events that were not.
        """
        count, *sums = self.powers[name]
        m1, m2, m3, m4 = (value / count for value in sums)
        variance = m2 - m1**2
        fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
        light = (variance > 1e-12 * m2) & (fourth <= HEAVY * variance**2)
        if not self.along:
            return light
        along, enough = torch.cat(self.along).cpu(), VALUES_EACH * features
        # a sample that takes enough values has them: whole sets of samples are told apart where none does
        each = 1 + (along.sort(0).values.diff(dim=0) != 0).sum(0).amax(0)
        many = [int(each[one]) >= enough or len(along[:, :, one].unique(dim=0)) >= enough for one in range(len(each))]
        many = torch.tensor(many, device=light.device)
        return light & many.reshape(-1, *[1] * (light.ndim - 1))

    def left(self) -> float:
        """The share of all noise that features leave, were there so many more replicates than features to fit them."""
        count = len(next(iter(self.sums.values()))[1])
        return (1 - self.share()) * (self.count - 1) / (self.count - 1 - count)

    def share(self) -> float:
        """The share of all noise that the features explain, with coefficients for each parameter at each datapoint."""
        explained = total = 0.0
        for square, product, x, y, size in self.sums.values():
            own, centred = self._centred(square, product, x, y)
            own = own.flatten(3).unflatten(3, (own.shape[3], -1)).sum((2, 4)).movedim(2, 0)
            centred = centred.flatten(2).unflatten(2, (centred.shape[2], -1)).sum((1, 3)).T
            found = solved(own, centred)
            explained += float((2 * found * centred - found * (own @ found[..., None])[..., 0]).sum())
            total += float((size - y.square() / self.count).sum())
        return 0.0 if total <= 0 else explained / total

    def left_by(self, other: _Sums, count: int | None) -> float:
        """Σ of the squares that the first ``count`` features leave of all gradients, as fitted on ``other``'s."""
        total = 0.0
        for name, coefficients in other.coefficients(count).items():
            square, product, x, y, size = self.sums[name]
            own, centred = self._centred(square, product, x, y)
            found = coefficients[:, 0]
            explained = 2 * found * centred[:count] - found * (own[:count, :count] * found[None]).sum(1)
            total += float((size - y.square() / self.count).sum() - explained.sum())
        return total

    def _centred(self, square: Tensor, product: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Σ xx and Σ xy about the means of the pilot draws: gradients that the features match are matched exactly."""
        return square - x[:, None] * x[None] / self.count, product - x * y / self.count

    def coefficients(self, count: int | None = None) -> ByParameter:
        """The coefficients of each entry of each parameter on its own, of the first ``count`` features alone."""
        found = {}
        for name, (square, product, x, y, _) in self.sums.items():
            square, centred = self._centred(square, product, x, y)
            square, centred, scale = square[:count, :count], centred[:count], self.scales[name][:count]
            size = square.diagonal().movedim(-1, 0) / self.count
            # where its terms cancel, as in one parameter of antithetic pairs, a feature is its own rounding
            real = size > torch.finfo(scale.dtype).eps * scale.double().squeeze(1)
            real[1 : self.features.of_scores] &= self._usual(name, self.features.of_scores)
            square, centred = square * (real[:, None] & real[None]), centred * real
            each = solved(square.flatten(2).permute(2, 0, 1), centred.flatten(1).T)
            found[name] = (each.T.reshape(centred.shape) * real)[:, None]
        return found


def solved(square: Tensor, product: Tensor) -> Tensor:
    """Coefficients [..., K] of least squares from [..., K, K] and [..., K]."""
    scale = square.diagonal(dim1=-2, dim2=-1).clamp_min(torch.finfo(square.dtype).tiny)
    root = scale.sqrt()
    unit = square / (root[..., :, None] * root[..., None, :])
    inverse = torch.linalg.pinv(unit, rtol=DUPLICATE, hermitian=True)
    return (inverse @ (product / root)[..., None])[..., 0] / root


def _gradients(task: Task, q: Family, noise: Noise, replicates: int) -> ByParameter:
    """The derivative of the surrogate in q's own parameters, [R, 1, B, *shape] each."""
    objective = task.at(Calls(task.point.problem.theta).held())
    with torch.enable_grad():
        leaf = apart(q, (replicates, 1))
        return derivatives(task.surrogate(objective, leaf, noise), leaf)
