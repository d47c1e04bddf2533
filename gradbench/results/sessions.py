"""A run taken up again: whether it is the same run, what of it is stale, and what else has changed since.

A run is the same where its suite is; data files may have other contents, which makes their cells stale, and other
names. Every session leaves a record of its versions and hardware in the manifest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

from gradbench.results.columns import identity_of
from gradbench.results.growth import continues

Plain = Mapping[str, Any]

CONDITIONS = (
    *"gradbench_version git_commit python_version versions.torch versions.numpy versions.scipy versions.pandas".split(),
    *"versions.pyarrow versions.scikit-learn processor threads statistics_threads gpus tf32 deterministic".split(),
)
"""What of a session figures may depend on."""
RECORDED = (
    *"gradbench_version python_version versions platform processor cores threads memory_bytes gpus tf32".split(),
    *"statistics_threads deterministic command git started".split(),
)
"""What the manifest keeps of every session; of the first it stands at the manifest's top, too."""


def same_run(kept: Plain, now: Plain) -> bool:
    """Whether two manifests are of the same suite, whatever its data files are called and hold."""
    one, two = kept["suite_resolved"], json.loads(json.dumps(now["suite_resolved"]))
    cells, new_cells = one.get("cells", []), two["cells"]
    if _without_cells(one) != _without_cells(two) or len(cells) != len(new_cells):
        return False
    if not continues(one.get("measure", {}), two["measure"]):
        return False
    files, new_files = _files(kept), _files(now)
    return all(
        _same_cell(a, b, files.get(a["cell_id"], {}), new_files.get(b["cell_id"], {}))
        for a, b in zip(cells, new_cells, strict=True)
    )


def stale(kept: Plain, now: Plain, done: Set[str] = frozenset()) -> list[str]:
    """A sentence for each data file whose contents are not known to be those that the kept run measured.

    ``done``: cells that the folder has, those of contents that the file had before included.
    """
    before = {cell["cell_id"] for cell in kept["suite_resolved"].get("cells", [])}
    why = "its contents have changed since this run" if "data" in kept else "this run does not say what it held"
    found = []
    for file in now["data"]:
        if count := len(set(file["cells"]) - before):
            left = len(set(file["cells"]) - before - done)
            cells = "its cell is" if count == 1 else f"its {count} cells are"
            then = "measured anew" if left == count else f"{left} measured anew, the others were measured before"
            found.append(f"data {file['data']!r}: {why}; {cells} stale: {then}")
    return found


def resumed(kept: Plain, now: Plain, done: Set[str]) -> tuple[dict[str, Any], list[str]]:
    """The manifest of a run that is taken up again, and what there is to say of it: stale cells, another machine."""
    earlier, present = sessions(kept), session(now)
    notes = stale(kept, now, done)
    renewed = {key: now[key] for key in ("schema_version", "suite_resolved", "data")}
    manifest = {**kept, **renewed, "sessions": [*earlier, present]}
    if notes:
        manifest["finished"] = None
    if (found := changed(earlier, present)) is not None:
        notes.append(f"this run was begun under other versions or hardware: {found}")
    return manifest, notes


def session(manifest: Plain) -> dict[str, Any]:
    """What a manifest's top says of the session that wrote it."""
    return {key: manifest[key] for key in RECORDED if key in manifest}


def sessions(manifest: Plain) -> list[dict[str, Any]]:
    """The sessions of a run, in order; a manifest of before there was a list tells of the first alone."""
    found = manifest.get("sessions")
    kept = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return kept or [session(manifest)]


def changed(before: Sequence[Plain], now: Plain) -> str | None:
    """What differs from earlier sessions, in one line: which, what it was, what it is; None where nothing does."""
    found = []
    for key in CONDITIONS:
        was = list(dict.fromkeys(_shown(one, key) for one in before))
        if (value := _shown(now, key)) != was[-1] or len(was) > 1:
            others = [one for one in was if one != value]
            found.append(f"{key.removeprefix('versions.').replace('_', ' ')} was {' and '.join(others)}, is {value}")
    return "; ".join(found) or None


def _shown(one: Plain, key: str) -> str:
    if key == "git_commit":
        return str((one.get("git") or {}).get("commit", "none"))[:12]
    value: Any = one
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "unknown" if value is None else str(value)


def _without_cells(suite: Plain) -> dict[str, Any]:
    return {key: value for key, value in suite.items() if key not in ("cells", "measure")}


def _files(manifest: Plain) -> dict[str, Plain]:
    """By cell, its data file."""
    return {cell: file for file in manifest.get("data", []) for cell in file["cells"]}


def _same_cell(a: Plain, b: Plain, file_a: Plain, file_b: Plain) -> bool:
    """Whether two cells are one but for the contents, or else the name, of their data file."""
    if dict(_fixed(a)) != dict(_fixed(b)):
        return False
    if not file_b:
        return a.get("data") == b["data"] and a["cell_id"] == b["cell_id"]
    same_place = file_a.get("path") == file_b["path"] and file_a.get("chosen") == file_b["chosen"]
    return a.get("data") == b["data"] or same_place or file_a.get("sha256") == file_b["sha256"]


def _fixed(cell: Plain) -> Iterator[tuple[str, Any]]:
    return ((key, value) for key, value in identity_of(cell).items() if key not in ("cell_id", "data"))
