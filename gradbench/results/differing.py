"""What a run that is there and one that is asked for differ in, so that the one cannot go on as the other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from gradbench.core.canonical import canonical
from gradbench.core.selection import choices
from gradbench.results.columns import identity_of
from gradbench.results.growth import GROWING, continues

NO_AXES = ("cell_id", "data", "skip", "noise")
"""Of a cell, what tells no run from another, or is a setting of the whole run, too."""


def settings_that_differ(kept: Mapping[str, Any], asked: Mapping[str, Any]) -> Iterator[str]:
    """Each setting that differs between two resolved suites, with both values.

    >>> one = {"name": "a", "measure": {"decide": False, "replicates": 64, "blocks": 8}}
    >>> two = {"name": "a", "measure": {"decide": True, "replicates": 64, "blocks": 16}}
    >>> list(settings_that_differ({**one, "cells": []}, {**two, "cells": []}))
    ['decide = false there, true asked for', 'blocks = 8 there, 16 asked for']
    """
    if kept.get("name") != asked["name"]:
        yield _both("suite", json.dumps(kept.get("name", "")), json.dumps(asked["name"]))
    before, now = kept.get("measure", {}), asked["measure"]
    names = [key for key in now if key in before and key not in GROWING]
    if not continues(_sizes(before), _sizes(now)):
        names += GROWING
    yield from (_both(key, _toml(before.get(key)), _toml(now[key])) for key in names if before.get(key) != now[key])
    yield from _axes([identity_of(cell) for cell in kept.get("cells", [])], [identity_of(c) for c in asked["cells"]])


def _sizes(measure: Mapping[str, Any]) -> dict[str, Any]:
    return {key: measure[key] for key in GROWING if key in measure}


def _axes(kept: list[dict[str, Any]], asked: list[dict[str, Any]]) -> Iterator[str]:
    """What all cells have other values of."""
    keys = dict.fromkeys(key for cell in asked for key in cell if key not in NO_AXES)
    for key in keys if kept else ():
        before, now = ([cell[key] for cell in cells if key in cell] for cells in (kept, asked))
        if not {*map(canonical, before)} & {*map(canonical, now)}:
            yield _both(key, choices(map(_plain, before)) or "none", choices(map(_plain, now)))


def _plain(value: Any) -> Any:
    return canonical(value) if isinstance(value, dict | list) else "none" if value is None else value


def _toml(value: Any) -> str:
    return "not set" if value is None else json.dumps(value)


def _both(key: str, before: str, now: str) -> str:
    return f"{key} = {before} there, {now} asked for"
