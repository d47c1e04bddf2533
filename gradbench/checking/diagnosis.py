"""A bias in words: what is counted how many times, and what that looks like a sign of.

At each target the mean gradient of a part (φ or θ) is compared with the exact gradients of E_q[f] and of r, by least
squares: mean ≈ a · ∇E_q[f] + ∇r, a = 1 being right. The caller adds r, in closed form and once, so that a multiple b of
∇r is fitted only where a alone does not explain the bias, and is believed only where it is what a surrogate can have
done: b = 2, it adds r as well; b = 0, it takes r off again. Where neither explains the bias, no cause is named.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from gradbench.checking.sequential import Look
from gradbench.families import FAMILIES
from gradbench.statistics import sign_flip_p

FAR = 4.0
"""Standard errors that a multiple must be away from 1 to be spoken of."""
EXPLAINED = 0.1
"""The share of ‖bias‖² that multiples may leave unexplained for them to be the explanation."""
NOISE = 0.01
"""The p value of "nothing is left" up to which what they leave is real, however little can be said of its size."""


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with one part of the gradient at one target."""

    part: str
    target: str
    counted: float | None
    """Multiple of the exact ∇E_q[f] in the mean, where that explains the bias."""
    counted_error: float | None
    counted_kl: float | None
    """Multiple of the exact ∇r (the KL) in the mean: 1 where it is in no doubt; None without one."""
    message: str


def diagnose(look: Look) -> list[Diagnosis]:
    """What is wrong, for each part of the gradient in which a bias was found."""
    parts = {finding.part for finding in look.findings if finding.verdict == "biased"}
    return [_part(look, part) for part in ("phi", "theta") if part in parts]


def _part(look: Look, part: str) -> Diagnosis:
    names = [name for name in look.measured.moments.means if name.startswith(part + ".")]
    blocks = np.concatenate([look.measured.block_means(name) for name in names], axis=1)
    exact = np.concatenate([_flat(look.measured.reference.gradient[name]) for name in names])
    remainder = look.target.remainder
    kl = np.zeros_like(exact) if remainder is None else np.concatenate([_flat(remainder[name]) for name in names])
    label = look.target.label
    if not (exact - kl).any() and not kl.any():
        size = float(np.linalg.norm(blocks.mean(0)))
        return Diagnosis(part, label, None, None, None, f"{size:.3g} long where the exact gradient is 0")
    noise = float(blocks.var(0, ddof=1).sum()) / len(blocks)
    bias = blocks.mean(0) - exact
    total = max(float((bias**2).sum()) - noise, 1e-300)
    known = 1.0 if kl.any() else None
    alone = _fit(blocks - kl, (exact - kl)[:, None])
    if alone is not None and (alone.left - noise <= EXPLAINED * total or (_even(look, part) and alone.enough())):
        count, error = float(alone.multiples[0]), float(alone.errors[0])
        return Diagnosis(part, label, count, error, known, _counted(look, part, count, error))
    both = _fit(blocks, np.stack([exact - kl, kl], axis=1)) if kl.any() else None
    if both is not None and both.left - noise <= EXPLAINED * total and (reason := _kl_cause(both)):
        count, error = float(both.multiples[0]), float(both.errors[0])
        said = [_counted(look, part, count, error)] if abs(count - 1) > FAR * error else []
        said.append(f"its KL term {both.multiples[1]:.2f} ± {1.96 * both.errors[1]:.2f} times: {reason}")
        return Diagnosis(part, label, count, error, float(both.multiples[1]), "; ".join(said))
    scale = float(np.linalg.norm(exact)) or 1.0
    along = float(bias @ exact) / scale**2
    message = f"off by {np.sqrt(total) / scale:.0%} of ‖g‖, {along:+.0%} along g; {_where(look, part)}"
    return Diagnosis(part, label, None, None, known, message)


