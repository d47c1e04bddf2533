"""What an estimator is: a pure function from noise to one surrogate value per replicate, and what is declared of it.

Differentiating the surrogate gives the gradient estimate of E_q[f(z)]; the closed-form remainder of the
objective is added by the caller. A surrogate never mixes replicates and draws nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from pydantic import ConfigDict

from gradbench.core.errors import PluginError, message_of
from gradbench.core.strict import StrictModel
from gradbench.core.types import Noise
from gradbench.estimators.draws import SAMPLES, Draws
from gradbench.estimators.scope import Part, Scope, Unbiased
from gradbench.families import FAMILIES
from gradbench.families.base import Family
from gradbench.objectives import OBJECTIVES
from gradbench.objectives.base import Kl
from gradbench.objectives.chosen import ChosenObjective
from gradbench.problems.base import Problem

CONSTANT_REPLICATES = 4
"""Replicates of an estimator that draws nothing: enough to see that they are all the same number."""


class EstimatorParameters(StrictModel):
    """What a suite may set of an estimator; see `StrictModel`.

    An estimator whose ``Parameters`` has fields gets them as one object: the last argument of its surrogate, noise
    and fit, and ``setting.parameters`` in its needs and evaluations. The docstring of a field is its meaning.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)


@dataclass(frozen=True)
class Factor:
    """One line of an estimator's ledger: a factor of the surrogate, what is differentiated through it, and why."""

    name: str
    held: bool
    why: str
    phi: bool = False
    """Whether the φ-gradient flows through it, on some problem that the estimator runs on."""
    theta: bool = False
    """Whether the θ-gradient flows through it."""


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
    family: type[Family]
    """The family of the latents, of each layer where there are several."""
    latent_dim: int
    objective: ChosenObjective
    samples: int
    parameters: Any = field(default_factory=EstimatorParameters)
    """The estimator's own parameters, an instance of its ``Parameters``."""
    layers: int = 1
    """Layers of latents, each drawn given the one before."""
    states: int | None = None
    """States of a datapoint's latents; None where they are not finitely many."""
    shared: bool = False
    """Whether the minibatch has its latents in common."""
    linear_view: bool = False
    """Whether the problem says through which matrix alone its likelihood or cost sees z."""

    @classmethod
    def of(
        cls, problem: type[Problem], parameters: Any, objective: ChosenObjective, samples: int, own: EstimatorParameters
    ) -> Setting:
        """The setting of an estimator with its ``own`` parameters, on ``problem`` with ``parameters``."""
        family, dim = FAMILIES.find(problem.family), problem.latent_dim(parameters)
        layers, states = problem.layers(parameters), problem.states(parameters)
        shared, linear_view = not problem.independent_datapoints, problem.has_linear_view()
        return cls(problem.name, family, dim, objective, samples, own, layers, states, shared, linear_view)

    @property
    def kl(self) -> Kl | None:
        """How the KL is treated; None where there is none."""
        return self.objective.kl


@dataclass(frozen=True)
class Evaluations:
    """What one gradient takes of f, per datapoint."""

    forward: float | int
    """Evaluations of f, that is of log p(x, z)."""
    gradients: float | int = 0
    """Gradients of f in z that the surrogate takes itself, beside the one backward pass that every estimator takes."""

    @property
    def total(self) -> float:
        """Both together, as the column ``evaluations`` has them."""
        return float(self.forward + self.gradients)


def one_per_sample(setting: Setting) -> float:
    """One evaluation of f for each of the L samples."""
    return float(setting.samples)


def no_needs(setting: Setting) -> str | None:
    """No need beyond latents and objective."""
    return None


def needs_log_q(setting: Setting) -> str | None:
    """The need of estimators that act on the −log q term of f: that there is one."""
    if setting.kl is None:
        return "there is no log q term in a cost"
    if not setting.objective.has_log_q:
        return "there is no log q term in f when the KL is analytic; use kl = 'monte-carlo'"
    return None


def needs_entrywise(setting: Setting) -> str | None:
    """The need of estimators that weigh each parameter of q by itself: one entry for each latent variable."""
    if not setting.family.entrywise:
        return f"the parameters of {setting.family.name} latents are not one for each latent variable"
    return None


def needs_pairs(setting: Setting) -> str | None:
    """The need of antithetic estimators: an even number of samples."""
    if setting.samples % 2:
        return f"samples come in antithetic pairs; samples = {setting.samples} is odd"
    return None


CAPABILITIES = {
    "reparameterised": "a differentiable sampling path",
    "implicit": "a sampling path whose derivative is implicit",
    "from_uniforms": "noise that is made of uniforms",
    "opposite": "antithetic noise",
    "noise_of": "an inverse of the sampling path",
    "mean": "a known mean",
    "perturbed_given": "a relaxation given their samples",
    "weak_derivatives": "weak derivatives of their law",
    "neighbours": "values that can be listed one variable at a time",
    "states": "finitely many states",
    "grid": "a quadrature",
}
"""What a family may be asked for, in words."""


