"""The question, the answer in short, and where the chapters are."""

from __future__ import annotations

from rich.console import Group, RenderableType

from gradbench.report.plain import Text
from gradbench.report.story import CHAPTERS

QUESTION = "What is held constant in ∇_φ Σ_h Q_φ(h|x) log P_θ(x,h), and why?"
ANSWER = """\
h and log P_θ(x,h) are held. Q_φ(h|x) alone is differentiated:

    ∇_φ Σ_h Q_φ(h|x) log P_θ(x,h) = Σ_h log P_θ(x,h) ∇_φ Q_φ(h|x)

because the sum binds h: it runs over every value of h, whatever φ is, so no φ
is in any of its h, and none in log P_θ(x,h). With samples it looks as if φ came
in through h, for h was drawn from Q_φ. The sentence that unlocks it:

    The gradient of a sample average is not the sample average of gradients.
    Drawn h are numbers. φ moves only how often each of them comes up.

To follow φ all the same, either weigh each h by how much more often it comes
up, ∇ log Q_φ(h|x): the score function. Or, where h can be written as a smooth
function g(φ, ε) of noise that has no φ in it, differentiate through that: the
pathwise estimator, in which nothing is held. One or the other; not neither, and
not both."""

NEXT = """\
Next: gradbench explain --picture answer.png   what moves, in one picture
      gradbench explain pathwise       one estimator, each hold tried both ways
      gradbench new estimator mine     a skeleton to change
      gradbench check mine.py          is it right?"""


def story_opening() -> RenderableType:
    """The question and the answer in short."""
    chapters = "\n".join(f"   {name:10}{CHAPTERS[name].title}" for name in CHAPTERS)
    heading = "The rest in chapters, each also by itself with gradbench explain NAME:"
    return Group(Text(f"{QUESTION}\n", style="bold"), Text(f"{ANSWER}\n"), Text(f"{heading}\n\n{chapters}\n"))


def story_end() -> RenderableType:
    """What to do next."""
    return Text(NEXT, style="dim")
