"""The small problems that the story is measured at, each built once, and what was measured at them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradbench.checking.targets import Target
from gradbench.estimators import ESTIMATORS
from gradbench.explaining.surrogates import Line, Surrogate, lines
from gradbench.objectives.base import Kl

VAE_PARAMETERS: dict[str, Any] = {"hidden": 16, "latent": 2, "batch": 4}
LOOKS_TAKEN = 3
"""Looks that a surrogate of the story is given by default; at seed 0 two are enough."""


def nothing(what: str, done: int) -> None:
    """Tell nobody how far the work is."""


class Bench:
    """Targets and measurements of one telling of the story; chapters that need the same one measure it once."""

    def __init__(self, tick: Callable[[str, int], None] = nothing, seed: int = 0) -> None:
        self.tick, self.seed = tick, seed
        self._targets: dict[str, Target] = {}
        self._lines: dict[tuple[str, str, frozenset[str], tuple[str, ...]], dict[str, Line]] = {}

    def vae(self, kl: Kl) -> Target:
        """The VAE with two Gaussian latents, L = 1."""
        return self._target("gaussian-vae", kl, VAE_PARAMETERS)

    def belief_network(self) -> Target:
        """The sigmoid belief network with four bits, L = 1, its KL sampled: f = log P(x, h) − log Q(h|x)."""
        return self._target("sigmoid-belief", "monte-carlo", {"latent": 4, "batch": 2})

    def cost(self, k: float, mean: float) -> Target:
        """(z − k)² under N(mean, 1), L = 1."""
        return self._target("gaussian-cost", None, {"cost": "quadratic", "k": k, "mean": mean, "dim": 1})

    def surrogate(self, target: Target, estimator: str, drop: frozenset[str] = frozenset()) -> Surrogate:
        """The surrogate of ``estimator``, without the holds of ``drop``."""
        return Surrogate(target.task(ESTIMATORS[estimator], 1), drop=drop)

    def lines(
        self,
        target: Target,
        estimator: str,
        drop: frozenset[str] = frozenset(),
        parts: tuple[str, ...] = ("phi", "theta"),
        most: int = LOOKS_TAKEN,
    ) -> dict[str, Line]:
        """``parts`` of the surrogate of ``estimator``, without the holds of ``drop``, against the exact gradient.

        ``most``: looks that it is given.
        """
        key = (target.label, estimator, drop, parts)
        if key not in self._lines:
            self.tick(f"exact gradient, {target.problem}", 0)
            words = f"{estimator}, {target.label}"
            self._lines[key] = lines(
                self.surrogate(target, estimator, drop),
                target.reference(1),
                target.remainder,
                lambda done: self.tick(words, done),
                most,
                parts,
            )
        return self._lines[key]

    def _target(self, problem: str, kl: Kl | None, parameters: dict[str, Any]) -> Target:
        target = Target(problem, kl, (1,), self.seed, parameters)
        return self._targets.setdefault(target.label, target)
