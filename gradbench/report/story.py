"""`gradbench explain`: the question, the two derivations side by side, and the numbers. 80 columns."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType

from gradbench.explaining.story import RIGHT, Story
from gradbench.explaining.surrogates import Line
from gradbench.report.format import number, percent
from gradbench.report.layout import table
from gradbench.report.plain import Text
from gradbench.report.words import STYLES

QUESTION = """\
What is held constant, and why?

The ELBO of one datapoint x, with latents z, encoder q_φ and decoder p_θ:

    ELBO(φ, θ) = E_q[ log p_θ(x|z) ] − KL( q_φ(z|x) ‖ p(z) ),   z ~ q_φ(z|x)

The expectation is estimated from L samples of z. But a sample came from q_φ,
so: when we differentiate in φ, is log p_θ(x|z) a constant or not?
Both answers are right. It depends on what z is.
"""

DERIVATIONS = """\
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
   surrogate, h( ) = held constant:    │  surrogate, nothing held:
   h(f(z)) · log q_φ( h(z) )           │  f( g(φ, ε) )

Same integral, two ways to write it, one gradient. What goes wrong is to mix:

   f( h(z) )                             z held as if it were data, and no
                                         log q to carry φ: the expectation's
                                         φ-gradient is lost  (fixed-sample)
   f( g(φ, ε) ) + h(f(z)) · log q_φ(h(z))
                                         both at once: it is counted twice
                                                           (double-counted)
"""

THETA = """\
θ: nothing is at stake. q_φ has no θ in it, so z is a constant in θ either way:
∇_θ E_q[ log p_θ(x|z) ] = E_q[ ∇_θ log p_θ(x|z) ]. All four are right."""

KL = """\
The KL has a closed form here, and so has its gradient: no sample is in it.
Sampled with the rest, f becomes log p_θ(x,z) − log q_φ(z|x). The mean is the
same, the noise is not. Then φ is in f in two places, in z and in log q_φ
itself. The second contributes −E_q[∇_φ log q_φ] = 0: holding it is no mistake
but a choice that changes only the noise (sticking-the-landing)."""

NEXT = """\
Next: gradbench explain pathwise       one estimator, each hold tried both ways
      gradbench new estimator mine    a skeleton to change
      gradbench check mine.py         is it right?"""


def story_text(story: Story) -> RenderableType:
    """The whole story."""
    return Group(*_parts(story))


def introduction() -> RenderableType:
    """What can be read while the numbers are measured."""
    title, rest = QUESTION.split("\n", 1)
    return Group(Text(title, style="bold"), Text(rest), Text(DERIVATIONS))


def story_numbers(story: Story) -> RenderableType:
    """What is shown once they are."""
    return Group(*_numbers(story))


def _parts(story: Story) -> Iterator[RenderableType]:
    yield introduction()
    yield from _numbers(story)


def _numbers(story: Story) -> Iterator[RenderableType]:
    yield Text("The proof in numbers", style="bold")
    yield Text(f"{story.setting}.")
    norms = f"‖∇_φ ELBO‖ = {number(story.phi_norm)}, ‖∇_θ ELBO‖ = {number(story.theta_norm)}"
    yield Text(f"Exact by {story.reference}: {norms}.\n")
    yield Text("φ: how often is the expectation's gradient ∇_φ E_q[f] counted?", style="bold")
    yield _comparison(story, "phi")
    yield Text("bias: ‖mean − exact‖ / ‖exact‖; variance: of one estimate, all of φ.", style="dim")
    yield Text("Means of the score function are taken less a control of mean exactly 0.", style="dim")
    ratio = _ratio(story)
    yield Text(f"Right is not the same as quiet: the score function has {ratio} × the variance.\n")
    yield Text(THETA)
    yield _comparison(story, "theta")
    yield Text(KL)
    yield _kl_table(story)
    yield Text(f"‖∇_φ KL‖ = {number(story.kl_norm)}: the gradient that is left when the rest is lost.\n", style="dim")
    yield Text(NEXT, style="dim")


def _ratio(story: Story) -> str:
    noisy, quiet = (story.main[name]["phi"].variance for name in RIGHT)
    return number(noisy / quiet, 2)


def _comparison(story: Story, part: str) -> RenderableType:
    shown = _columns("estimator")
    shown.add_row("exact", "1", "0 %", "0 %", "0", "")
    for name, found in story.main.items():
        shown.add_row(name, *_cells(found[part]))
    return shown


def _kl_table(story: Story) -> RenderableType:
    shown = _columns("φ-gradient", "KL")
    for name, kl, found in story.kl:
        shown.add_row(name, {"analytic": "analytic", "monte-carlo": "sampled"}[kl], *_cells(found["phi"]))
    return shown


def _columns(first: str, second: str | None = None):
    shown = table(padding=(0, 0, 0, 0))
    shown.add_column(first, no_wrap=True)
    if second:
        shown.add_column(second, no_wrap=True)
    shown.add_column("counted (95 %)", justify="right", no_wrap=True)
    shown.add_column("bias", justify="right", no_wrap=True)
    shown.add_column("at most", justify="right", no_wrap=True)
    shown.add_column("variance", justify="right", no_wrap=True)
    shown.add_column("verdict", no_wrap=True)
    return shown


def _cells(line: Line) -> tuple[str | Text, ...]:
    return (
        counted(line),
        percent(line.relative_bias),
        percent(line.relative_bias_high),
        number(line.variance),
        Text(line.verdict, style=STYLES[line.verdict]),
    )


def counted(line: Line) -> str:
    """``1.003 ± 0.012``; a dash where the exact gradient is 0."""
    if line.counted is None or line.counted_error is None:
        return "–"
    return f"{line.counted:.3f} ± {1.96 * line.counted_error:.3f}".replace("-0.000", "0.000")
