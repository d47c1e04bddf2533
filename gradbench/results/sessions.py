"""A run taken up again: whether it is the same run, what of it is stale, and what else has changed since.

A run is the same where its suite is, by its name, its replicates and a cell at least. Data files and plugins may have
other contents, which makes their cells stale; cells that the suite has no longer are set aside. Every session leaves a
record of its versions and hardware in the manifest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

from gradbench.core.canonical import canonical
from gradbench.results.columns import identity_of
from gradbench.results.growth import continues

Plain = Mapping[str, Any]

CONDITIONS = (
    *"gradbench_version git_commit python_version versions.torch versions.numpy versions.scipy versions.pandas".split(),
    *"versions.pyarrow versions.scikit-learn processor threads statistics_threads gpus tf32 deterministic".split(),
)
"""What of a session figures may depend on."""
NOT_SAID = "unknown"
RECORDED = (
    *"gradbench_version python_version versions platform processor cores threads memory_bytes gpus tf32".split(),
    *"statistics_threads deterministic command git started".split(),
)
"""What the manifest keeps of every session; of the first it stands at the manifest's top, too."""


def same_run(kept: Plain, now: Plain) -> bool:
    """Whether a run may be taken up as another: of one suite, measured alike, with a cell in common at least."""
    one, two = kept["suite_resolved"], now["suite_resolved"]
    if one.get("name") != two["name"] or not continues(one.get("measure", {}), two["measure"]):
        return False
    return not two["cells"] or any(before is not None for before in _paired(kept, now).values())


def stale(kept: Plain, now: Plain, done: Set[str] = frozenset()) -> list[str]:
    """A sentence for each data file and plugin that is not known to be what the kept run measured, and on the suite.

    ``done``: cells that the folder has, those set aside before included.
    """
    pairs = _paired(kept, now)
    new = [cell for cell, before in pairs.items() if before is None]
    gone = _ids(kept) - {before for before in pairs.values() if before is not None}
    found = [
        f"{what}; {_anew([cell for cell in cells if pairs[cell] not in (None, cell)], done)}"
        for what, cells in _changed_parts(kept, now)
        if any(pairs[cell] not in (None, cell) for cell in cells)
    ]
    if new and gone:
        of = "1 cell of this run is" if len(gone) == 1 else f"{len(gone)} cells of this run are"
        found.append(f"the suite has changed: {of} not in it any more, and set aside")
    if new and (left := len(set(new) - done)):
        found.append(f"the suite has grown: {'1 cell is' if left == 1 else f'{left} cells are'} new")
    return found


def resumed(kept: Plain, now: Plain, done: Set[str]) -> tuple[dict[str, Any], list[str]]:
    """The manifest of a run that is taken up again, and what there is to say of it: stale cells, another machine.

    A part of the suite that brings nothing new leaves the run whole.
    """
    earlier, present = sessions(kept), session(now)
    notes = stale(kept, now, done)
    renewed = {key: now[key] for key in ("schema_version", "suite_resolved", "data", "plugins")}
    if _ids(now) < _ids(kept):
        suite = {**kept["suite_resolved"], "measure": now["suite_resolved"]["measure"]}
        renewed = {"schema_version": now["schema_version"], "suite_resolved": suite}
    manifest = {**kept, **renewed, "finished": None, "sessions": [*earlier, present]}
    if (found := changed(earlier, present)) is not None:
        notes.append(f"this run was begun under other versions or hardware: {found}")
    return manifest, notes


def _paired(kept: Plain, now: Plain) -> dict[str, str | None]:
    """By cell of the suite as it is now, the cell of the kept run that it was, whatever its data and plugins held."""
    files, new_files = _files(kept), _files(now)
    before: dict[str, list[Plain]] = {}
    for cell in kept["suite_resolved"].get("cells", []):
        before.setdefault(_fixed(cell), []).append(cell)
    found: dict[str, str | None] = {}
    for cell in now["suite_resolved"]["cells"]:
        name, alike = cell["cell_id"], before.get(_fixed(cell), [])
        same = [one["cell_id"] for one in alike if one["cell_id"] == name]
        same += [
            one["cell_id"]
            for one in alike
            if _same_data(one, cell, files.get(one["cell_id"], {}), new_files.get(name, {}))
        ]
        found[name] = same[0] if same else None
    return found


def _changed_parts(kept: Plain, now: Plain) -> Iterator[tuple[str, list[str]]]:
    """What may have changed under the cells of a suite, in words, with the cells that it is in."""
    known = {file["sha256"] for file in kept.get("data", [])}
    for file in now["data"]:
        if file["sha256"] not in known:
            why = "its contents have changed since this run" if "data" in kept else "this run does not say what it held"
            yield f"data {file['data']!r}: {why}", file["cells"]
    before = {name: _state(plugin) for plugin in kept.get("plugins", []) for name in plugin.get("names", [])}
    of_files = {cell for file in now["data"] if file["sha256"] not in known for cell in file["cells"]}
    others = [c for c in now["suite_resolved"]["cells"] if c["cell_id"] not in of_files]
    for plugin in now["plugins"]:
        names = {name for name in plugin["names"] if before.get(name, _state(plugin)) != _state(plugin)}
        named = [c["cell_id"] for c in others if names & {c["estimator"], c["problem"], c["objective"]}]
        if names:  # a family is not named by the cells that have it
            yield f"plugin {plugin['source']!r} has changed since this run", named or [c["cell_id"] for c in others]


def _state(plugin: Plain) -> tuple[Any, Any]:
    return plugin.get("sha256"), plugin.get("version")


def _anew(cells: Sequence[str], done: Set[str]) -> str:
    left = len(set(cells) - done)
    its = "its cell is" if len(cells) == 1 else f"its {len(cells)} cells are"
    then = "measured anew" if left == len(cells) else f"{left} measured anew, the others were measured before"
    return f"{its} stale: {then}"


def _ids(manifest: Plain) -> set[str]:
    return {cell["cell_id"] for cell in manifest["suite_resolved"].get("cells", [])}


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
        if (value := _shown(now, key)) == NOT_SAID:  # of a session that measures nothing
            continue
        if value != was[-1] or len(was) > 1:
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
    return NOT_SAID if value is None else str(value)


def _files(manifest: Plain) -> dict[str, Plain]:
    """By cell, its data file."""
    return {cell: file for file in manifest.get("data", []) for cell in file["cells"]}


def _same_data(a: Plain, b: Plain, file_a: Plain, file_b: Plain) -> bool:
    """Whether the data of two cells are one but for the contents, or else the name, of a file."""
    if not file_b:
        return a.get("data") == b["data"]
    same_place = file_a.get("path") == file_b["path"] and file_a.get("chosen") == file_b["chosen"]
    return a.get("data") == b["data"] or same_place or file_a.get("sha256") == file_b["sha256"]


def _fixed(cell: Plain) -> str:
    """What tells a cell from others, but for its data, as a text."""
    return canonical({key: value for key, value in identity_of(cell).items() if key not in ("cell_id", "data", "skip")})
