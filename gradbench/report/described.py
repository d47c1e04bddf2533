"""An estimator or a problem in words: its declarations, its ledger, its documentation."""

from __future__ import annotations

import inspect
import sys
from dataclasses import asdict
from typing import Any

from pydantic_core import to_jsonable_python
from rich.console import Group, RenderableType

from gradbench.core.printable import one_line
from gradbench.estimators.base import Estimator
from gradbench.report.layout import listing
from gradbench.report.plain import Text


def as_data(thing: Any) -> dict[str, Any]:
    """The declarations of an estimator or a problem, for JSON."""
    fields = {name: _field(field) for name, field in thing.Parameters.model_fields.items()}
    if isinstance(thing, Estimator):
        return {
            "estimator": thing.name,
            "title": thing.title,
            "latents": None if thing.latents is None else sorted(thing.latents),
            "uses": sorted(thing.uses),
            "layered": thing.layered,
            "draws": thing.draws.words,
            "unbiased": {name: asdict(scopes) for name, scopes in sorted(thing.unbiased.items())},
            "trained": thing.fit is not None,
            "parameters": fields,
            "ledger": [
                {"factor": f.name, "held": f.held, "phi": f.phi, "theta": f.theta, "why": f.why} for f in thing.ledger
            ],
            "paper": thing.paper,
            "documentation": documentation(thing),
        }
    return {
        "problem": thing.name,
        "title": thing.title,
        "latents": thing.family,
        "objective": thing.objective,
        "data": thing.data,
        "dtype": thing.dtype,
        "parameters": fields,
        "documentation": documentation(thing),
    }


def as_text(thing: Any) -> RenderableType:
    """The same for reading."""
    data = as_data(thing)
    parts: list[RenderableType] = [
        Text(one_line(f"{thing.name}: {thing.title}"), style="bold"),
        "",
        data["documentation"],
        "",
    ]
    if data["parameters"]:
        rows = [(name, field["type"], _default(field)) for name, field in data["parameters"].items()]
        parts.append(listing(rows, ("parameter", "type", "default")))
    if isinstance(thing, Estimator):
        parts.append(listing([factor_row(f) for f in thing.ledger], ("factor", "held", "in φ", "in θ", "why")))
    return Group(*(Text(part) if isinstance(part, str) else part for part in parts))


def factor_row(factor: Any) -> tuple[str, ...]:
    """One line of the ledger."""
    yes = {True: "yes", False: ""}
    return factor.name, yes[factor.held], yes[factor.phi], yes[factor.theta], factor.why


def documentation(thing: Any) -> str:
    """The docstring of the file that defines it."""
    function = thing.surrogate if isinstance(thing, Estimator) else thing
    module = sys.modules.get(function.__module__)
    return inspect.cleandoc(getattr(module, "__doc__", None) or "")


def _field(field: Any) -> dict[str, Any]:
    kind = field.annotation
    name = kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")
    if field.is_required():
        return {"type": name, "required": True}
    return {"type": name, "default": to_jsonable_python(field.get_default(call_default_factory=True), fallback=str)}


def _default(field: dict[str, Any]) -> str:
    return "(required)" if "required" in field else str(field["default"])
