"""A VAE with Gaussian latents: the four surrogates that hold z, or do not, and those with the KL sampled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gradbench.explaining.bench import Bench
from gradbench.explaining.surrogates import Line
from gradbench.objectives.base import Kl

RIGHT = ("score-function", "pathwise")
WRONG = ("fixed-sample", "double-counted")
KL_ROWS: tuple[tuple[str, Kl], ...] = (
    ("pathwise", "analytic"),
    ("pathwise", "monte-carlo"),
    ("sticking-the-landing", "monte-carlo"),
    ("score-function", "analytic"),
    ("score-function", "monte-carlo"),
)


@dataclass(frozen=True)
class GaussianCase:
    """Right and wrong surrogates of a VAE with Gaussian latents; analytic KL, one sample."""

    setting: str
    reference: str
    phi_norm: float
    theta_norm: float
    kl_norm: float
    """‖∇_φ KL‖, from its closed form."""
    rows: dict[str, dict[str, Line]]
    """By estimator, then by part."""

    def data(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        norms = {name: getattr(self, name) for name in ("phi_norm", "theta_norm", "kl_norm")}
        rows = [{"estimator": name, **line.data()} for name, found in self.rows.items() for line in found.values()]
        return {"setting": self.setting, "reference": self.reference, **norms, "rows": rows}


@dataclass(frozen=True)
class KlCase:
    """The φ-gradient with the KL in closed form, and sampled with the rest."""

    setting: str
    rows: list[tuple[str, Kl, Line]]
    """Estimator, treatment of the KL, line."""

    def data(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        rows = [{"estimator": name, "kl": kl, **line.data()} for name, kl, line in self.rows]
        return {"setting": self.setting, "rows": rows}


def measure_gaussian(bench: Bench) -> GaussianCase:
    """Measure the four surrogates."""
    target = bench.vae("analytic")
    rows = {name: bench.lines(target, name) for name in (*RIGHT, *WRONG)}
    remainder = target.remainder or {}
    squares = [float(value.square().sum()) for name, value in remainder.items() if name.startswith("phi.")]
    return GaussianCase(
        setting=_setting(bench),
        reference=target.reference(1).kind,
        phi_norm=rows["pathwise"]["phi"].gradient_norm,
        theta_norm=rows["pathwise"]["theta"].gradient_norm,
        kl_norm=sum(squares) ** 0.5,
        rows=rows,
    )


def measure_kl(bench: Bench) -> KlCase:
    """Measure both treatments of the KL."""
    return KlCase(_setting(bench), [(name, kl, bench.lines(bench.vae(kl), name)["phi"]) for name, kl in KL_ROWS])


def _setting(bench: Bench) -> str:
    parameters = bench.vae("analytic").axes.parameters
    return (
        f"A VAE, {parameters.latent} Gaussian latents, {parameters.hidden} tanh units, "
        f"on {parameters.batch} real digits; L = 1 sample"
    )
