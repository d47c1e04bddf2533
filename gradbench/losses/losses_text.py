"""What was measured of losses as a table of plain text, for whoever prints it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Any

import pandas as pd
from tabulate import tabulate

from gradbench.core.printable import listed_names, one_line

UNKNOWN_NUMBER = "–"
TEXT_WIDTH = 80


def losses_text(frame: pd.DataFrame, pairs: pd.DataFrame, notes: Iterable[str], group: str = "all") -> str:
    """The rows of one group, then pairs of losses, where biases are, what failed, and notes."""
    parts = []
    if len(rows := frame[(frame.group == group) & (frame.status == "ok")]):
        parts.append(_rows_table(rows))
    if len(pairs):
        parts.append(_pairs_table(pairs[pairs.group == group]))
    said = [f"{name}: biased in {listed_names(tensors)}" for name, tensors in biased_tensors(frame).items()]
    failed: list[Any] = list(frame[frame.status == "failed"].itertuples())
    said += [f"{row.estimator}: failed ({row.error_type}): {row.message}" for row in failed]
    lines = [textwrap.fill(one_line(line), TEXT_WIDTH, subsequent_indent="  ") for line in (*said, *notes)]
    return "\n\n".join([*parts, "\n".join(lines)]).strip()


def biased_tensors(frame: pd.DataFrame) -> dict[str, list[str]]:
    """By loss, the parameter tensors that its gradient is biased in."""
    groups = set(frame.group)
    tensors = {one for one in groups if "." in one and not any(other.startswith(f"{one}.") for other in groups)}
    own = frame[(frame.status == "ok") & frame.group.isin(tensors)]
    found: dict[str, list[str]] = {}
    for name, some in own.groupby("estimator", sort=False):
        biased = some[some.verdict == "biased"].group.drop_duplicates().tolist()
        if biased:
            found[str(name)] = biased
    return found


def _rows_table(rows: pd.DataFrame) -> str:
    body, several, referred = [], rows.samples.nunique() > 1, rows.reference.notna().any()
    timed = rows.seconds.notna().any()
    each: list[Any] = list(rows.itertuples())
    for row in each:
        line = {"loss": one_line(row.estimator), **({"L": row.samples} if several else {})}
        line |= {"variance": _number(row.variance), "95 % interval": _span(row.variance_low, row.variance_high)}
        if referred:
            line["bias"] = _share(row.relative_bias, row.bias_norm)
            line["at most"] = _share(row.relative_bias_high, row.bias_high)
            line["verdict"] = row.verdict
        else:
            line["snr"] = _number(row.snr)
        if timed:
            line["ms"] = _number(row.seconds, 1000)
        body.append(line)
    return _table(body)


def _pairs_table(pairs: pd.DataFrame) -> str:
    each: list[Any] = list(pairs.itertuples())
    return _table(
        {
            "a": one_line(row.a),
            "b": one_line(row.b),
            "difference": _share(row.relative_difference, row.difference),
            "at most": _share(row.relative_difference_high, row.difference_high),
            "means": row.verdict,
            "var a / b": _number(row.variance_ratio),
            "95 % interval": _span(row.variance_ratio_low, row.variance_ratio_high),
        }
        for row in each
    )


def _table(body: Iterable[dict[str, Any]]) -> str:
    return tabulate(list(body), headers="keys", tablefmt="simple", disable_numparse=True)


def _known(value: Any) -> bool:
    return value is not None and not pd.isna(value)


def _number(value: Any, times: float = 1) -> str:
    return f"{float(value) * times:.3g}" if _known(value) else UNKNOWN_NUMBER


def _span(low: Any, high: Any) -> str:
    if not _known(low) or not _known(high):
        return UNKNOWN_NUMBER
    return _number(low) if low == high else f"{_number(low)}–{_number(high)}"


def _share(relative: Any, absolute: Any) -> str:
    """A bias as a share of the gradient; as it is, where the gradient is 0."""
    if _known(relative):
        return f"{100 * relative:.3g} %"
    return f"{_number(absolute)} abs." if _known(absolute) else UNKNOWN_NUMBER
