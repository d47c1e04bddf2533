"""The numbers of the story: one small VAE on real digits, its exact gradient, and what each surrogate makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gradbench.checking.targets import Target
from gradbench.estimators import ESTIMATORS
from gradbench.explaining.surrogates import Line, Surrogate, lines
from gradbench.objectives.base import Kl

STORY_PARAMETERS = {"hidden": 16, "latent": 2, "batch": 4}
RIGHT = ("score-function", "pathwise")
WRONG = ("fixed-sample", "double-counted")
KL_ROWS: tuple[tuple[str, Kl], ...] = (
    ("pathwise", "analytic"),
    ("pathwise", "monte-carlo"),
    ("sticking-the-landing", "monte-carlo"),
)


@dataclass(frozen=True)
class Story:
    """Everything that the story shows."""

    setting: str
    reference: str
    phi_norm: float
    theta_norm: float
    kl_norm: float
    """‖∇_φ KL‖, from its closed form."""
    main: dict[str, dict[str, Line]]
    """By estimator, then by part; analytic KL, one sample."""
    kl: list[tuple[str, str, dict[str, Line]]]
    """Estimator, treatment of the KL, lines."""

    def data(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        return {
            "setting": self.setting,
            "reference": self.reference,
            "phi_norm": self.phi_norm,
            "theta_norm": self.theta_norm,
            "kl_norm": self.kl_norm,
            "estimators": [
                {"estimator": name, **line.data()} for name, found in self.main.items() for line in found.values()
            ],
            "kl": [
                {"estimator": name, "kl": kl, **line.data()} for name, kl, found in self.kl for line in found.values()
            ],
        }


def tell(tick: Callable[[str, int], None] = lambda what, done: None, seed: int = 0) -> Story:
    """Measure what the story shows."""
    targets: dict[Kl, Target] = {
        kl: Target("gaussian-vae", kl, (1,), seed, STORY_PARAMETERS) for kl in ("analytic", "monte-carlo")
    }
    tick("exact gradient by quadrature", 0)
    exact = targets["analytic"].reference(1)  # the same for both: the KL is the same number, sampled or not

    def run(name: str, kl: Kl, most: int) -> dict[str, Line]:
        task = targets[kl].task(ESTIMATORS[name], 1)
        return lines(Surrogate(task), exact, targets[kl].remainder, lambda done: tick(f"{name}, {kl} KL", done), most)

    remainder = targets["analytic"].remainder or {}
    main = {name: run(name, "analytic", 2) for name in (*RIGHT, *WRONG)}
    kl = [(name, treatment, run(name, treatment, 2)) for name, treatment in KL_ROWS[1:]]
    return Story(
        setting="A VAE, 2 Gaussian latents, 16 tanh units, on 4 real digits; L = 1 sample",
        reference=exact.kind,
        phi_norm=main["pathwise"]["phi"].gradient_norm,
        theta_norm=main["pathwise"]["theta"].gradient_norm,
        kl_norm=sum(float(v.square().sum()) for n, v in remainder.items() if n.startswith("phi.")) ** 0.5,
        main=main,
        kl=[("pathwise", "analytic", main["pathwise"]), *kl],
    )
