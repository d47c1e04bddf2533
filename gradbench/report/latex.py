"""Tables for papers in LaTeX, to be put in as they are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pylatexenc.latexencode import UnicodeToLatexEncoder

from gradbench.core.printable import one_line
from gradbench.report.pivots import Pivot, PivotCell

_ENCODER = UnicodeToLatexEncoder(
    non_ascii_only=False,
    unknown_char_policy="unihex",
    unknown_char_warning=False,
    replacement_latex_protection="braces",
)


def latex_text(text: str) -> str:
    r"""``text`` on one line of LaTeX, every character of it shown.

    >>> print(latex_text("my_est 50% & φ"), latex_text("95 %"))
    my\_est 50\% \& \ensuremath{\varphi} 95 \%
    """
    return _ENCODER.unicode_to_latex(one_line(text))


def latex_tables(tables: Iterable[Pivot], name: str, *, siunitx: bool = False) -> str:
    """Tables with captions and labels, behind a comment that names the packages they need."""
    body = "\n\n".join(_table(pivot, f"{name}-{index}", siunitx) for index, pivot in enumerate(tables, 1))
    packages = ["booktabs", *(["siunitx"] if siunitx else [])]
    packages += ["amssymb"] if re.search(r"\\mathbb|\\lesssim|\\gtrsim", body) else []
    lines = [rf"% \usepackage{{{package}}}" for package in packages]
    lines += [r"% \sisetup{detect-weight = true}  % so that bold figures are bold"] if siunitx else []
    return "\n".join(["% packages:", *lines, "", body]) + "\n"


def _table(pivot: Pivot, label: str, siunitx: bool) -> str:
    count = len(pivot.samples)
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{_caption(pivot)}}}",
        rf"  \label{{tab:{re.sub('[^A-Za-z0-9-]+', '-', label)}}}",
        rf"  \begin{{tabular}}{{l{'r' * count}}}",
        r"    \toprule",
        rf"    & \multicolumn{{{count}}}{{c}}{{$L$}} \\",
        rf"    \cmidrule(l){{2-{count + 1}}}",
        f"    estimator & {' & '.join(map(str, pivot.samples))} \\\\",
        r"    \midrule",
    ]
    for name, cells in pivot.rows:
        lines.append(f"    {' & '.join([latex_text(name), *(_cell(cell, siunitx) for cell in cells)])} \\\\")
    return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}"])


def _cell(cell: PivotCell, siunitx: bool) -> str:
    if cell.kind != "figure":
        return {"skipped": "--", "failed": "failed", "absent": ""}[cell.kind]
    if "∞" in cell.text or not cell.text:
        shown = latex_text(cell.text)
    elif siunitx:
        shown = rf"\num{{{cell.text}}}"
    else:
        shown = re.sub(r"(?<!e)-", "$-$", cell.text)
    shown = rf"\textbf{{{shown}}}" if cell.best else shown
    return shown + (r"$^\dagger$" if cell.biased else "")


def _caption(pivot: Pivot) -> str:
    words = [latex_text(f"{pivot.title}: {', '.join(pivot.constants)}.")]
    return " ".join([*words, *(_explained(pivot))])


def _explained(pivot: Pivot) -> Iterator[str]:
    if pivot.has(lambda cell: "(" in cell.text):
        yield r"In parentheses: the longer arm of the 95\,\% interval, in units of the last digit."
    if pivot.has(lambda cell: cell.best):
        yield f"Bold: the {pivot.better} for each $L$ of those with noise and not biased, and all within its interval."
    if pivot.has(lambda cell: cell.biased):
        yield r"$^\dagger$: biased."
    if pivot.has(lambda cell: cell.kind == "skipped"):
        yield "--: does not work there."
