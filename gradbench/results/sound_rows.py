"""What rows must be like for anything to be made of them; asked of files without a checksum, which anyone may write."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gradbench.results.columns import IDENTITY, PARAMETERS, REGISTRY
from gradbench.results.schema import arrow_compute

Mask = NDArray[np.bool_]
KNOWN_STATUSES = ("ok", "failed", "skipped")
NAMED = ("schema_version", "cell_id", "status", *IDENTITY)
"""Columns that a row without figures has, too, as far as they are not nullable."""
_BY_FIGURES = ("counts", "reference", "bias", "spread")
POSITIVE = ("samples", "replicates", "blocks")


def sound_rows(table: pa.Table) -> tuple[pa.Table, list[str]]:
    """The rows of ``table``, with every column, that are whole, each once; and a sentence on each kind left out.

    Rows that are the same in every column are one. Of those about one cell and group that differ, none is taken.
    """
    bad, said = np.zeros(table.num_rows, dtype=bool), []
    for why, found in _faults(table):
        if (fresh := found & ~bad).any():
            said.append(f"{_rows(int(fresh.sum()))} left out: {why}")
            bad |= fresh
    table = table.filter(pa.array(~bad))
    frame = table.select([name for name in table.column_names if name != "block_variance"]).to_pandas()
    again = np.asarray(frame.duplicated())
    once = frame[~again]
    ok = once.status == "ok"
    twice = once.duplicated(["cell_id", "group"], keep=False)
    twice |= once[ok].duplicated(list(IDENTITY), keep=False).reindex(once.index, fill_value=False)
    if again.any():
        said.append(f"{_rows(int(again.sum()))} left out: the same as another one")
    if twice.any():
        first = once[twice].iloc[0]
        said.append(
            f"{_rows(int(twice.sum()))} left out: there more than once, with other figures, such as "
            f"{first.estimator} L={first.samples} {first.group}"
        )
    kept = ~again
    kept[twice.index[twice]] = False
    return table.filter(pa.array(kept)), said


def _faults(table: pa.Table) -> Iterator[tuple[str, Mask]]:
    """What can be wrong with rows, and with which they are."""
    by_name = {column.name: column for column in REGISTRY}
    status = table.column("status")
    yield (
        "status is none of ok, failed, skipped",
        ~_mask(arrow_compute.is_in(status, value_set=pa.array(KNOWN_STATUSES))),
    )
    for name in dict.fromkeys(NAMED):
        if not by_name[name].nullable:
            yield f"no {name}", ~_mask(table.column(name).is_valid())
    for name in PARAMETERS:
        texts = table.column(name).unique().to_pylist()
        wrong = pa.array([text for text in texts if not _is_table(text)], pa.string())
        yield f"{name} is no table of parameters", _mask(arrow_compute.is_in(table.column(name), value_set=wrong))
    ok = _mask(arrow_compute.equal(status, "ok"))
    referred = _mask(table.column("reference").is_valid())
    for column in REGISTRY:
        if column.section in _BY_FIGURES and not column.nullable and column.type not in ("text", "json"):
            values = np.asarray(table.column(column.name).cast(pa.float64()).to_numpy(), dtype=float)
            asked = ok & referred if column.of_reference else ok
            yield f"no {column.name}", asked & np.isnan(values)
            if column.name in POSITIVE or column.name == "variance":
                yield f"{column.name} is out of range", ok & (values < (column.name in POSITIVE))
    yield "samples is out of range", ~(np.asarray(table.column("samples").cast(pa.float64())) >= 1)


def _is_table(text: str | None) -> bool:
    try:
        return isinstance(json.loads(text or ""), dict)
    except (ValueError, RecursionError):
        return False


def _mask(values: pa.ChunkedArray) -> Mask:
    return np.asarray(values.cast(pa.bool_()).fill_null(False), dtype=bool)


def _rows(count: int) -> str:
    return "1 row is" if count == 1 else f"{count} rows are"
