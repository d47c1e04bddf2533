"""What there is: suites, estimators, problems, families, objectives and metrics, as rows to list."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

from gradbench.core.errors import UnknownNameError
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.scope import Scope
from gradbench.families import FAMILIES
from gradbench.objectives import OBJECTIVES
from gradbench.problems import PROBLEMS
from gradbench.results.columns import METRICS
from gradbench.suite.shipped import shipped

if TYPE_CHECKING:
    from gradbench.estimators.base import Estimator

Rows = list[tuple[str, ...]]


def catalogue(what: str) -> tuple[tuple[str, ...], Rows]:
    """Headers and rows of one listing. Raises UnknownNameError for an unknown one."""
    match what:
        case "suites":
            titles = {name: tomllib.loads(path.read_text(encoding="utf-8")) for name, path in shipped().items()}
            return ("suite", "title"), [(name, str(raw.get("title", ""))) for name, raw in titles.items()]
        case "estimators":
            headers = ("estimator", "what it is", "latents", "unbiased", "paper")
            return headers, [(e.name, e.title, _latents(e), _unbiased(e), e.paper) for e in ESTIMATORS.values()]
        case "problems":
            headers = ("problem", "what it is", "latents", "parameters")
            return headers, [
                (p.name, p.title, p.family, ", ".join(p.Parameters.model_fields)) for p in PROBLEMS.values()
            ]
        case "families":
            from gradbench.report.described import abilities, headline

            headers = ("family", "what it is", "it has", "problems")
            return headers, [
                (name, headline(kind), ", ".join(abilities(kind).values()), _problems(name))
                for name, kind in FAMILIES.items()
            ]
        case "objectives":
            from gradbench.report.described import estimators_of

            headers = ("objective", "what it is", "parameters", "estimators")
            return headers, [
                (o.name, o.title, ", ".join(o.Parameters.model_fields), ", ".join(estimators_of(o)))
                for o in OBJECTIVES.values()
            ]
        case "metrics":
            return ("metric", "meaning"), list(METRICS.items())
    raise UnknownNameError("listing", what, ("suites", "estimators", "problems", "families", "objectives", "metrics"))


def _problems(family: str) -> str:
    return ", ".join(name for name, kind in PROBLEMS.items() if kind.family == family)


FEW_FAMILIES = 3
"""Families that are listed by name; more are told by what they have in common."""


def _latents(estimator: Estimator) -> str:
    from gradbench.estimators.base import CAPABILITIES

    if estimator.latents is not None:
        return ", ".join(sorted(estimator.latents))
    if not estimator.uses:
        return "any"
    named = [name for name, kind in FAMILIES.items() if all(map(kind.has, estimator.uses))]
    if len(named) <= FEW_FAMILIES:
        return ", ".join(named)
    return "any with " + " and ".join(CAPABILITIES.get(what, what) for what in sorted(estimator.uses))


def _unbiased(estimator: Estimator) -> str:
    """In few words, for which parts; with the scope where that is not everywhere."""
    said = []
    for part, letter in (("phi", "φ"), ("theta", "θ")):
        declared = estimator.unbiased.values()
        scopes = {getattr(one, part) for one in declared} - {Scope.BIASED}
        if scopes:
            at = {f"{name} = {value}" for one in declared for name, value in one.at.items() if part == "phi"}
            words = ", ".join(sorted({str(scope) for scope in scopes if scope is not Scope.EXACTLY} | at))
            said.append(f"{letter} ({words})" if words else letter)
    if len(said) == 1 and "(" not in said[0]:
        return f"{said[0]} only"
    return ", ".join(said) or "no"
