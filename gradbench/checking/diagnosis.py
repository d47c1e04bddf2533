"""A bias in words: what is counted how many times, and what that looks like a sign of.

At each target the mean gradient of a part (φ or θ) is compared with the two exact gradients that the objective
E_q[f] + r is made of, mean ≈ a · ∇E_q[f] + b · ∇r, by least squares. (1, 1) is right; a = 2 is a gradient counted
twice, b = 2 a KL that the surrogate adds although the caller does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from gradbench.checking.looks import Look

FAR = 4.0
"""Standard errors that a multiple must be away from 1 to be spoken of."""
EXPLAINED = 0.1
"""The share of ‖bias‖² that the two multiples may leave unexplained for them to be the explanation."""
WORDS = {"phi": "φ", "theta": "θ"}


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with one part of the gradient at one target."""

    part: str
    target: str
    counted: float | None
    """Multiple of the exact ∇E_q[f] in the mean, where that explains the bias."""
    counted_error: float | None
    counted_kl: float | None
    """Multiple of the exact ∇r (the KL) in the mean; None without one."""
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
    columns = np.stack([exact - kl, kl] if kl.any() else [exact], axis=1)
    if not columns[:, 0].any():
        size = float(np.linalg.norm(blocks.mean(0)))
        return Diagnosis(part, look.target.label, None, None, None, f"{size:.3g} long where the exact gradient is 0")
    per_block = np.linalg.lstsq(columns, blocks.T, rcond=None)[0]
    multiples = per_block.mean(1)
    errors = per_block.std(1, ddof=1) / np.sqrt(len(blocks)) if len(blocks) > 1 else np.zeros(len(multiples))
    bias = blocks.mean(0) - exact
    noise = float(blocks.var(0, ddof=1).sum()) / len(blocks)
    left = float(((blocks.mean(0) - columns @ multiples) ** 2).sum()) - noise
    total = max(float((bias**2).sum()) - noise, 1e-300)
    scale = float(np.linalg.norm(exact)) or 1.0
    if left > EXPLAINED * total and not _even(look, part):
        along = float(bias @ exact) / scale**2
        message = f"off by {np.sqrt(total) / scale:.0%} of ‖g‖, {along:+.0%} along g; {_where(look, part)}"
        return Diagnosis(part, look.target.label, None, None, None, message)
    extra = float(multiples[1]) if len(multiples) > 1 else None
    message = _words(WORDS[part], multiples, errors, look.task.samples)
    return Diagnosis(part, look.target.label, float(multiples[0]), float(errors[0]), extra, message)


def _even(look: Look, part: str) -> bool:
    """Is every tensor of the part off by much the same multiple?"""
    counted = [f.counted for f in look.findings if f.part == part and f.counted is not None]
    return len(counted) > 1 and look.target.kl != "analytic" and max(counted) - min(counted) < 0.02


def _where(look: Look, part: str) -> str:
    wrong = [f for f in look.findings if f.part == part]
    fine = [f.tensor for f in wrong if f.verdict != "biased"]
    if not fine:
        return "every tensor is off, by amounts of their own"
    worst = max((f for f in wrong if f.verdict == "biased"), key=lambda f: abs(f.relative_bias or 0.0))
    return f"most of all {worst.tensor}; no bias is seen in {', '.join(fine)}"


def _words(part: str, multiples: np.ndarray, errors: np.ndarray, samples: int) -> str:
    count, error = float(multiples[0]), float(errors[0])
    said = []
    if abs(count - 1) > FAR * error or len(multiples) == 1:
        said.append(f"counted {count:.2f} ± {1.96 * error:.2f} times{_sign_of(part, count, samples)}")
    if len(multiples) > 1 and abs(multiples[1] - 1) > FAR * errors[1]:
        kl, kl_error = float(multiples[1]), float(errors[1])
        reason = ""
        if abs(kl - 2) < 0.1:
            reason = ": the caller adds the closed-form KL; leave it out of the surrogate"
        elif abs(kl) < 0.1:
            reason = ": the KL's gradient is lost"
        said.append(f"its KL term {kl:.2f} ± {1.96 * kl_error:.2f} times{reason}")
    return "; ".join(said) or f"counted {count:.3f} ± {1.96 * error:.3f} times"


def _sign_of(part: str, count: float, samples: int) -> str:
    """What a multiple looks like a sign of."""

    def near(value: float) -> bool:
        return abs(count - value) < 0.06 * max(1.0, abs(value))

    if near(0):
        reason = "lost: z (or log q) is held where nothing else carries it" if part == "φ" else "lost: f is held"
    elif near(-1):
        reason = "a wrong sign: gradients point up the objective"
    elif near(2):
        reason = "along the path and by the score?" if part == "φ" else "added twice?"
    elif samples > 1 and near((samples - 1) / samples):
        reason = f"(L-1)/L at L = {samples}: does the baseline hold the sample's own f?"
    elif samples > 1 and (near(samples) or near(1 / samples)):
        reason = f"{'L' if near(samples) else '1/L'} at L = {samples}: a sum for a mean, or the other way round?"
    else:
        return ""
    return f": {reason}"


def _flat(value: torch.Tensor) -> np.ndarray:
    return value.detach().flatten().double().cpu().numpy()
