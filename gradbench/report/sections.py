"""The sections of an estimator's docstring, by name: *Estimates*, *Surrogate*, *Held constant* and so on."""

from __future__ import annotations

import re

HEADING = re.compile(r"^([A-Z][a-z]+(?: [a-z]+)?): ", re.MULTILINE)


def sections(documentation: str) -> dict[str, str]:
    """Title to text, with line breaks as they are; what stands before the first of them is under "".

    >>> sections("What it is.\\n\\nEstimates: ∇f,\\n    for any z.\\nCost: 1 evaluation.")
    {'': 'What it is.', 'Estimates': '∇f,\\nfor any z.', 'Cost': '1 evaluation.'}
    """
    before, *rest = HEADING.split(documentation)
    found = {"": before.strip()}
    for title, text in zip(rest[::2], rest[1::2], strict=True):
        found[title] = "\n".join(line.strip() for line in text.strip().splitlines())
    return found
