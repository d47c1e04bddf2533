"""An estimator, a problem, a family or an objective in words: its declarations, its ledger, its documentation."""

from __future__ import annotations

import inspect
import sys
from dataclasses import asdict
from typing import Any

from pydantic_core import to_jsonable_python
from rich.console import Group, RenderableType

from gradbench.core.printable import one_line
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.base import CAPABILITIES, Estimator
from gradbench.families.base import Family
from gradbench.objectives.base import Objective
from gradbench.problems import PROBLEMS
from gradbench.report.layout import listing
from gradbench.report.plain import Text


def as_data(thing: Any) -> dict[str, Any]:
    """The declarations of an estimator, a problem, a family or an objective, for JSON."""
    if _is(thing, Family):
        return _family(thing)
    fields = {name: field_of(field) for name, field in thing.Parameters.model_fields.items()}
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
    if _is(thing, Objective):
        return {
            "objective": thing.name,
            "title": thing.title,
            "like": thing.like,
            "estimators": estimators_of(thing),
            "parameters": fields,
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


def _is(thing: Any, kind: type) -> bool:
    return inspect.isclass(thing) and issubclass(thing, kind)


def _family(kind: type[Family]) -> dict[str, Any]:
    used = {"judges": kind.judged_by, "trains": kind.trained_by or kind.judged_by}
    return {
        "family": kind.name,
        "title": headline(kind),
        "has": abilities(kind),
        "problems": [name for name, problem in PROBLEMS.items() if problem.family == kind.name],
        "estimators": {
            **{what: {"name": use.estimator, "samples": use.samples} for what, use in used.items()},
            "averaged": {"name": kind.averaged_by or kind.judged_by.estimator},
        },
        "parameters": {},
        "documentation": documentation(kind),
    }


def headline(kind: type) -> str:
    """The first line of a class's own docstring, without its stop; empty where it has none."""
    return (vars(kind).get("__doc__") or "").strip().partition("\n")[0].removesuffix(".")


def abilities(kind: type[Family]) -> dict[str, str]:
    """What a family says that it can do, in words by name."""
    return {what: words for what, words in CAPABILITIES.items() if kind.has(what)}


def estimators_of(objective: type[Objective]) -> list[str]:
    """The estimators that declare ``objective``, or one that it is like."""
    return [name for name, estimator in ESTIMATORS.items() if estimator.scopes(objective.name) is not None]


def described_text(thing: Any) -> RenderableType:
    """The same for reading."""
    data = as_data(thing)
    parts: list[RenderableType] = [
        Text(one_line(f"{thing.name}: {data['title']}"), style="bold"),
        "",
        data["documentation"],
        "",
    ]
    if data["parameters"]:
        rows = [(name, field["type"], said_of(field)) for name, field in data["parameters"].items()]
        parts.append(listing(rows, ("parameter", "type", "default")))
    if "has" in data:
        parts.append(f"it has: {', '.join(data['has'].values()) or 'samples and their log_prob alone'}")
        parts.append(f"problems: {', '.join(data['problems']) or 'none'}")
    if "like" in data:
        parts.append(f"estimators: {', '.join(data['estimators']) or 'none'}")
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


def field_of(field: Any) -> dict[str, Any]:
    """Type and default of a parameter; ``required`` where it has no default."""
    kind = field.annotation
    name = kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")
    if field.is_required():
        return {"type": name, "required": True}
    return {"type": name, "default": to_jsonable_python(field.get_default(call_default_factory=True), fallback=str)}


def said_of(field: dict[str, Any]) -> str:
    """The default of a parameter in words."""
    return "(required)" if "required" in field else str(field["default"])
