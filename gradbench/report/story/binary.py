"""The case that was asked: binary h and the joint P(x, h), in both forms of NVIL's appendix."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType

from gradbench.explaining.belief import BinaryCase, SummedGradient, measure_belief
from gradbench.report.format import number, percent
from gradbench.report.layout import table
from gradbench.report.plain import Text
from gradbench.report.story.chapter import Chapter, line_cells, line_table

_OPENING = """\
NVIL (Mnih & Gregor 2014) maximises E_Q[ log P_θ(x,h) − log Q_φ(h|x) ], the
ELBO. Its appendix differentiates in φ, by the product rule, with h bound by
the sum (write P for P_θ(x,h) and Q for Q_φ(h|x)):

   ∇ Σ_h Q log P = Σ_h log P ∇Q                no φ in log P: one term
   ∇ Σ_h Q log Q = Σ_h (log Q + 1) ∇Q          φ in both: Q ∇ log Q = 1 · ∇Q

So there are two forms of ∇ ELBO, and a third that can be sampled:

   Σ_h (log P − log Q − 1) ∇Q                  the entropy differentiated
   Σ_h (log P − log Q) ∇Q                      log Q held, as log P is
   E_Q[ (log P − log Q) ∇ log Q ]              since ∇Q = Q ∇ log Q

The first two are equal, as Σ_h ∇Q = ∇ Σ_h Q = ∇ 1 = 0: log Q does depend on
φ, but its own derivative is 0 on average. In θ, Q is what is constant.
"""

_LABELS = {
    ("score-function", frozenset()): "log Q held",
    ("score-function", frozenset({"q in f"})): "log Q differentiated (−1)",
    ("score-function", frozenset({"z"})): "hold of h dropped",
    ("fixed-sample", frozenset()): "no score: f averaged",
    ("fixed-sample", frozenset({"z"})): "  hold of h dropped",
}

FLOW = """\
because nothing flows through a comparison: h = [u < σ(logit)] jumps from 0 to
1 and has derivative 0 wherever it has one. For bits autograd holds h by itself,
and that alone is no answer: without log Q(h) to carry φ, the gradient is lost."""


def _numbers(found: BinaryCase) -> Iterator[RenderableType]:
    yield Text(f"In numbers: {found.setting}", style="bold")
    yield Text(f"Summed over all {found.states} states of h:\n")
    yield _sums(found)
    yield Text(f"The two forms differ by ‖Σ_h ∇Q‖ = {number(found.score_sum, 1)}, which is rounding.\n")
    yield Text("One draw of h instead of the sum: how often is the exact ∇_φ ELBO counted?", style="bold")
    shown = line_table("f = log P − log Q")
    for estimator, drop, line in found.rows:
        shown.add_row(_LABELS[estimator, drop], *line_cells(line))
    yield shown
    yield Text("Upper three: hold(f) · log Q(h) + f, the score function. Lower two: f alone;", style="dim")
    yield Text("what is left is the gradient of its −log Q, which is noise around 0.\n", style="dim")
    same = "nothing" if found.difference == 0 else f"up to {number(found.difference)}"
    yield Text(f"Dropping the hold of h changes {same} in any entry of {found.compared} gradients,")
    yield Text(FLOW)


def _sums(found: BinaryCase) -> RenderableType:
    shown = table(padding=(0, 2, 0, 0))
    shown.add_column("gradient in φ", no_wrap=True)
    shown.add_column("norm", justify="right", no_wrap=True)
    shown.add_column("off by", justify="right", no_wrap=True)
    rows: list[tuple[str, float, SummedGradient | None]] = [
        ("Σ_h Q (log P − log Q), by autograd, nothing held", found.whole.norm, None),
        ("the same sum, φ nudged along that: no calculus", found.nudged, None),
        ("Σ_h (log P − log Q − 1) ∇Q", found.entropy_differentiated.norm, found.entropy_differentiated),
        ("Σ_h (log P − log Q) ∇Q", found.log_q_held.norm, found.log_q_held),
        ("E_Q[ (log P − log Q) ∇ log Q ]", found.as_mean.norm, found.as_mean),
        ("Σ_h log P ∇Q, the first half alone", found.joint.norm, found.joint),
    ]
    for name, norm, one in rows:
        shown.add_row(name, f"{norm:.6f}", "" if one is None else _off(one))
    return shown


def _off(one: SummedGradient) -> str:
    return percent(one.off) if one.off > 1e-6 else number(one.off, 1)


BINARY_CHAPTER = Chapter(
    "binary", "The case that was asked: binary h and the joint P(x, h)", _OPENING, measure_belief, _numbers
)
