"""Binary h and the joint P(x, h): the sums over all states, what a draw of h makes of them, and what holding h does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from gradbench.checking.targets import Target
from gradbench.core.errors import UsageError
from gradbench.core.seeding import stream
from gradbench.explaining.bench import Bench
from gradbench.explaining.surrogates import Line
from gradbench.families.base import states_of
from gradbench.problems.networks import Calls

ELBO_NUDGE = 1e-4
"""The length that φ is moved by, either way, along the gradient."""
COMPARED_DRAWS = 64
"""Draws whose gradients with and without the hold of h are compared."""


@dataclass(frozen=True)
class SummedGradient:
    """A gradient in φ that was summed over every state of h."""

    norm: float
    off: float
    """‖it − the gradient that autograd finds of the whole sum‖ / ‖that‖."""


@dataclass(frozen=True)
class BinaryCase:
    """Everything that the chapter on binary h shows. f = log P(x, h) − log Q(h|x)."""

    setting: str
    states: int
    joint_has_phi: bool
    """Whether autograd finds any φ in log P(x, h) at the states of h."""
    drawn_has_phi: bool
    """Whether it finds any in a drawn h, by the family's own sampler, nothing held."""
    whole: SummedGradient
    """Σ_h Q f, differentiated by autograd wherever Q stands."""
    joint: SummedGradient
    """Its first half, Σ_h log P ∇Q: the question's own term."""
    entropy_differentiated: SummedGradient
    """Σ_h (log P − log Q − 1) ∇Q."""
    log_q_held: SummedGradient
    """Σ_h (log P − log Q) ∇Q."""
    as_mean: SummedGradient
    """E_Q[(log P − log Q) ∇ log Q]."""
    score_sum: float
    """‖Σ_h ∇Q‖: what the two forms differ by."""
    nudged: float
    """Slope of the sum when φ is moved along its gradient: ‖∇‖, by no calculus at all."""
    rows: list[tuple[str, frozenset[str], Line]]
    """Estimator, holds that were dropped, and what one draw of h gives on average."""
    difference: float
    """The largest difference that dropping the hold of h makes to any entry of any of ``compared`` gradients."""
    compared: int

    def data(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        found = {name: value for name, value in asdict(self).items() if name != "rows"}
        rows = [{"estimator": name, "dropped": sorted(drop), **line.data()} for name, drop, line in self.rows]
        return {**found, "rows": rows}


BELIEF_ROWS = (
    ("score-function", frozenset()),
    ("score-function", frozenset({"q in f"})),
    ("score-function", frozenset({"z"})),
    ("fixed-sample", frozenset()),
    ("fixed-sample", frozenset({"z"})),
)


def measure_belief(bench: Bench) -> BinaryCase:
    """Sum over the states of h, and measure estimators that draw it."""
    target = bench.belief_network()
    sums = _Sums(target)
    whole = sums.gradient(lambda log_p, log_q: log_q.exp() * (log_p - log_q))
    forms = {
        "joint": lambda log_p, log_q: log_p * log_q.exp(),
        "entropy_differentiated": lambda log_p, log_q: (log_p - log_q - 1).detach() * log_q.exp(),
        "log_q_held": lambda log_p, log_q: (log_p - log_q).detach() * log_q.exp(),
        "as_mean": lambda log_p, log_q: (log_q.exp() * (log_p - log_q)).detach() * log_q,
    }
    found = {name: _sum(sums.gradient(form), whole) for name, form in forms.items()}
    rows = [(name, drop, bench.lines(target, name, drop)["phi"]) for name, drop in BELIEF_ROWS]
    held, dropped = (bench.surrogate(target, *BELIEF_ROWS[row]).gradients(COMPARED_DRAWS) for row in (0, 2))
    return BinaryCase(
        setting=f"a sigmoid belief network, {target.axes.parameters.latent} bits, {sums.batch} real digits",
        states=sums.states,
        joint_has_phi=sums.joint_has_phi(),
        drawn_has_phi=_drawn(target).requires_grad,
        whole=_sum(whole, whole),
        score_sum=float(sums.gradient(lambda log_p, log_q: log_q.exp()).norm()),
        nudged=sums.slope(whole),
        rows=rows,
        difference=max(float((held[name] - dropped[name]).abs().max()) for name in held),
        compared=COMPARED_DRAWS,
        **found,
    )


def _drawn(target: Target) -> Tensor:
    """h as the posterior samples it, with nothing held."""
    problem = target.point.problem
    q = problem.posterior(Calls(problem.phi), target.point.x)
    return q.sample(q.noise(1, 1, stream(target.seed, "a drawn h")))


def _sum(gradient: Tensor, whole: Tensor) -> SummedGradient:
    return SummedGradient(float(gradient.norm()), float((gradient - whole).norm() / whole.norm()))


class _Sums:
    """Sums over every state of h at a target, and their gradients in φ as one vector."""

    def __init__(self, target: Target) -> None:
        assert target.point.x is not None
        self.problem, self.x = target.point.problem, target.point.x
        self.batch = self.x.shape[2]
        self.phi = dict(self.problem.phi.named_parameters())
        support = states_of(self.problem.posterior(Calls(self.problem.phi), self.x))
        if support is None:
            raise UsageError(f"{target.problem}: its latents have no states to be summed over")
        self.states = support.size
        self.z = support.all()[0].detach()

    def log_joint(self) -> Tensor:
        """log P(x, h) of every state, [1, states, B]."""
        theta = Calls(self.problem.theta)
        return self.problem.log_likelihood(theta, self.x, self.z) + self.problem.prior(theta).log_prob(self.z)

    def joint_has_phi(self) -> bool:
        found = torch.autograd.grad(self.log_joint().sum(), list(self.phi.values()), allow_unused=True)
        return any(gradient is not None for gradient in found)

    def value(self, form: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """``form`` of log P(x, h) and log Q(h|x), summed over states and averaged over the minibatch."""
        log_q = self.problem.posterior(Calls(self.problem.phi), self.x).log_prob(self.z)
        return form(self.log_joint(), log_q).sum(1).mean()

    def gradient(self, form: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """The gradient of that in φ."""
        found = torch.autograd.grad(self.value(form), list(self.phi.values()))
        return torch.cat([gradient.flatten() for gradient in found])

    def slope(self, direction: Tensor) -> float:
        """Central difference of the ELBO as φ is moved along ``direction``, which is put back."""
        unit, values = direction / direction.norm(), []
        kept = torch.nn.utils.parameters_to_vector(self.phi.values()).detach().clone()
        with torch.no_grad():
            for sign in (1, -1):
                torch.nn.utils.vector_to_parameters(kept + sign * ELBO_NUDGE * unit, self.phi.values())
                values.append(float(self.value(lambda log_p, log_q: log_q.exp() * (log_p - log_q))))
            torch.nn.utils.vector_to_parameters(kept, self.phi.values())
        return (values[0] - values[1]) / (2 * ELBO_NUDGE)
