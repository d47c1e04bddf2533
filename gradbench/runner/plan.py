"""A suite before it runs: its cells as rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from gradbench.estimators import ESTIMATORS
from gradbench.problems import PROBLEMS
from gradbench.suite.cell import Cell
from gradbench.suite.suites import Suite


def plan_rows(suite: Suite) -> Iterator[dict[str, Any]]:
    """One row per cell, for the plan's table. A parameter is said where it is no default, or varies in the suite."""
    values: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for cell in suite.cells:
        for name, value in cell.axes.parameters.model_dump().items():
            values[cell.axes.problem, name].add(repr(value))
    varying = {key for key, found in values.items() if len(found) > 1}
    for cell in suite.cells:
        problem = PROBLEMS[cell.axes.problem]
        defaults = {name: field.default for name, field in problem.Parameters.model_fields.items()}
        parameters = cell.axes.parameters.model_dump()
        said = {k: v for k, v in parameters.items() if v != defaults[k] or (problem.name, k) in varying}
        scale = "" if cell.axes.scale is None else f" / {cell.axes.scale:g}"
        stage = [f"{cell.axes.data}{scale}, {cell.axes.train_steps} steps"] if cell.axes.data else []
        stage += [f"{cell.kl} KL"] if cell.kl else []
        chosen = " ".join([cell.objective.name, *(f"{k}={v}" for k, v in cell.objective.plain().items())])
        stage += [chosen] if chosen != problem.objective else []
        stage += [cell.device, cell.dtype, f"seed {cell.axes.seed}"]
        changed = " ".join(f"{k}={v}" for k, v in cell.estimator_params.items() if v != _default(cell, k))
        yield {
            "problem": cell.axes.problem,
            "parameters": " ".join(f"{k}={v}" for k, v in said.items()) or "(defaults)",
            "stage": ", ".join(stage),
            "estimator": f"{cell.estimator} {changed}".strip(),
            "samples": cell.samples,
            "skip": cell.skip,
        }


def _default(cell: Cell, name: str) -> Any:
    return ESTIMATORS[cell.estimator].Parameters.model_fields[name].default
