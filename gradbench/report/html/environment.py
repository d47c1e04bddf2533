"""Where and with what a run was measured, and how to measure it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from gradbench.core.printable import how_many, one_line, visible
from gradbench.report.format import size
from gradbench.results.store import Run

Fact = tuple[str, str]
"""What it is, and its value."""


def environment(run: Run) -> list[Fact]:
    """Versions, hardware and times, as the manifest and the rows have them."""
    manifest = run.manifest
    facts = [
        ("folder", str(run.path)),
        ("suite", str(manifest.get("suite") or "")),
        *_versions(manifest),
        *_machine(manifest),
        *_from_rows(run),
        *_sources(manifest),
        *_times(manifest),
    ]
    return [(name, one_line(value)) for name, value in facts if value]


def _versions(manifest: Mapping[str, Any]) -> Iterator[Fact]:
    yield "gradbench", str(manifest.get("gradbench_version") or "")
    git = manifest.get("git") or {}
    if isinstance(git, dict) and git.get("commit"):
        yield "gradbench's commit", f"{git['commit']}{', with changes' if git.get('dirty') else ''}"
    yield "Python", str(manifest.get("python_version") or "")
    versions = manifest.get("versions") or {}
    if isinstance(versions, dict):
        yield from ((str(name), str(version)) for name, version in versions.items())


def _machine(manifest: Mapping[str, Any]) -> Iterator[Fact]:
    yield "platform", str(manifest.get("platform") or "")
    yield "processor", str(manifest.get("processor") or "")
    if cores := manifest.get("cores"):
        yield "cores", f"{cores}, {manifest.get('threads', '?')} threads used"
    if isinstance(memory := manifest.get("memory_bytes"), int):
        yield "memory", size(memory)
    gpus = manifest.get("gpus") or []
    yield "GPUs", ", ".join(map(str, gpus)) if isinstance(gpus, list) and gpus else "none"
    for name in ("tf32", "deterministic"):
        if name in manifest:
            yield name, "on" if manifest[name] else "off"


def _from_rows(run: Run) -> Iterator[Fact]:
    """What the rows say they were measured on and with, where that is more than the manifest says."""
    rows = run.frame.drop_duplicates("cell_id")
    for name, column in (("cells' hardware", "hardware"), ("cells' torch", "torch_version")):
        counts = rows[column].dropna().value_counts()
        if len(counts) > 1 or (len(counts) == 1 and column == "hardware"):
            yield name, ", ".join(f"{value} ({how_many(count, 'cell')})" for value, count in counts.items())


def _sources(manifest: Mapping[str, Any]) -> Iterator[Fact]:
    for file in manifest.get("data") or []:
        yield "data file", f"{file.get('data')} (SHA-256 {file.get('sha256')})"
    for plugin in manifest.get("plugins") or []:
        version = plugin.get("version") or plugin.get("sha256") or ""
        yield "plugin", f"{plugin.get('source')} {version}".strip()


def _times(manifest: Mapping[str, Any]) -> Iterator[Fact]:
    yield "started", str(manifest.get("started") or "")
    yield "finished", str(manifest.get("finished") or "not finished")
    sessions = manifest.get("sessions") or []
    if len(sessions) > 1:
        yield "sessions", f"{len(sessions)}: it was stopped and taken up, or grown"


def command_of(manifest: Mapping[str, Any]) -> str:
    """The command that the run was begun with, as a shell takes it; empty where it is not known."""
    words = manifest.get("command")
    return visible(shlex.join(map(str, words))) if isinstance(words, list) and words else ""
