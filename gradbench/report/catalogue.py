"""What there is: suites, estimators, problems and metrics, as rows to list."""

from __future__ import annotations

import tomllib

from gradbench.core.errors import UnknownNameError
from gradbench.estimators import ESTIMATORS
from gradbench.problems import PROBLEMS
from gradbench.results.columns import METRICS
from gradbench.suite.shipped import shipped

Rows = list[tuple[str, ...]]


def catalogue(what: str) -> tuple[tuple[str, ...], Rows]:
    """Headers and rows of one listing. Raises UnknownNameError for an unknown one."""
    match what:
        case "suites":
            titles = {name: tomllib.loads(path.read_text(encoding="utf-8")) for name, path in shipped().items()}
            return ("suite", "title"), [(name, str(raw.get("title", ""))) for name, raw in titles.items()]
        case "estimators":
            headers = ("estimator", "what it is", "latents", "unbiased", "paper")
            return headers, [
                (e.name, e.title, ", ".join(sorted(e.latents)), _unbiased(e.unbiased_phi, e.unbiased_theta), e.paper)
                for e in ESTIMATORS.values()
            ]
        case "problems":
            headers = ("problem", "what it is", "latents", "parameters")
            return headers, [
                (p.name, p.title, p.family, ", ".join(p.Parameters.model_fields)) for p in PROBLEMS.values()
            ]
        case "metrics":
            return ("metric", "meaning"), list(METRICS.items())
    raise UnknownNameError("listing", what, ("suites", "estimators", "problems", "metrics"))


def _unbiased(phi: bool, theta: bool) -> str:
    return {(True, True): "φ, θ", (False, True): "θ only", (True, False): "φ only", (False, False): "no"}[phi, theta]
