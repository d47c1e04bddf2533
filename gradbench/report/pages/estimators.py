"""A page for each estimator, made of its docstring, its declarations and the kept runs; and a table of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from gradbench.estimators import ESTIMATORS
from gradbench.estimators.base import CAPABILITIES, Estimator
from gradbench.families import FAMILIES
from gradbench.report.described import documentation, factor_row, field_of, said_of
from gradbench.report.markdown import markdown_table, unmarked
from gradbench.report.pages.standing import KeptRun, explained
from gradbench.report.sections import sections

EQUATIONS = ("Estimates", "Surrogate")
ROOMS = {
    "controls": "Controls: wrong on purpose",
    "score": "Score functions",
    "pathwise": "Pathwise",
    "discrete": "Discrete latents",
    "bounds": "Multi-sample bounds",
}
LEGEND = (
    "z ~ q_φ(z|x) are the samples; f(z) is what the objective averages: log p_θ(x|z) where the KL is analytic, "
    "log p_θ(x,z) − log q_φ(z|x) where it is sampled, or a cost. h(·) is held constant. Gradients point up the "
    "objective."
)
FOOT = "*Made from the code and the kept runs by `make docs`.*"


def estimator_pages(kept: Sequence[KeptRun], suites: dict[str, frozenset[str]]) -> dict[str, str]:
    """File name to text. ``suites`` are the names of the estimators in each shipped suite."""
    pages = {f"{name}.md": _page(estimator, kept, suites) for name, estimator in ESTIMATORS.items()}
    return {"index.md": _index(), **pages}


def room_of(name: str) -> str:
    """The folder in which an estimator of gradbench's own is."""
    return ESTIMATORS.lines[name].partition(".")[0]


def _index() -> str:
    parts = ["# Estimators", unmarked(LEGEND)]
    for room, title in ROOMS.items():
        rows = [_row(estimator) for name, estimator in ESTIMATORS.items() if room_of(name) == room]
        headers = ("estimator", "what it is", "latents", "φ unbiased", "θ unbiased", "evaluations", "paper")
        parts += [f"## {title}", markdown_table(headers, rows)]
    return "\n\n".join([*parts, FOOT]) + "\n"


def _row(estimator: Estimator) -> tuple[str, ...]:
    phi, theta = (
        "; ".join(f"{scope}: {', '.join(names)}" for scope, names in _by_scope(estimator, part).items())
        for part in ("phi", "theta")
    )
    cost = sections(documentation(estimator))["Cost"].replace("\n", " ").partition(". ")[0].removesuffix(".")
    link = f"[{estimator.name}]({estimator.name}.md)"
    return link, *(unmarked(text) for text in (estimator.title, _latents(estimator), phi, theta, cost, estimator.paper))


def _by_scope(estimator: Estimator, part: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, scopes in sorted(estimator.unbiased.items()):
        found.setdefault(str(getattr(scopes, part)), []).append(name)
    return found


def _latents(estimator: Estimator) -> str:
    if estimator.latents is None and not estimator.uses:
        return "any"
    return ", ".join(name for name in FAMILIES if estimator.suits(FAMILIES[name]))


def _page(estimator: Estimator, kept: Sequence[KeptRun], suites: dict[str, frozenset[str]]) -> str:
    told = sections(documentation(estimator))
    parts = [f"# {estimator.name}: {unmarked(estimator.title)}", unmarked(told.pop("")), _declared(estimator)]
    equations = "\n".join(f"{title}: {told.pop(title)}" for title in EQUATIONS)
    parts += ["## What it computes", f"```text\n{equations}\n```", unmarked(LEGEND)]
    parts += ["## What is held constant", unmarked(told.pop("Held constant")), _ledger(estimator)]
    paper = told.pop("Paper")
    parts += [part for title, text in told.items() for part in (f"## {title}", unmarked(text))]
    if estimator.Parameters.model_fields:
        parts += ["## Parameters", _parameters(estimator)]
    parts += ["## Paper", unmarked(paper), "## Measured", *_measured(estimator.name, kept, suites), FOOT]
    return "\n\n".join(parts) + "\n"


def _declared(estimator: Estimator) -> str:
    rows = [
        ("latents", _latents(estimator)),
        ("asks of them", ", ".join(CAPABILITIES[what] for what in sorted(estimator.uses)) or "samples and log_prob"),
        ("several layers of latents", "yes" if estimator.layered else "no"),
        ("draws", estimator.draws.words),
        ("fitted before measuring", "yes" if estimator.fit else "no"),
    ]
    rows += [
        (f"unbiased for {name}", f"φ {scopes.phi}; θ {scopes.theta}") for name, scopes in estimator.unbiased.items()
    ]
    return markdown_table(("declaration", "value"), [(unmarked(what), unmarked(text)) for what, text in rows])


def _ledger(estimator: Estimator) -> str:
    rows = [[unmarked(cell) for cell in factor_row(factor)] for factor in estimator.ledger]
    return markdown_table(("factor", "held", "in φ", "in θ", "why"), rows)


def _parameters(estimator: Estimator) -> str:
    fields: Iterable[tuple[str, Any]] = estimator.Parameters.model_fields.items()
    rows = []
    for name, field in fields:
        told = field_of(field)
        rows.append((f"`{name}`", unmarked(told["type"]), unmarked(said_of(told)), unmarked(field.description or "–")))
    return markdown_table(("parameter", "type", "default", "meaning"), rows)


def _measured(name: str, kept: Sequence[KeptRun], suites: dict[str, frozenset[str]]) -> list[str]:
    parts = []
    for run in kept:
        if tables := list(run.tables(name)):
            parts += [f"### Suite {run.suite}", *tables]
    if parts:
        return [explained(), *parts]
    where = [suite for suite, names in suites.items() if name in names]
    listed = ", ".join(f"`{suite}`" for suite in where)
    return [
        "No kept run measures it."
        + (f" Suites that do, with `gradbench run`: {listed}." if where else " No shipped suite does.")
    ]
