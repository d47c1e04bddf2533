"""The suite of a run as text: a TOML file that resolves to the cells of the run, whatever file they came from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from gradbench.problems import PROBLEMS

Toml = dict[str, Any]
KEYS_OF_A_CELL = (
    "cell_id",
    "skip",
    "noise",
    "problem_params",
    "objective_params",
    "estimator",
    "estimator_params",
    "samples",
)
"""Keys of a cell that do not stand in its grid as they are."""
WIDEST = 100
"""Characters of a list that stands on one line."""


def suite_text(manifest: Mapping[str, Any]) -> str | None:
    """A suite with the cells, the measure and the claims that a manifest says were resolved.

    Running it measures the same cells, with the same names, where data files and plugins are the same. None where the
    cells are of no suite, as those of losses are that were measured as they are.
    """
    suite = manifest["suite_resolved"]
    cells = suite.get("cells", [])
    brought = {name for plugin in manifest.get("plugins", []) for name in plugin.get("names", [])}
    if any(cell["problem"] not in PROBLEMS.lines and cell["problem"] not in brought for cell in cells):
        return None
    seeds = list(dict.fromkeys(cell.get("seed", 0) for cell in cells)) or [0]
    top = {"name": suite.get("name") or manifest.get("suite", ""), "title": suite.get("title", ""), "seed": seeds[0]}
    measure = {key: value for key, value in suite.get("measure", {}).items() if value is not None}
    parts = [_lines(top), "[measure]\n" + _lines(measure)]
    parts += ["[[grid]]\n" + _lines(grid) for grid in _grids(cells, seeds[0])]
    parts += ["[[expect]]\n" + _lines(claim) for claim in suite.get("expect", []) if isinstance(claim, dict)]
    return "\n".join(parts)


def _grids(cells: Sequence[Mapping[str, Any]], seed: int) -> list[Toml]:
    """Grids whose products are ``cells``: estimators with the same L together, then whatever differs in one key."""
    points: dict[str, tuple[Toml, dict[str, list[int]]]] = {}
    for cell in cells:
        point = _point(cell, seed)
        _, estimators = points.setdefault(_key(point), (point, {}))
        estimators.setdefault(json.dumps(_estimator(cell)), []).append(cell["samples"])
    grids = []
    for point, estimators in points.values():
        by_samples: dict[tuple[int, ...], list[Any]] = {}
        for estimator, samples in estimators.items():
            by_samples.setdefault(tuple(sorted(set(samples))), []).append(json.loads(estimator))
        grids += [{**point, "estimators": named, "samples": _scalar(samples)} for samples, named in by_samples.items()]
    return _merged(grids)


def _point(cell: Mapping[str, Any], seed: int) -> Toml:
    """What a grid says of a cell, apart from its estimator and its L."""
    rest = {key: value for key, value in cell.items() if key not in KEYS_OF_A_CELL and value is not None}
    objective, parameters = rest.pop("objective", None), cell.get("objective_params") or {}
    if rest.get("seed") == seed:
        rest.pop("seed")
    if rest.get("data") is None or not rest.get("train_steps"):
        rest.pop("train_steps", None)
    known = {key: value for key, value in cell.get("problem_params", {}).items() if value is not None}
    named = {} if objective is None else {"objective": {"name": objective, **parameters} if parameters else objective}
    return {"problem": rest.pop("problem"), **known, **rest, **named}


def _estimator(cell: Mapping[str, Any]) -> Any:
    parameters = {key: value for key, value in cell.get("estimator_params", {}).items() if value is not None}
    return {"name": cell["estimator"], **parameters} if parameters else cell["estimator"]


def _merged(grids: list[Toml]) -> list[Toml]:
    """``grids`` with those that differ in one key alone made one, which lists its values."""
    keys = list(dict.fromkeys(key for grid in grids for key in grid))
    for key in (key for key in keys if key not in ("problem", "estimators", "samples")):
        found: dict[str, Toml] = {}
        for grid in grids:
            rest = {name: value for name, value in grid.items() if name != key}
            alike = f"{key in grid} {isinstance(grid.get(key), list | dict)} {_key(rest)}"
            if alike not in found:
                found[alike] = dict(grid)
            elif key in grid:
                found[alike][key] = [*_listed(found[alike][key]), *_listed(grid[key])]
        grids = list(found.values())
    return grids


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _scalar(values: Sequence[Any]) -> Any:
    return values[0] if len(values) == 1 else list(values)


def _lines(table: Mapping[str, Any]) -> str:
    return "".join(f"{_name(key)} = {_value(value)}\n" for key, value in table.items())


def _name(key: str) -> str:
    plain = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if plain else _value(key)


def _value(value: Any) -> str:
    """A value of TOML; a text as JSON writes it is one, but for DEL."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case float() if value != value or value in (float("inf"), float("-inf")):
            return repr(value)
        case dict():
            return "{" + ", ".join(f"{_name(k)} = {_value(v)}" for k, v in value.items() if v is not None) + "}"
        case list() | tuple():
            values = [_value(one) for one in value]
            line = f"[{', '.join(values)}]"
            return line if len(line) <= WIDEST else "[\n" + "".join(f"    {one},\n" for one in values) + "]"
    return repr(value)
