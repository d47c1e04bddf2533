"""A Gaussian z: the two derivations side by side, the two mistakes, and the numbers of all four."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType

from gradbench.explaining.gaussian import RIGHT, GaussianCase, measure_gaussian
from gradbench.report.format import number
from gradbench.report.plain import Text
from gradbench.report.story.chapter import Chapter, line_cells, line_table

_OPENING = """\
In a VAE, ELBO(φ, θ) = E_q[ log p_θ(x|z) ] − KL( q_φ(z|x) ‖ p(z) ), and z is
not summed over but drawn. So in φ: is log p_θ(x|z) a constant or not? Both
answers are right. It depends on what z is.

   z is a BOUND VARIABLE               │  z is a FUNCTION OF φ
   the score function                  │  the pathwise estimator
                                       │
   E_q[f] = Σ_z q_φ(z) f(z)            │  z = g(φ, ε),  ε ~ N(0, I)
                                       │  E_q[f] = E_ε[ f(g(φ, ε)) ]
                                       │
   The sum runs over every z: z is a   │  The distribution of ε has no φ in
   name for its terms, and no φ is in  │  it. φ moves the point z at which f
   f(z) = log p_θ(x|z). Only the       │  is taken, so f is differentiated
   weight q_φ(z) depends on φ:         │  through z:
                                       │
   ∇_φ = Σ_z f(z) ∇_φ q_φ(z)           │  ∇_φ = E_ε[ ∇_φ f(g(φ, ε)) ]
       = E_q[ f(z) ∇_φ log q_φ(z) ]    │      = E_ε[ (∂z/∂φ)ᵀ ∇_z f(z) ]
                                       │
   surrogate, hold( ) = constant:      │  surrogate, nothing held:
   hold(f(z)) · log q_φ(hold(z))       │  f( g(φ, ε) )

Same integral, two ways to write it, one gradient. What goes wrong is to mix:

   f( hold(z) )                          z held as if it were data, and no
                                         log q to carry φ: the expectation's
                                         φ-gradient is lost  (fixed-sample)
   f( g(φ, ε) ) + hold(f(z)) · log q_φ(hold(z))
                                         both at once: it is counted twice
                                                           (double-counted)
"""

THETA = """\
θ: nothing is at stake. q_φ has no θ in it, so z is a constant in θ either way:
∇_θ E_q[ log p_θ(x|z) ] = E_q[ ∇_θ log p_θ(x|z) ]. All four are right."""


def _numbers(found: GaussianCase) -> Iterator[RenderableType]:
    yield Text("The proof in numbers", style="bold")
    yield Text(f"{found.setting}.")
    norms = f"‖∇_φ ELBO‖ = {number(found.phi_norm)}, ‖∇_θ ELBO‖ = {number(found.theta_norm)}"
    yield Text(f"Exact by {found.reference}: {norms}.\n")
    yield Text("φ: how often is the expectation's gradient ∇_φ E_q[f] counted?", style="bold")
    yield _comparison(found, "phi")
    yield Text("bias: ‖mean − exact‖ / ‖exact‖; variance: of one estimate, all of φ.", style="dim")
    yield Text("Means of the score function are taken less a control of mean exactly 0.", style="dim")
    yield Text(f"‖∇_φ KL‖ = {number(found.kl_norm)}: the gradient that is left when the rest is lost.", style="dim")
    noisy, quiet = (found.rows[name]["phi"].variance for name in RIGHT)
    times = number(noisy / quiet, 2)
    yield Text(f"Right is not the same as quiet: the score function has {times} × the variance.\n")
    yield Text(THETA)
    yield _comparison(found, "theta")


def _comparison(found: GaussianCase, part: str) -> RenderableType:
    shown = line_table("estimator")
    shown.add_row("exact", "1", "0 %", "0 %", "0", "")
    for name, lines in found.rows.items():
        shown.add_row(name, *line_cells(lines[part]))
    return shown


GAUSSIAN_CHAPTER = Chapter(
    "gaussian", "A Gaussian z: held or not, both are right", _OPENING, measure_gaussian, _numbers
)