@dataclass(frozen=True)
class Estimator:
    """An estimator as declared; every declaration is held to a measurement by the contract tests."""

    name: str
    title: str
    surrogate: Callable[..., Any]
    """``(objective, q, noise[, state][, parameters]) -> values [R]``: ``state`` only where there is a ``fit``,

    ``parameters`` only where ``Parameters`` has fields.
    """
    ledger: tuple[Factor, ...]
    paper: str
    latents: frozenset[str] | None = None
    """The families of latents that it is for, by name; None: any that has what it ``uses``."""
    uses: frozenset[str] = frozenset()
    """What it asks of a family: any of ``CAPABILITIES``."""
    layered: bool = False
    """Whether it works on layers of latents, each drawn given the one before."""
    unbiased: Mapping[str, Unbiased] = field(default_factory=lambda: {"elbo": Unbiased(), "cost": Unbiased()})
    """The objectives that it estimates, by name, with the scope in which each part of the gradient is unbiased."""
    draws: Draws = SAMPLES
    """What is drawn for one gradient."""
    needs: Callable[[Setting], str | None] = no_needs
    """Why it cannot work in a setting, beyond latents and objective; None where it can."""
    evaluations: Callable[[Setting], float | Evaluations] = one_per_sample
    """What one gradient takes, per datapoint: evaluations of f, or those beside its gradients in z."""
    Parameters: type[EstimatorParameters] = EstimatorParameters
    fit: Callable[..., dict[str, torch.Tensor]] | None = None
    """(objective, q held, samples, generator[, parameters]) -> state: trained before measuring, on its own draws."""
    state_by_datapoint: frozenset[str] = frozenset()
    """Names in ``state`` that have an entry for each datapoint, along the axis of datapoints: [1, 1, B, …].

    Everything else in it is shared by all datapoints.
    """
    fits_on_all_rows: bool = False
    """Whether its fitted state holds means over all the rows that minibatches are drawn from.

    Then ``fit`` is given all of them; else some are enough. Of one fixed minibatch, those are its own rows.
    """
    scored: bool = True
    """True if the surrogate contains f · log q: the engine then uses the score as a control variate for the bias test

    (not for the reported variance).
    """
    mixes_datapoints: bool = False
    """Whether one datapoint's gradient depends on another's draws."""

    def given(self, parameters: dict[str, Any]) -> tuple[Any, ...]:
        """The last argument of surrogate, noise and fit: the validated ``Parameters``, where it has fields at all."""
        return (self.Parameters(**parameters),) if self.Parameters.model_fields else ()

    def noise(self, q: Family, replicates: int, samples: int, generator: torch.Generator, *given: Any) -> Noise:
        """What is drawn for ``replicates`` gradient estimates, each tensor with R first; ``q`` is held."""
        return self.draws.noise(q, replicates, samples, generator, *given)

    @property
    def deterministic(self) -> bool:
        """Nothing is drawn: every replicate is the same number."""
        return self.draws.nothing

    def planned(self, replicates: int, blocks: int) -> tuple[int, int]:
        """Blocks, and replicates in each, of ``replicates`` in ``blocks``: a few where every one is the same number."""
        return (CONSTANT_REPLICATES, 1) if self.deterministic else (blocks, replicates // blocks)

    def cost(self, setting: Setting) -> Evaluations:
        """What one gradient takes in ``setting``."""
        found = self.evaluations(setting)
        return found if isinstance(found, Evaluations) else Evaluations(float(found))

    def scopes(self, objective: str) -> Unbiased | None:
        """What it declares of ``objective``, or of the one that this one is like; None where it is not for it."""
        like = OBJECTIVES[objective].like
        return self.unbiased.get(objective) or (self.unbiased.get(like) if like else None)

    def scope(self, objective: str, part: Part, parameters: Any = None) -> Scope:
        """In which scope the φ- or θ-part of the gradient of ``objective`` is unbiased. Raises KeyError for others.

        ``parameters``: an instance of ``Parameters``; None: its defaults.
        """
        if (found := self.scopes(objective)) is None:
            raise KeyError(objective)
        return getattr(found.under(self.Parameters() if parameters is None else parameters), part)

    def is_unbiased(self, objective: str, part: Part, samples: int, parameters: Any = None) -> bool:
        """Whether that part is declared unbiased with L = ``samples``, at ``parameters`` or the defaults."""
        return self.scope(objective, part, parameters).holds(samples)

    def suits(self, family: type[Family]) -> bool:
        """Whether it is for latents of ``family``, which have what it uses."""
        return (self.latents is None or family.name in self.latents) and all(map(family.has, self.uses))

    def why_not(self, setting: Setting) -> str | None:
        """Why the estimator cannot work in ``setting``, as a reason to print; None where it can.

        Raises PluginError where its own ``needs`` does not say.
        """
        family = setting.family
        if self.latents is not None and family.name not in self.latents:
            return f"{self.name} needs {' or '.join(sorted(self.latents))} latents; {setting.problem} has {family.name}"
        for what in sorted(self.uses):
            if not family.has(what):
                wanted = CAPABILITIES.get(what, what)
                return (
                    f"{self.name} needs latents with {wanted}; the {family.name} latents of {setting.problem} have none"
                )
        if setting.layers > 1 and not self.layered:
            return f"{self.name} is for one layer of latents; {setting.problem} has {setting.layers}"
        if self.scopes(setting.objective.name) is None:
            return f"{self.name} estimates {' or '.join(sorted(self.unbiased))} gradients, not {setting.objective.name}"
        if (why_not := setting.objective.why_not_samples(setting.samples)) is not None:
            return f"{self.name}: {why_not}"
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
