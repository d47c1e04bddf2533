"""Text from outside as it must stand in what others read and obey: a spreadsheet, Markdown.

What a terminal obeys is made visible on the way (`gradbench.core.printable`). LaTeX is escaped by pandas.
"""

from __future__ import annotations

import re

from gradbench.core.printable import one_line, visible

FORMULA = re.compile(r"(^|[;\t\r\n])(?= *[=+\-@＝＋－＠])")
"""Where a spreadsheet would begin a formula: at the start, and behind what it may take for the end of a cell."""
ACTIVE = re.compile(r"([\\`*_\[\]<>|~&$])")
"""Characters of Markdown that mean something within a line, to some reader of it."""


def spreadsheet_cell(text: str) -> str:
    r"""``text`` as a cell that no spreadsheet runs: an apostrophe stands before what reads as a formula.

    >>> print(spreadsheet_cell("=HYPERLINK(1)"), spreadsheet_cell("a;=1"), spreadsheet_cell('{"k":-1}'))
    '=HYPERLINK(1) a;'=1 {"k":-1}
    """
    # a tab or a return at the beginning is taken for one, too
    begun = "'" if text[:1] in ("\t", "\r") else ""
    return visible(begun + FORMULA.sub(r"\1'", text))


def markdown_text(text: str) -> str:
    r"""``text`` on one line of Markdown, every character of it shown.

    >>> print(markdown_text("a|b *c* <b> $x$"))
    a\|b \*c\* \<b\> \$x\$
    """
    return ACTIVE.sub(r"\\\1", one_line(text))
