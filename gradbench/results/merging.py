"""Shards of a run, or runs of several machines, put together into one."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from gradbench.core.errors import RunError
from gradbench.results import sessions, slopes, store
from gradbench.results.cells import write_batch
from gradbench.results.columns import BY_NAME, IDENTITY, SCHEMA_VERSION, TIMED
from gradbench.results.files import TRAINED_FOLDER, cannot_write, default_folder, is_plain, listed_files, write_file
from gradbench.results.gathering import Gathered, gathered
from gradbench.results.manifest import read_manifest
from gradbench.results.schema import SCHEMA, arrow_compute

OF_THE_MACHINE = frozenset(
    (*TIMED, "verdict", "message", "schema_version", "suite", "data", "flops", "peak_bytes", "engine")
) | {name for name, column in BY_NAME.items() if column.section == "provenance"}
"""Columns in which rows of one cell may differ: measured elsewhere, or made of the run that they are in."""


@dataclass
class MergedPart:
    """A run that is merged: its folder, manifest and rows."""

    path: Path
    manifest: dict[str, Any]
    rows: Gathered


@dataclass
class Merged:
    """What came of merging."""

    run: store.Run
    twice: int = 0
    """Cells that several runs have, with the same figures."""
    warnings: list[str] = field(default_factory=list)


def merge(out: Path | None, paths: Sequence[Path]) -> Merged:
    """Put runs of one suite together into the new folder ``out``, by default one below ``results/``.

    Each cell is taken once: measured before failed, of the run named first. Runs may have cells in common if their
    figures are the same to the bit. Verdicts are corrected over all rows. Raises RunError where the runs differ in
    what is measured, a cell has other figures in another run, or ``out`` is there already.
    """
    parts = [_part(path) for path in dict.fromkeys(paths)]
    out = out or _default(parts[0])
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out}: exists already; give --out a new folder")
    _require_same(parts)
    table, twice = _united(parts)
    manifest = _manifest(parts)
    with store.reserved(out):
        manifest, _ = store.create(out, manifest)
        _copy_parameters(parts, out)
        write_batch(out, table)
        measured = set(table.column("cell_id").to_pylist())
        if all(cell["cell_id"] in measured for cell in manifest["suite_resolved"]["cells"]):
            ends = [str(part.manifest.get("finished") or "") for part in parts]
            manifest["finished"] = max(ends) or manifest["started"]
        run = store.finish(out, manifest)
        store.write_table(out / store.SLOPES_TABLE, slopes.slopes(run.ok()))
    said = [f"{part.path}: {name} {why}" for part in parts for name, why in part.rows.unreadable.items()]
    said += [f"{part.path}: {warning}" for part in parts for warning in part.rows.warnings]
    return Merged(run, twice, said)


def _default(part: MergedPart) -> Path:
    name = str(part.manifest["suite_resolved"].get("name", ""))
    name = name if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) else "merged"
    return default_folder(name)


def _part(path: Path) -> MergedPart:
    store.require_run(path)
    manifest = read_manifest(path).manifest
    return MergedPart(path, manifest, gathered(path, manifest, SCHEMA.names))


def _require_same(parts: Sequence[MergedPart]) -> None:
    """Raise RunError unless all parts are of one suite, measured alike."""
    first = parts[0]
    one = first.manifest["suite_resolved"]
    for other in parts[1:]:
        two = other.manifest["suite_resolved"]
        if one.get("name") != two.get("name"):
            a, b = one.get("name"), two.get("name")
            raise RunError(f"{other.path}: is of suite {b}, {first.path} of {a}; merge runs of one suite")
        a, b = one.get("measure", {}), two.get("measure", {})
        for key in [*a, *(key for key in b if key not in a)]:
            if key != "budget" and key in a and key in b and a[key] != b[key]:
                raise RunError(
                    f"{other.path}: was measured with {key} = {b[key]}, {first.path} with {a[key]}; "
                    f"merge runs that were measured alike"
                )


def _united(parts: Sequence[MergedPart]) -> tuple[pa.Table, int]:
    """The rows of all parts, each cell once; and how many cells several have. Raises RunError where they differ."""
    kept = parts[0].rows.table
    twice = 0
    for index, part in enumerate(parts[1:], start=1):
        table = part.rows.table
        both = sorted(set(_cells(kept, "ok")) & set(_cells(table, "ok")))
        if both:
            twice += len(both)
            _require_equal(_of(kept, both), _of(table, both), parts[:index], part)
        bad = [cell for cell in _cells(kept, "failed") if cell in set(_cells(table))]
        better = set(bad) & (set(_cells(table, "ok")) | set(_cells(table, "skipped")))
        kept = _of(kept, sorted(better), without=True)
        kept = pa.concat_tables([kept, _of(table, sorted(set(_cells(kept))), without=True)])
    _require_told_apart(kept)
    return kept, twice


def _require_told_apart(table: pa.Table) -> None:
    """Raise RunError where two cells are the same but for what a data file or a plugin held."""
    rows = table.filter(arrow_compute.equal(table.column("status"), "ok")).select(list(IDENTITY)).to_pandas()
    again = rows[rows.duplicated()]
    if len(again):
        row = again.iloc[0]
        what = f"{row.problem} {row.estimator} L={row.samples}"
        raise RunError(
            f"{what}: was measured with other contents of data {row.data!r}, or with another version of a plugin\n"
            f"merge runs of the same data and plugins"
        )


def _require_equal(a: pa.Table, b: pa.Table, before: Sequence[MergedPart], part: MergedPart) -> None:
    """Raise RunError, naming one, where cells of both tables have different figures."""
    names = [name for name in SCHEMA.names if name not in OF_THE_MACHINE]
    order = [("cell_id", "ascending"), ("group", "ascending")]
    one, two = (table.select(names).sort_by(order).to_pandas() for table in (a, b))
    where = [str(p.path) for p in before]
    if len(one) != len(two) or (one[["cell_id", "group"]] != two[["cell_id", "group"]]).any(axis=None):
        raise RunError(f"{part.path}: has other groups of cells than {', '.join(where)}; merge without one of them")
    for name in names:
        later = BY_NAME[name].later  # the older of two runs may not say it
        pairs = zip(one[name], two[name], strict=True)
        same = [_same(x, y) or (later and (pd.isna(x) or pd.isna(y))) for x, y in pairs]
        if not all(same):
            x, y = one.iloc[same.index(False)], two.iloc[same.index(False)]
            shown = f"{x.problem} {x.estimator} L={x.samples} {x['group']}: {name} is {_short(x[name])}"
            raise RunError(
                f"{part.path}: has other figures than {', '.join(where)} for {len(set(one.cell_id[~np.array(same)]))} "
                f"cells, {shown} and {_short(y[name])}\nmerge without one of them, or measure it again"
            )


def _short(value: Any) -> str:
    return f"{value!r}" if not isinstance(value, np.ndarray) else f"{len(value)} values"


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and a.tobytes() == b.tobytes()
    return a == b or (a is None and b is None) or (a != a and b != b)


def _cells(table: pa.Table, status: str | None = None) -> list[str]:
    if status is not None:
        table = table.filter(arrow_compute.equal(table.column("status"), status))
    return table.column("cell_id").unique().to_pylist()


def _of(table: pa.Table, cells: Sequence[str], without: bool = False) -> pa.Table:
    """The rows of ``cells``, or those of the others."""
    mask = arrow_compute.is_in(table.column("cell_id"), value_set=pa.array(list(cells), pa.string()))
    return table.filter(arrow_compute.invert(mask) if without else mask)


def _manifest(parts: Sequence[MergedPart]) -> dict[str, Any]:
    """The first manifest with the cells, claims, data, plugins, seeds and sessions of all."""
    first = parts[0].manifest
    suites = [part.manifest["suite_resolved"] for part in parts]
    data: dict[str, dict[str, Any]] = {}
    for part in parts:
        for file in part.manifest.get("data", []):
            known = data.setdefault(file["sha256"], {**file, "cells": []})
            known["cells"] = list(dict.fromkeys([*known["cells"], *file["cells"]]))
    return {
        **first,
        "schema_version": SCHEMA_VERSION,
        "suite_resolved": {
            **suites[0],
            "expect": _once(claim for suite in suites for claim in suite.get("expect", [])),
            "cells": list({cell["cell_id"]: cell for suite in suites for cell in suite.get("cells", [])}.values()),
        },
        "seeds": sorted({seed for part in parts for seed in part.manifest.get("seeds", [])}),
        "data": list(data.values()),
        "plugins": _once(plugin for part in parts for plugin in part.manifest.get("plugins", [])),
        "sessions": _once(session for part in parts for session in sessions.sessions(part.manifest)),
        "started": min((str(part.manifest["started"]) for part in parts if part.manifest.get("started")), default=None),
        "finished": None,
        "merged": [
            {"run": part.path.name, "started": part.manifest.get("started"), "cells": len(_cells(part.rows.table))}
            for part in parts
        ],
    }


def _once(things: Any) -> list[Any]:
    return list({json.dumps(thing, sort_keys=True): thing for thing in things}.values())


def _copy_parameters(parts: Sequence[MergedPart], out: Path) -> None:
    """Copy what was trained, so that the merged run can be gone on with; each file has a checksum of its own."""
    target = out / TRAINED_FOLDER
    for part in parts:
        for file in listed_files(part.path, f"{TRAINED_FOLDER}/*.safetensors"):
            if is_plain(part.path, file) and not (target / file.name).exists():
                try:
                    target.mkdir(exist_ok=True)
                    held = file.read_bytes()
                except OSError as error:
                    raise cannot_write(out, target / file.name, error) from error
                write_file(out, target / file.name, held)
