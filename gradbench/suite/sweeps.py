"""A small sweep as it is typed on a command line, as a suite: the same tables that a file would have."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import tomli_w

from gradbench.core.errors import UsageError
from gradbench.suite.suites import Settings, Suite, resolve

WHERE = "the command line"
"""Names a sweep in errors."""
RESERVED = {"problem": "--problem", "estimators": "--estimators", "samples": "--samples", "size": "--size"}
"""Keys of a grid that have an option of their own."""


def typed_suite(
    problem: str,
    estimators: str,
    samples: str = "1",
    sizes: Sequence[str] = (),
    keys: Sequence[str] = (),
    settings: Settings | None = None,
) -> Suite:
    """The suite of one grid, with the TOML that says the same; its name is that of the problem and ``-sweep``.

    ``estimators`` and ``samples`` are lists with commas, an estimator's parameters behind colons
    (``gumbel-softmax:temperature=0.1``); a size and each of the ``keys`` is ``key=value[,value…]``. Raises SuiteError,
    UnknownNameError and UsageError as for a file.
    """
    settings = settings or Settings()
    grid: dict[str, Any] = {"problem": problem}
    if sizes:
        grid["size"] = [size_of(text) for text in sizes]
    for text in keys:
        key, value = _pair(text, "--set")
        if key in RESERVED:
            raise UsageError(f"--set {text}: give {RESERVED[key]} instead")
        if key in grid:
            raise UsageError(f"--set {text}: {key} is given twice; give its values in one list, {key}=A,B")
        grid[key] = value
    grid["estimators"] = [estimator_of(text) for text in _split(estimators)]
    grid["samples"] = typed_values(samples)
    raw: dict[str, Any] = {"name": f"{problem}-sweep", "grid": [grid]}
    suite = resolve(raw, WHERE, settings)
    return replace(suite, text=written(suite, grid, settings))


def written(suite: Suite, grid: dict[str, Any], settings: Settings) -> str:
    """A suite of one grid as TOML, with what the command line set over it."""
    measure = suite.measure.model_dump(exclude_none=True, exclude_defaults=True)
    own = {"device": settings.device} if settings.device is not None else {}
    raw: dict[str, Any] = {"name": suite.name}
    raw |= {} if settings.seed is None else {"seed": settings.seed}
    raw["measure"] = {"replicates": suite.measure.replicates, "blocks": suite.measure.blocks, **measure}
    raw["grid"] = [{**grid, **own}]
    return tomli_w.dumps(raw)


def estimator_of(text: str) -> str | dict[str, Any]:
    """An estimator as a grid names it.

    >>> estimator_of("gumbel-softmax:temperature=0.1"), estimator_of("disarm")
    ({'name': 'gumbel-softmax', 'temperature': 0.1}, 'disarm')
    """
    name, *parameters = text.split(":")
    return {"name": name, **dict(_pair(one, "--estimators") for one in parameters)} if parameters else name


def size_of(text: str) -> dict[str, Any]:
    """Keys that vary together.

    >>> size_of("hidden=32,latent=2"), size_of("dim=1,2")
    ({'hidden': 32, 'latent': 2}, {'dim': [1, 2]})
    """
    pairs: list[str] = []
    for part in _split(text):
        if "=" in part or not pairs:
            pairs.append(part)
        else:
            pairs[-1] += f",{part}"
    return dict(_pair(pair, "--size") for pair in pairs)


def typed_values(text: str) -> Any:
    """One value, or a list of those between commas; what is no number, truth or quoted text of TOML is a text.

    >>> typed_values("1,2,4"), typed_values("analytic"), typed_values('"file:a.csv#x,y"'), typed_values("0.5")
    ([1, 2, 4], 'analytic', 'file:a.csv#x,y', 0.5)
    """
    whole = text.strip()
    if whole[:1] in ("[", "{", '"', "'"):
        return _value(whole)
    parts = _split(text)
    return _value(parts[0]) if len(parts) == 1 else [_value(part) for part in parts]


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()] or [""]


def _pair(text: str, option: str) -> tuple[str, Any]:
    key, found, value = text.partition("=")
    if not found or not re.fullmatch(r"\s*[\w-]+\s*", key) or not value.strip():
        raise UsageError(f"{option} {text!r}: expected key=value, such as {_EXAMPLES[option]}")
    return key.strip(), typed_values(value)


_EXAMPLES = {
    "--set": "train_steps=0,500",
    "--size": "hidden=32,latent=2",
    "--estimators": "gumbel-softmax:temperature=0.1",
}


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, ValueError, RecursionError, KeyError):
        return text
