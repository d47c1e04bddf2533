"""The answer of `gradbench check`: the verdict first, then what is wrong, then the figures behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Group, RenderableType

from gradbench.checking.sequential import POWER, Finding
from gradbench.checking.verdict import LeftOut, Result
from gradbench.core.printable import how_many, one_line
from gradbench.report.fitted import FittedColumn, FittedTable, FittedTables
from gradbench.report.format import number, percent
from gradbench.report.plain import Text
from gradbench.report.words import STYLES, ZERO_MARK, group_title, without_gradient

MARKS = {"unbiased": "✓", "biased": "✗", "unresolved": "?", "violation": "✗"}
LEFT_OUT_WIDTH = 100
COLOURS = STYLES | {"violation": "red"}
_COLUMNS = (
    FittedColumn("tensor", "tensor", "left", folds=True, breaks=True, least=25),
    FittedColumn("counted", "counted"),
    FittedColumn("relative_bias", "bias/‖g‖", goes=1),
    FittedColumn("relative_bias_high", "at most"),
    FittedColumn("variance", "var/‖g‖²", goes=0),
    FittedColumn("verdict", "verdict", "left", folds=True),
)


def checked_text(result: Result) -> RenderableType:
    """A check in words and figures."""
    return Group(*_parts(result))


def _parts(result: Result) -> Iterator[RenderableType]:
    mark = Text(one_line(f"{MARKS[result.verdict]} {result.estimator}: "), style="bold")
    yield mark + Text(one_line(_headline(result)), style=COLOURS[result.verdict])
    for broken in result.violations:
        yield Text(one_line(f"  {broken.target}: {broken.seen}"))
        yield Text(one_line(f"  remedy: {broken.remedy}"))
    for found in result.diagnoses:
        yield Text(one_line(f"  {group_title(found.part)}, {found.target}: {found.message}"), style="red")
    if result.findings:
        yield Text("")
        yield FittedTables(_COLUMNS, _tables(result.findings), "a wider terminal, or --json")
        yield Text("")
        yield from _footnotes(result)
    if result.left_out:
        yield Text(one_line(left_out_line(result.left_out)), style="dim")


def left_out_line(left_out: Mapping[str, LeftOut], width: int = LEFT_OUT_WIDTH) -> str:
    """Where nothing was measured, in one line of at most ``width``: as many names as fit, alike causes together."""
    causes: dict[str, list[str]] = {}
    for why in left_out.values():
        names = causes.setdefault(why.cause, [])
        names += [why.what] if why.what not in names else []
    line = ""
    for most in range(max(map(len, causes.values())), -1, -1):
        told = "; ".join(cause + _some(names, most) for cause, names in causes.items())
        count = how_many(len(left_out), "target")
        line = f"not measured at {count}: {told} (--json: reasons)"
        if len(line) <= width:
            break
    return line


def _some(names: list[str], most: int) -> str:
    """The first ``most`` of ``names``, with an ellipsis for the rest; nothing where none is to be shown."""
    shown = [*names[:most], *(["…"] if len(names) > most else [])]
    return f" {', '.join(shown)}" if most else ""


def _headline(result: Result) -> str:
    if result.verdict == "violation":
        return f"breaks the contract ({result.violations[0].kind})"
    if result.verdict == "unbiased":
        text = f"unbiased within {percent(result.bound)}"
        return text if result.as_declared else f"{text}, though declared biased"
    said = ", ".join(f"{group_title(part)} {verdict}" for part, verdict in result.parts.items())
    if result.verdict == "biased":
        return f"biased ({said})" + (", as declared" if result.as_declared else "")
    return f"unresolved ({said}): it would take about {result.needed} replicates (--replicates {_round(result.needed)})"


def _round(replicates: int) -> int:
    return -(-replicates // 1024) * 1024


def _tables(findings: list[Finding]) -> list[FittedTable]:
    """One table per target."""
    tables = []
    for target in dict.fromkeys(finding.target for finding in findings):
        some = [finding for finding in findings if finding.target == target]
        counts = f"L = {some[0].samples}, {some[0].replicates} replicates ({some[0].reference})"
        shown = FittedTable(f"{one_line(target)}, {counts}")
        for finding in some:
            relative = finding.variance / finding.gradient_norm**2 if finding.gradient_norm > 0 else None
            cells = (
                group_title(finding.tensor),
                _counted(finding),
                _share(finding, finding.relative_bias),
                _share(finding, finding.relative_bias_high),
                number(relative),
                Text(finding.verdict, style=STYLES[finding.verdict]),
            )
            shown.add(cells)
        tables.append(shown)
    return tables


def _share(finding: Finding, value: float | None) -> str:
    """A bias as a share of ‖g‖; of √variance, and marked so, where ‖g‖ is 0."""
    marked = value is not None and without_gradient(finding.gradient_norm, finding.variance)
    return percent(value) + (ZERO_MARK if marked else "")


def _counted(finding: Finding) -> str:
    if finding.counted is None:
        return "–"
    return f"{finding.counted:.3f} ± {1.96 * (finding.counted_error or 0.0):.3f}"


def _footnotes(result: Result) -> Iterator[RenderableType]:
    yield Text(
        "counted: how often the exact gradient g is in the mean; 1 is right. All ± and bounds: 95 %",
        style="dim",
    )
    if any(without_gradient(f.gradient_norm, f.variance) for f in result.findings):
        yield Text(f"{ZERO_MARK} ‖g‖ = 0: as a share of √variance, the standard deviation of one gradient", style="dim")
    detectable = (
        f"; found with {POWER:.0%}: a bias of {percent(result.detectable)} along any g" if result.detectable else ""
    )
    yield Text(f"false alarms: at most {result.false_alarms:.0%} of checks{detectable}", style="dim")