@dataclass(frozen=True)
class _Fit:
    """Multiples of exact gradients, fitted to the mean gradient of every block."""

    multiples: np.ndarray
    errors: np.ndarray
    left: float
    """The square of what they leave of the mean over blocks."""
    rest: np.ndarray
    """What they leave of every block, [K, P]."""

    def enough(self) -> bool:
        """Whether what they leave may be noise: the test of "no bias" does not reject that."""
        return float(sign_flip_p(self.rest @ self.rest.T)) > NOISE


def _fit(blocks: np.ndarray, columns: np.ndarray) -> _Fit | None:
    """Block means [K, P] as multiples of ``columns`` [P, C]; None where these do not tell the multiples apart."""
    if np.linalg.matrix_rank(columns) < columns.shape[1]:
        return None
    per_block = np.linalg.lstsq(columns, blocks.T, rcond=None)[0]
    multiples = per_block.mean(1)
    errors = per_block.std(1, ddof=1) / np.sqrt(len(blocks)) if len(blocks) > 1 else np.zeros(len(multiples))
    rest = blocks - columns @ multiples
    return _Fit(multiples, errors, float((rest.mean(0) ** 2).sum()), rest)


def _kl_cause(fit: _Fit) -> str | None:
    """What a surrogate has done to have the KL so many times in its mean; None where it can have done nothing so."""
    times, error = float(fit.multiples[1]), float(fit.errors[1])
    if abs(times - 1) <= FAR * error:
        return None
    if abs(times - 2) < 0.1:
        return "the caller adds the closed-form KL; leave it out of the surrogate"
    if abs(times) < 0.1:
        return "the surrogate takes off the closed-form KL that the caller adds"
    return None


def _even(look: Look, part: str) -> bool:
    """Whether every tensor of the part is off by much the same multiple."""
    counted = [f.counted for f in look.findings if f.part == part and f.counted is not None]
    return len(counted) > 1 and look.target.kl != "analytic" and max(counted) - min(counted) < 0.02


def _where(look: Look, part: str) -> str:
    wrong = [f for f in look.findings if f.part == part]
    fine = [f.tensor for f in wrong if f.verdict != "biased"]
    if not fine:
        return "every tensor is off, by amounts of their own"
    worst = max((f for f in wrong if f.verdict == "biased"), key=lambda f: abs(f.relative_bias or 0.0))
    return f"most of all {worst.tensor}; no bias is seen in {', '.join(fine)}"


def _counted(look: Look, part: str, count: float, error: float) -> str:
    causes = ", or ".join(_causes(look, part, count))
    return f"counted {count:.2f} ± {1.96 * error:.2f} times{f': {causes}?' if causes else ''}"


def _causes(look: Look, part: str, count: float) -> Iterator[str]:
    """All that a multiple can be a sign of, here: with these latents, so many samples and datapoints."""
    phi, samples = part == "phi", look.task.samples
    datapoints = 1 if look.task.point.x is None else look.task.point.x.shape[2]

    def near(value: float) -> bool:
        return abs(count - value) < 0.06 * max(1.0, abs(value))

    if near(0):
        yield "lost: z (or log q) is held where nothing else carries it" if phi else "lost: f is held"
    if near(-1):
        yield "a wrong sign: gradients point up the objective"
    if near(2):
        path = FAMILIES[look.target.family].reparameterised
        yield "along the path and by the score" if phi and path else "added twice"
    if phi and samples > 1 and near((samples - 1) / samples):
        yield f"(L-1)/L at L = {samples}: the baseline holds the sample's own f"
    for letter, number, of in (("L", samples, "samples"), ("B", datapoints, "datapoints")):
        if number > 1 and near(number):
            yield f"{letter} at {letter} = {number}: a sum for a mean over {of}"
        elif number > 1 and near(1 / number):
            yield f"1/{letter} at {letter} = {number}: a mean for a sum over {of}"


def _flat(value: torch.Tensor) -> np.ndarray:
    return value.detach().flatten().double().cpu().numpy()
