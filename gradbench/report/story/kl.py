"""The KL in closed form, or sampled with the rest."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType

from gradbench.explaining.gaussian import KlCase, measure_kl
from gradbench.report.plain import Text
from gradbench.report.story.chapter import Chapter, line_cells, line_table

_OPENING = """\
Gaussians have a KL in closed form, and so has its gradient: no sample is in it.
Sampled with the rest, f becomes log p_θ(x,z) − log q_φ(z|x), as for bits. The
mean is the same, the noise is not. Then φ is in f in two places, in z and in
log q_φ itself. The second contributes −E_q[∇_φ log q_φ] = 0: holding it is no
mistake but a choice that changes only the noise. Along the path that choice is
called sticking-the-landing; in the score function it is the −1 of NVIL, left
out.
"""


def _numbers(found: KlCase) -> Iterator[RenderableType]:
    yield Text(f"{found.setting}.\n")
    shown = line_table("φ-gradient", "KL")
    for name, kl, line in found.rows:
        shown.add_row(name, {"analytic": "analytic", "monte-carlo": "sampled"}[kl], *line_cells(line))
    yield shown


KL_CHAPTER = Chapter("kl", "The KL: in closed form, or sampled with the rest", _OPENING, measure_kl, _numbers)
