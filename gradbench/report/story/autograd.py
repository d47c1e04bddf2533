"""The same in the words of torch.distributions: sample(), rsample(), detach()."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType

from gradbench.explaining.spellings import AutogradCase, Spelled, measure_spellings
from gradbench.report.layout import table
from gradbench.report.plain import Text
from gradbench.report.story.chapter import Chapter, places_of, within

FAR_OFF = 5.0
"""Standard errors from the exact gradient from which a spelling is called wrong: one in a million that is right."""

_OPENING = """\
With torch.distributions, hold( ) is spelled in two ways:

   q.sample()       draws under no_grad: a number, hold(z)
   q.rsample()      g(φ, ε): autograd knows the way from z back to φ
   z.detach()       hold(z): q.rsample().detach() is as good as q.sample()
   q.log_prob(z)    leads to φ through q; through z, too, where z has a way back
"""


def _numbers(found: AutogradCase) -> Iterator[RenderableType]:
    flags = f"{found.sample_has_grad} of sample(), {found.rsample_has_grad} of rsample()"
    yield Text(f"   requires_grad    of a Normal: {flags}")
    for has, said in ((True, "yes"), (False, "no; rsample() raises")):
        names = ", ".join(name for name, known in found.has_rsample.items() if known is has)
        yield Text(f"   has_rsample      {names}: {said}")
    where = f"f(z) = (z − {found.k:g})², q = Normal({found.mean:g}, 1)"
    yield Text(f"\nIn numbers: {where}; averaged, then backward()", style="bold")
    shown = table(padding=(0, 0, 0, 0))
    shown.add_column("what is averaged", no_wrap=True)
    for name in ("in μ (95 %)", "in log σ"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("", no_wrap=True)
    shown.add_row("exact", *(places_of(value, 0) for value in found.exact), "")
    drawn = ""
    for row in found.rows:
        if row.draw != drawn:
            shown.add_row(Text(row.draw, style="bold"), "", "", "")
            drawn = row.draw
        shown.add_row(f" {row.averaged}", *_cells(row, found.exact))
    yield shown
    yield Text("–: no φ is in it, and backward() raises. With θ in f, as in a VAE, it does not:", style="dim")
    yield Text("then θ learns, and φ does not.", style="dim")


def _cells(row: Spelled, exact: tuple[float, float]) -> tuple[str | Text, ...]:
    if row.mean is None or row.log_scale is None:
        return "–", "–", Text("lost", style="red")
    parts = (row.mean, row.log_scale)
    right = all(abs(value - true) <= FAR_OFF * error for (value, error), true in zip(parts, exact, strict=True))
    verdict = Text("right", style="green") if right else Text("wrong", style="red")
    return (*(within(*part, 2) for part in parts), verdict)


AUTOGRAD_CHAPTER = Chapter(
    "autograd", "The same in torch: sample(), rsample(), detach()", _OPENING, measure_spellings, _numbers
)
