"""Pages show commands, programs and what they print; here they run, and print that.

Two machines print the same words, and figures that may differ in their last digits: numbers are held to each other
within a tenth. Times are another matter. So what depends on the clock is left out: in every line, what stands from the
first duration (23.9 ms) on, which in a table are the columns of time and of what is multiplied by it; in a table of
ratios, the column of time; stars, and the sentences about them and about noisy machines.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("executed", ROOT / "docs" / "executed.py")
assert spec is not None
assert spec.loader is not None
executed = importlib.util.module_from_spec(spec)
sys.modules["executed"] = executed
spec.loader.exec_module(executed)

NUMBER = re.compile(r"(?<![\w.])-?\d[\d.,]*(?:e-?\d+)?")
DURATION = re.compile(r"\d[\d.]* (?:ns|µs|ms|s|min|h)\b.*")
CLOCK = re.compile(
    r"^(?:noisy machine: .*?quiet\s+one|\* least variance × time .*?intervals"
    r"|no \*: intervals do not tell .*?the\s+least)\n",
    re.MULTILINE | re.DOTALL,
)
RATIOS_OF_TIME = "time 95 %"
TOLERANCE = 0.1


def told(line: str) -> tuple[str, list[float]]:
    """A line's words, with # for each number, and the numbers; nothing from the first duration on."""
    line = DURATION.sub("# time", line).replace("*", " ")
    numbers = [float(text.rstrip(".,").replace(",", "")) for text in NUMBER.findall(line)]
    return " ".join(re.sub(r"─+", "─", NUMBER.sub("#", line)).split()), numbers


def without_clock(text: str) -> list[str]:
    """The lines of an output, without the sentences about times, and without a column of ratios of times."""
    lines, column = [], slice(0, 0)
    for line in CLOCK.sub("", text).rstrip().splitlines():
        if RATIOS_OF_TIME in line:
            start = line.index(RATIOS_OF_TIME)
            after = line[start + len(RATIOS_OF_TIME) :]
            column = slice(start - 1, len(line) - len(after.lstrip()))
        elif not line.strip() or line.startswith(("marks:", "no room")):
            column = slice(0, 0)
        lines.append(line[: column.start] + " " + line[column.stop :])
    return lines


def agree(one: str, other: str) -> bool:
    """Whether two outputs are the same but for times and for the last digits of figures."""
    a, b = ([told(line) for line in without_clock(text)] for text in (one, other))
    return len(a) == len(b) and all(
        words == same and all(abs(x - y) <= TOLERANCE * max(abs(x), abs(y)) + 0.1 for x, y in zip(xs, ys, strict=True))
        for (words, xs), (same, ys) in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("page", executed.PAGES, ids=lambda page: page.name)
def test_a_page_shows_what_its_commands_print(page: Path, tmp_path: Path, fresh) -> None:
    names: dict[str, object] = {}
    with executed.clone(tmp_path):
        for step in executed.steps(page.read_text(encoding="utf-8")):
            printed = executed.run(step, names)
            if step.span is not None:
                assert agree(printed, step.printed), f"{step.source}\n{printed}\nrun python docs/executed.py {page}"


def test_other_words_other_figures_and_missing_lines_are_seen() -> None:
    line = "disarm  2  8.62 8.52–8.77  0 %  2.6 % unbiased  7.91 ms  0.0682*\n"
    assert agree(line, line.replace("7.91 ms  0.0682*", "180 µs  1.2e-4"))
    assert agree(line, line.replace("8.62", "8.63"))
    assert not agree(line, line.replace("8.62", "9.99"))
    assert not agree(line, line.replace("unbiased", "biased"))
    assert not agree(line, line + line)
    some = "* least variance × time of the estimators not found biased, for each L, beyond the intervals\n"
    none = "no *: intervals do not tell whose variance × time is the least\n"
    assert agree(line + some, line + none)
    assert agree(line + some.replace("found biased", "found\nbiased"), line)
    assert not agree("✓ mine: unbiased within 2.8 %\n", "✗ mine: biased by 28 %\n")


def test_steps_are_found_where_they_stand() -> None:
    page = 'a\n```toml title="x.toml"\nn = 1\n```\n```console\n$ echo 1\n1\n$ echo 2 && echo 3\n2\n3\n```\n'
    page += "```python\nprint(4)\n```\n\n```text\nold\n```\n\n```bash\nno\n```\n"
    found = list(executed.steps(page))
    assert [(step.kind, step.source, step.printed) for step in found] == [
        ("file", "n = 1\n", ""),
        ("command", "echo 1", "1\n"),
        ("command", "echo 2 && echo 3", "2\n3\n"),
        ("program", "print(4)\n", "old\n"),
    ]
    assert found[0].span is None
    assert all(page[slice(*step.span)] == step.printed for step in found[1:])


def test_filling_writes_what_is_printed(tmp_path: Path) -> None:
    page = "```console\n$ echo new\nold\n```\nand\n```python\nprint(6 * 7)\n```\n\n```text\n41\n```\n"
    with executed.clone(tmp_path):
        assert executed.filled(page) == page.replace("old", "new").replace("41", "42")


def test_what_fails_is_no_output(tmp_path: Path) -> None:
    with executed.clone(tmp_path), pytest.raises(RuntimeError, match="nothing-like-this"):
        executed.filled("```console\n$ gradbench show nothing-like-this\n```\n")
