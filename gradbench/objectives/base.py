"""What an objective is: E_q[f(z)] + r with r known in closed form, and how L samples of f are reduced.

r is differentiated as it stands. An estimator only decides how E_q of the reduced f is differentiated.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from gradbench.core.errors import NoClosedFormError
from gradbench.core.strict import StrictModel
from gradbench.core.types import Latents, PerSample, Values
from gradbench.families.base import Family
from gradbench.problems.networks import Calls

if TYPE_CHECKING:
    from gradbench.problems.base import Problem

Kl = Literal["analytic", "monte-carlo"]


class ObjectiveParameters(StrictModel):
    """What a suite may set of an objective; see `StrictModel`."""


@dataclass(frozen=True)
class Objective(ABC):
    """An objective of one problem at one minibatch, with θ live or held; the class is the objective as declared."""

    problem: Problem
    theta: Calls
    x: Tensor | None
    kl: Kl | None
    """How KL(q ‖ prior) is treated: in closed form, in r, or sampled, in f; None where there is none."""
    parameters: Any = None
    """An instance of ``Parameters``."""

    name: ClassVar[str]
    title: ClassVar[str]
    Parameters: ClassVar[type[ObjectiveParameters]] = ObjectiveParameters
    like: ClassVar[str | None] = None
    """An objective whose estimators estimate this one, too: they use nothing of it but f, r and how f is reduced.

    None: only those that name this one.
    """
    has_theta: ClassVar[bool] = True
    """Whether it has a θ-gradient: a cost has no θ, and an objective of φ alone holds it."""
    over_posterior: ClassVar[bool] = False
    """Whether it is the mean of `in_posterior` under p_θ(z|x), and not one of f under q.

    f is then the logarithm of an importance weight; estimators normalise those over their samples.
    """
    exchangeable: ClassVar[bool] = False
    """Whether `reduce_inside` gives the same in whatever order the samples are: sums over tuples are then over sets."""
    averaged_by: ClassVar[tuple[str, ...]] = ()
    """Estimators that a Monte-Carlo reference may average, the best first; the first that can work is taken.

    Empty where single samples are averaged: then the family of the latents says.
    """

    def __init_subclass__(cls, **keys: Any) -> None:
        """What belongs to a ``reduce`` is not inherited by a class with a reduction of its own."""
        super().__init_subclass__(**keys)
        if "reduce" in vars(cls):
            for name in ("in_groups", "reduce_inside", "weights", "path_weights", "exchangeable"):
                if name not in vars(cls):
                    setattr(cls, name, getattr(Objective, name))

    @classmethod
    @abstractmethod
    def why_not(cls, problem: type[Problem]) -> str | None:
        """Why it is no objective of ``problem``, with the remedy; None where it is."""

    @classmethod
    @abstractmethod
    def treatments(cls, problem: type[Problem], parameters: Any) -> tuple[Kl | None, ...]:
        """The treatments of the KL that there are with ``problem`` at ``parameters`` of its own, the default first."""

    @classmethod
    def inside(cls, parameters: Any, samples: int) -> int:
        """How many of the L samples are reduced together by more than a mean; 1 where it is a mean of single ones."""
        return 1

    @classmethod
    def reduces_together(cls) -> bool:
        """Whether it may reduce samples by more than a mean: it is then another objective for every L."""
        return cls.inside.__func__ is not Objective.inside.__func__

    @classmethod
    def why_not_samples(cls, parameters: Any, samples: int) -> str | None:
        """Why L = ``samples`` cannot be reduced, with the remedy; None where it can."""
        return None

    @classmethod
    def has_log_q(cls, kl: Kl | None) -> bool:
        """Whether f has −log q(z|x) in it."""
        return kl == "monte-carlo"

    @abstractmethod
    def f(self, z: Latents, q: Family) -> PerSample:
        """f(z), [R, L, B]; q enters where f holds −log q_φ(z|x), and nowhere else."""

    def remainder(self, q: Family) -> Values | None:
        """r, averaged over the minibatch, [R or 1]; None where it is 0."""
        return None

    def reduce(self, f: PerSample) -> Tensor:
        """What is averaged over independent draws of all L samples: their mean, or the bound that they make, [R, B]."""
        return f.mean(1)

    def log_joint(self, z: Latents) -> PerSample:
        """log p_θ(x, z), θ held, [R, L, B]: of an objective ``over_posterior``."""
        raise NotImplementedError(f"{self.name} is a mean under q")

    def in_posterior(self, z: Latents, q: Family) -> PerSample:
        """What is averaged under p_θ(z|x), [R, L, B], at z that are held: of an objective ``over_posterior``."""
        raise NotImplementedError(f"{self.name} is a mean under q")

    def in_groups(self, f: PerSample) -> Tensor:
        """f with its samples in the independent groups that `reduce` is a mean over, [R, M, inside, B].

        One group of all samples, unless the class says otherwise.
        """
        return f[:, None]

    def reduce_inside(self, f: PerSample) -> Tensor:
        """What the samples of one group make, [R, inside, B] to [R, B]."""
        return self.reduce(f)

    def weights(self, f: PerSample) -> Tensor:
        """What each sample adds to the gradient of `reduce`: u_l = ∂ reduce(f) / ∂f_l, [R, L, B]."""
        with torch.enable_grad():
            f = f if f.requires_grad else f.detach().requires_grad_()
            return torch.autograd.grad(self.reduce(f).sum(), f, create_graph=True)[0]

    def path_weights(self, f: PerSample) -> Tensor:
        """u_l − ∂u_l / ∂f_l, [R, L, B]: what weighs the path of a doubly reparameterised gradient, f being log w.

        Reparameterised once more, the score term E[u_l ∇_φ log q_φ(z_l)] is E[(∂u_l / ∂f_l) ∇_z f_l · ∇_φ z_l].
        """
        with torch.enable_grad():
            f = f if f.requires_grad else f.detach().requires_grad_()
            weights = self.weights(f)
            if not weights.requires_grad:  # those of a mean
                return weights
            slopes = [torch.autograd.grad(u.sum(), f, create_graph=True)[0] for u in weights.unbind(1)]
            return weights - torch.stack([slope[:, index] for index, slope in enumerate(slopes)], 1)

    def closed_form(self, phi: Calls, q: Family) -> Tensor | None:
        """The exact objective with single samples as a differentiable scalar, where a formula is known; else None."""
        return None

    def held(self) -> Self:
        """The same objective with θ held constant: for evaluations that must not reach the θ-gradient."""
        return replace(self, theta=self.theta.held())

    @property
    def data(self) -> Tensor:
        """The minibatch of a problem that has one."""
        assert self.x is not None, "a problem with a likelihood has data"
        return self.x


def average(values: PerSample) -> Values:
    """Average over samples and datapoints: [R, L, B] to [R]."""
    return values.mean((1, 2))


def has_closed_form_kl(problem: Problem, theta: Calls, q: Family) -> bool:
    """Whether KL(q ‖ prior) has a closed form: q and the prior are asked for it."""
    try:
        with torch.no_grad():
            q.kl(problem.prior(theta.held()))
    except (NoClosedFormError, NotImplementedError):  # the latter of a problem without a prior, which has no KL
        return False
    return True
