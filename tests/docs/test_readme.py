"""The README's Python does what it says."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "results" / "reference" / "quick"


def test_the_pandas_of_the_readme_mixes_no_problems() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = (part for part in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "gradbench.load" in part)
    *before, last = block.replace("results/quick-…", str(KEPT)).strip().split("\n")
    names: dict = {}
    exec("\n".join(before), names)
    table = eval(last, names)
    frame = names["frame"]
    measured = frame[(frame.group == "phi") & (frame.status == "ok")]
    # every measured variance once, as it was measured
    assert sorted(table.stack().dropna()) == sorted(measured.variance)
