"""How far gradients along implicit paths are from unbiased: ‖E ĝ − ∇E f‖ / ‖∇E f‖ by quadrature, in a table.

    python benchmarks/implicit_bias.py

One latent variable (one Dirichlet variable of two categories), φ the logarithms of its shapes (of a von Mises law its
loc and log concentration). The expectation over the uniform noise is summed at nodes of the law, with the path's own
derivative; the gradient it is held against is the closed form.
"""

from __future__ import annotations

import torch

from gradbench.core.seeding import stream
from gradbench.families.base import Family, grid_of
from gradbench.problems import PROBLEMS
from gradbench.problems.networks import Calls

SHAPES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
NODES = 256
SCORES = 320
"""Of each of two uniform numbers, where the law has no inverse of its path."""


def noise_of_law(q: Family) -> tuple[torch.Tensor, torch.Tensor]:
    """Masses and noise of one draw: at the nodes of its grid, or at normal scores of the noise."""
    if q.has("noise_of"):
        support = grid_of(q, NODES)
        assert support is not None
        z, mass = support.all()
        noise = q.held().noise_of(z.detach())
        assert isinstance(noise, torch.Tensor)
        return mass.detach().flatten(), noise.transpose(0, 1)
    scores = torch.linspace(-8.1, 8.1, SCORES, dtype=torch.float64)
    weights, uniforms = torch.softmax(-(scores**2) / 2, 0), torch.special.ndtr(scores)
    pairs = torch.cartesian_prod(uniforms, uniforms).reshape(-1, 1, 1, *q.event)
    return torch.outer(weights, weights).flatten(), pairs


def bias(problem: str, **parameters: object) -> float:
    """The relative bias of the gradient along the path."""
    kind = PROBLEMS[problem]
    one = kind(kind.Parameters(**parameters), 0, stream(0))
    phi, theta = Calls(one.phi), Calls(one.theta)
    values = list(one.phi.parameters())
    mass, noise = noise_of_law(one.posterior(phi, None))
    found = torch.autograd.grad((mass * one.cost(one.posterior(phi, None).sample(noise)).flatten()).sum(), values)
    closed = one.closed_form(phi, theta, None)
    assert closed is not None
    exact = torch.autograd.grad(closed, values)
    away, whole = (torch.cat([part.flatten() for part in parts]) for parts in (found, exact))
    return float((away - whole).norm() / whole.norm())


def table(title: str, costs: tuple[str, ...], rows: dict[str, dict[str, dict[str, object]]]) -> None:
    """One line for each shape: the largest bias over the other parameters, by cost."""
    print(f"\n| {title} | {' | '.join(costs)} |\n|{' --- |' * (len(costs) + 1)}")
    for label, by_case in rows.items():
        worst = [max(bias(cost=cost, **case) for case in by_case.values()) for cost in costs]  # pyright: ignore
        print(f"| {label} | {' | '.join(f'{value:.0e}' for value in worst)} |")


def main() -> None:
    """Print the tables."""
    table("Gamma, shape", ("quadratic", "log"), {
        f"{shape:g}": {"": {"problem": "gamma-cost", "shape": shape}} for shape in SHAPES
    })  # fmt: skip
    table("Beta, a (the worst of b = 0.3 … 100)", ("linear", "quadratic", "log"), {
        f"{a:g}": {f"{b:g}": {"problem": "beta-cost", "a": a, "b": b} for b in SHAPES[1:]} for a in SHAPES
    })  # fmt: skip
    table("Dirichlet, concentration", ("linear", "quadratic", "log"), {
        f"{c:g}": {"": {"problem": "dirichlet-cost", "concentration": c, "categories": 2}} for c in SHAPES
    })  # fmt: skip
    table("von Mises, concentration", ("cos", "exp"), {
        f"{c:g}": {"": {"problem": "von-mises-cost", "concentration": c}} for c in SHAPES
    })  # fmt: skip


if __name__ == "__main__":
    main()
