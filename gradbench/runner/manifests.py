"""The manifest of a run as a session begins: made, or that of a run that goes on."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from gradbench import plugins
from gradbench.core.errors import RunError
from gradbench.results import sessions, store
from gradbench.results.cells import FOLDER
from gradbench.results.files import REFERENCES, TRAINED_FOLDER, write_file
from gradbench.results.growth import block_size
from gradbench.results.manifest import FILE, has_manifest, read_manifest
from gradbench.runner.execution import Execution
from gradbench.runner.kept_moments import MOMENTS
from gradbench.runner.machine import now, provenance
from gradbench.suite.measure import MOST_BLOCKS
from gradbench.suite.suites import Suite

SUITE_FILE = "suite.toml"
"""Of a run that was asked for without a suite file: the suite that it is of."""


def opened(suite: Suite, out: Path, execution: Execution) -> tuple[Suite, dict[str, Any], list[str]]:
    """A run folder for ``suite``: the suite as it is to be measured there, its manifest, and what there is to say.

    A run with fewer replicates gets more blocks of the size that it has. Raises RunError where ``out`` cannot be
    written, holds another run, or one with more replicates.
    """
    if execution.fresh:
        _start_over(out, suite.name)
    kept = _kept(out)
    measure = kept["suite_resolved"].get("measure", {}) if kept.get("suite") == suite.name else {}
    suite, notes = _grown(suite, measure, out)
    manifest = {
        "schema_version": store.SCHEMA_VERSION,
        "suite": suite.name,
        "suite_resolved": suite.resolved(),
        "seeds": sorted({cell.axes.seed for cell in suite.cells}),
        "data": suite.data(),
        **provenance(execution.threads),
        "plugins": [plugin.record() for plugin in plugins.loaded()],
        "started": now(),
        "finished": None,
    }
    manifest["sessions"] = [sessions.session(manifest)]
    manifest, said = store.create(out, manifest)
    if suite.text is not None:
        write_file(out, out / SUITE_FILE, suite.text.encode())
    return suite, manifest, [*notes, *said]


def _kept(out: Path) -> dict[str, Any]:
    """The manifest of the run that a folder holds; empty where there is none that can be used."""
    try:
        return read_manifest(out).manifest if has_manifest(out) else {}
    except RunError:
        return {}


def _grown(suite: Suite, kept: dict[str, Any], out: Path) -> tuple[Suite, list[str]]:
    """``suite`` with blocks of the size that a run has already, where that makes it one with more replicates."""
    measure, size = suite.measure, block_size(kept)
    if size is None or kept["replicates"] == measure.replicates:
        return suite, []
    if kept["replicates"] > measure.replicates:
        raise RunError(
            f"{out}: holds {kept['replicates']} replicates of each cell, more than the {measure.replicates} asked for\n"
            f"go on with --replicates {kept['replicates']}, or give another --out"
        )
    blocks, left = divmod(measure.replicates, size)
    if left or blocks > MOST_BLOCKS:
        near = min(blocks, MOST_BLOCKS) * size
        raise RunError(
            f"{out}: has blocks of {size} replicates, at most {MOST_BLOCKS} of them, and {measure.replicates} is no "
            f"such number\ngive --replicates {near}, or another --out"
        )
    note = f"{kept['replicates']} replicates are there: goes on to {measure.replicates}, in {blocks} blocks of {size}"
    return replace(suite, measure=measure.model_copy(update={"blocks": blocks})), [note]


def _start_over(out: Path, suite: str) -> None:
    """Empty a run folder of the same suite. Raises RunError where it is of another."""
    if not has_manifest(out):
        return
    if (kept := _kept(out).get("suite")) != suite:
        raise RunError(
            f"{out}: holds a run of {kept or 'no suite that can be read'}, not of {suite}; give another --out"
        )
    for file in (*out.glob("*.parquet"), *out.glob("*.damaged")):
        file.unlink()
    for name in (FOLDER, MOMENTS, REFERENCES, TRAINED_FOLDER):
        if (out / name).is_dir() and not (out / name).is_symlink():
            shutil.rmtree(out / name)
    (out / FILE).unlink(missing_ok=True)
