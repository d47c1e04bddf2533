"""What an estimator is: a pure function from noise to one surrogate value per replicate, and what is declared of it.

Differentiating the surrogate gives the gradient estimate of E_q[f(z)]; the closed-form remainder of the
objective is added by the caller. A surrogate never mixes replicates and draws nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict

from gradbench.core.errors import PluginError, message_of
from gradbench.core.types import Noise
from gradbench.families.base import Posterior
from gradbench.objectives.base import Kind, Kl

FAMILIES = frozenset({"gaussian", "bernoulli"})


class EstimatorParameters(BaseModel):
    """What a suite may set of an estimator. Unknown keys are refused.

    An estimator whose ``Parameters`` has fields gets them as one object: the last argument of its surrogate, noise
    and fit, and ``setting.parameters`` in its needs and evaluations.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Factor:
    """One line of an estimator's ledger: a factor of the surrogate, what is differentiated through it, and why."""

    name: str
    held: bool
    why: str
    phi: bool = False
    """Does the φ-gradient flow through it? (On some problem that the estimator runs on.)"""
    theta: bool = False
    """Does the θ-gradient flow through it?"""


def held(name: str, why: str) -> Factor:
    """A factor held constant."""
    return Factor(name, held=True, why=why)


def differentiated(name: str, in_: Literal["phi", "theta", "phi and theta"], why: str) -> Factor:
    """A factor that is differentiated in φ, in θ, or in both."""
    return Factor(name, held=False, why=why, phi="phi" in in_, theta="theta" in in_)


@dataclass(frozen=True)
class Setting:
    """Where an estimator is asked to work: what decides whether it can."""

    problem: str
    family: str
    latent_dim: int
    objective: Kind
    kl: Kl | None
    samples: int
    parameters: Any = field(default_factory=EstimatorParameters)
    """The estimator's own parameters, an instance of its ``Parameters``."""


def standard_noise(
    q: Posterior, replicates: int, samples: int, generator: torch.Generator, parameters: Any = None
) -> Noise:
    """One standard draw per sample, [R, L, B, D]."""
    return q.noise(replicates, samples, generator)


def pair_noise(
    q: Posterior, replicates: int, samples: int, generator: torch.Generator, parameters: Any = None
) -> Noise:
    """One standard draw per antithetic pair, [R, L/2, B, D]."""
    return q.noise(replicates, samples // 2, generator)


def no_noise(q: Posterior, replicates: int, samples: int, generator: torch.Generator, parameters: Any = None) -> Noise:
    """Nothing is drawn: [R, 0]."""
    value = next(iter(q.parameters.values()))
    return value.new_zeros(replicates, 0)


def no_needs(setting: Setting) -> str | None:
    return None


def no_log_q_needs(setting: Setting) -> str | None:
    """The need of estimators that act on the −log q term of f: that there is one."""
    if setting.objective == "cost":
        return "there is no log q term in a cost"
    if setting.kl == "analytic":
        return "there is no log q term in f when the KL is analytic; use kl = 'monte-carlo'"
    return None


@dataclass(frozen=True)
class Estimator:
    """An estimator as declared; every declaration is held to a measurement by the contract tests."""

    name: str
    title: str
    surrogate: Callable[..., Any]
    """(objective, q, noise[, state][, parameters]) -> values [R]: ``state`` only where there is a ``fit``,

    ``parameters`` only where ``Parameters`` has fields.
    """
    ledger: tuple[Factor, ...]
    paper: str
    latents: frozenset[str] = FAMILIES
    objectives: frozenset[Kind] = frozenset({"elbo", "cost"})
    unbiased_phi: bool = True
    unbiased_theta: bool = True
    noise: Callable[..., Noise] = standard_noise
    """(q held, R, L, generator[, parameters]) -> noise, each tensor with R first."""
    needs: Callable[[Setting], str | None] = no_needs
    """Why it cannot work in a setting, beyond family and objective; None where it can."""
    evaluations: Callable[[Setting], float] = lambda setting: float(setting.samples)
    """Evaluations of log p(x,z) per datapoint for one gradient."""
    Parameters: type[EstimatorParameters] = EstimatorParameters
    fit: Callable[..., dict[str, torch.Tensor]] | None = None
    """(objective, q held, samples, generator[, parameters]) -> state: trained before measuring, on its own draws."""
    state_by_datapoint: frozenset[str] = frozenset()
    """Names in ``state`` that have an entry for each datapoint, along the axis of datapoints: [1, 1, B, …]."""
    scored: bool = True
    """Does it weigh a score by f? Then its bias can be measured with less noise than it has (`engine.control`)."""
    mixes_datapoints: bool = False
    """Does one datapoint's gradient depend on another's draws?"""

    def given(self, parameters: dict[str, Any]) -> tuple[Any, ...]:
        """The last argument of surrogate, noise and fit: the validated ``Parameters``, where it has fields at all."""
        return (self.Parameters(**parameters),) if self.Parameters.model_fields else ()

    @property
    def deterministic(self) -> bool:
        """Nothing is drawn: every replicate is the same number."""
        return self.noise is no_noise

    def why_not(self, setting: Setting) -> str | None:
        """Why the estimator cannot work in ``setting``, as a reason to print; None where it can.

        Raises PluginError where its own ``needs`` does not say.
        """
        if setting.family not in self.latents:
            return (
                f"{self.name} needs {' or '.join(sorted(self.latents))} latents; {setting.problem} has {setting.family}"
            )
        if setting.objective not in self.objectives:
            return f"{self.name} estimates {' or '.join(sorted(self.objectives))} gradients, not {setting.objective}"
        try:
            reason = self.needs(setting)
        except (Exception, SystemExit) as error:  # whatever a plugin raises is its fault
            text = " ".join(f"{type(error).__name__}: {message_of(error)}".split())[:160]
            raise PluginError(
                f"{self.name}: needs(setting) raises {text}\nit gives the reason as text, or None where it can work"
            ) from error
        if not isinstance(reason, str | None):
            raise PluginError(
                f"{self.name}: needs(setting) gives {reason!r}; expected the reason as text, or None where it can work"
            )
        return None if reason is None else f"{self.name}: {reason}"


def needs_pairs(setting: Setting) -> str | None:
    """The need of antithetic estimators: an even number of samples."""
    if setting.samples % 2:
        return f"samples come in antithetic pairs; samples = {setting.samples} is odd"
    return None
