"""Small points, tasks and runs that the tests are written with."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from scipy.stats import t
from torch import Tensor

from gradbench import statistics
from gradbench.core.bank import UNLIMITED
from gradbench.core.seeding import stream
from gradbench.core.types import Noise
from gradbench.engine.measure import measure_moments as measure
from gradbench.engine.moments import Moments, groups_of
from gradbench.engine.task import Task, slice_noise
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.base import Estimator
from gradbench.families import FAMILIES
from gradbench.objectives.chosen import ChosenObjective, natural
from gradbench.problems import PROBLEMS
from gradbench.results import columns, row_files
from gradbench.runner import runs
from gradbench.suite.suites import Settings, Suite, resolve
from gradbench.target import exact, monte_carlo, points, reference, whole_data
from gradbench.target.points import Axes, Point

F64 = torch.float64
TIMED = list(columns.TIMED)
"""Columns that differ from run to run."""


def point_of(
    problem: str,
    *,
    data: str | None = None,
    train_steps: int = 0,
    seed: int = 0,
    dtype: torch.dtype = F64,
    cache: Path | None = None,
    **parameters: Any,
) -> Point:
    """A problem, in float64, at a small size."""
    kind = PROBLEMS[problem]
    axes = Axes(problem, kind.Parameters(**parameters), data or kind.data, train_steps, seed)
    return points.build(axes, "cpu", dtype, cache)


def task_of(
    point: Point, estimator: str | Estimator, samples: int = 1, kl: str | None = None, **parameters: Any
) -> Task:
    """An estimator at ``point``, fitted where it must be; an analytic KL unless told otherwise.

    The objective is the first that the estimator is for: the problem's own, or a bound.
    """
    chosen = ESTIMATORS[estimator] if isinstance(estimator, str) else estimator
    objective = natural(point.problem)
    if objective.name not in chosen.unbiased:
        objective = ChosenObjective(next(iter(chosen.unbiased)))
    values = chosen.Parameters(**parameters).model_dump()
    return Task(point, chosen, values, samples, with_kl(objective, point, kl)).fitted()


def suits(estimator: Estimator, problem: str) -> bool:
    """Whether the problem has latents that the estimator is for."""
    family = FAMILIES[PROBLEMS[problem].family]
    named = estimator.latents is None or family.name in estimator.latents
    return named and all(map(family.has, estimator.uses))


def with_kl(objective: ChosenObjective, point: Point, kl: str | None = None) -> ChosenObjective:
    """The objective with a treatment of the KL, by default the one that it has first at ``point``."""
    kls = objective.kind.treatments(type(point.problem), point.axes.parameters)
    return replace(objective, kl=kl or kls[0])  # pyright: ignore[reportArgumentType]


def objective_of(point: Point, bound: int = 1) -> ChosenObjective:
    """The problem's own objective, or the importance-weighted bound where ``bound`` samples are inside."""
    chosen = natural(point.problem) if bound == 1 else ChosenObjective("iwae")
    return with_kl(chosen, point)


def reference_of_point(
    point: Point, replicates: int = 64, blocks: int = 8, bound: int = 1, budget: int = UNLIMITED
) -> reference.Reference:
    """The reference of the problem's own objective, or of a bound."""
    return reference.compute(point, objective_of(point, bound), bound, replicates, blocks, budget)


def monte_carlo_at(point: Point, replicates: int, blocks: int, bound: int = 1) -> reference.Reference:
    """The Monte-Carlo reference, whether or not there is an exact one."""
    kept = reference.BlockGradients(point, UNLIMITED)
    chosen = objective_of(point, bound)
    kept.grow(blocks, lambda block: monte_carlo.block_gradient(point, chosen, bound, replicates // blocks, block))
    return reference.Reference("monte-carlo", kept.mean(blocks), kept.first(blocks))


def over_data(point: Point, replicates: int, blocks: int, bound: int = 1, **keys: Any) -> whole_data.WholeDataReference:
    """The references over the whole data set, for cells of ``replicates`` in ``blocks``."""
    return whole_data.WholeDataReference(point, objective_of(point, bound), bound, replicates // blocks, **keys)


def by_nodes(point: Point, bound: int = 1) -> Any:
    """The gradient by quadrature, whether or not there is a better one; None where it does not settle."""
    return exact._quadrature(point, objective_of(point, bound), bound, math.inf, math.inf)


def gradients_by_loop(task: Task, noise: Noise, replicates: int) -> dict[str, Tensor]:
    """Each replicate's gradient by an ordinary backward pass of its own, [R, *shape]."""
    rows = [task.gradient(slice_noise(noise, slice(r, r + 1))) for r in range(replicates)]
    return {name: torch.stack([row[name] for row in rows]).detach() for name in rows[0]}


def noise_of(task: Task, replicates: int, seed: int = 0) -> Noise:
    """Noise of ``replicates`` gradient estimates."""
    return task.noise(replicates, stream(seed, "test noise"))


@dataclass(frozen=True)
class Case:
    """A problem, small enough to differentiate replicate by replicate."""

    label: str
    problem: str
    parameters: tuple[tuple[str, Any], ...]

    def point(self) -> Point:
        """The problem in float64, made anew."""
        return point_of(self.problem, **dict(self.parameters))

    @property
    def values(self) -> Any:
        """Its parameters, validated."""
        return PROBLEMS[self.problem].Parameters(**dict(self.parameters))

    @property
    def latents(self) -> str:
        """Its family, and whether it is in layers."""
        kind = PROBLEMS[self.problem]
        return kind.family if kind.layers(self.values) == 1 else f"{kind.family} in layers"

    @property
    def batch(self) -> int:
        """Datapoints."""
        return getattr(self.values, "batch", 1)


def same_draw_by_draw(point: Point, one: str, other: str, samples: int) -> None:
    """Assert that two estimators give the same gradients from the same noise, with a sampled KL."""
    tasks = [task_of(point, name, samples, "monte-carlo") for name in (one, other)]
    noise = noise_of(tasks[0], 3)
    found, expected = (gradients_by_loop(task, noise, 3) for task in tasks)
    for key, value in found.items():
        torch.testing.assert_close(value, expected[key], rtol=1e-9, atol=1e-12)


def case(label: str, problem: str, **parameters: Any) -> Case:
    return Case(label, problem, tuple(parameters.items()))


def exact_reference(point: Point) -> reference.Reference:
    found = reference_of_point(point)
    assert found.exact
    return found


def moments_of(
    replicates: np.ndarray, target: np.ndarray, centre: np.ndarray | None = None, *, certain: bool = False
) -> Moments:
    """The moments of given replicates [K, m, P] of one parameter ``phi.w``, by their definitions.

    ``certain``: no draw reaches it.
    """
    count = replicates.shape[1]
    centre = np.zeros(replicates.shape[-1]) if centre is None else centre
    away = ((replicates - centre) ** 2).sum(-1)
    sizes = (replicates**2).sum(-1)
    means = replicates.mean(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = (replicates @ target) / (np.sqrt(sizes) * np.linalg.norm(target))
    groups = groups_of(("phi.w",))

    def every(value: np.ndarray) -> dict[str, np.ndarray]:
        return dict.fromkeys(groups, value)

    return Moments(
        count,
        {"phi.w": means},
        every(away.sum(1)),
        every((away**2).sum(1)),
        every(((means - centre) ** 2).sum(-1)),
        every(sizes.sum(1)),
        every(cosine.mean(1)),
        certain=frozenset({"phi.w"} if certain else ()),
    )


def reference_of(gradient: np.ndarray, blocks: np.ndarray | None = None) -> reference.Reference:
    """A reference for one parameter ``phi.w``; with ``blocks`` [K, P] a Monte-Carlo one."""
    if blocks is None:
        return reference.Reference("closed-form", {"phi.w": torch.as_tensor(gradient)})
    stacked = torch.as_tensor(blocks)
    return reference.Reference("monte-carlo", {"phi.w": stacked.mean(0)}, {"phi.w": stacked})


def verdicts_of(task: Task, replicates: int = 4096, blocks: int = 32) -> dict[str, str]:
    """The verdict per group of one task, measured alone, against the exact gradient of its objective."""
    exact = reference.compute(task.point, task.objective, task.samples, 64, 8)
    assert exact.exact
    moments = measure(task, range(blocks), replicates // blocks, exact.gradient)
    figures = statistics.summarise(moments, exact, torch.finfo(task.point.dtype()).eps)
    columns = [[getattr(f, name) for f in figures.values()] for name in ("bias_p", "bias_high", "gradient_norm")]
    spread = np.array([f.variance for f in figures.values()])
    found = statistics.verdicts(*(np.array(column) for column in columns), spread)
    return dict(zip(figures, found, strict=True))


def suite_of(*grids: dict[str, Any], replicates: int = 1024, blocks: int = 32, seed: int = 0) -> Suite:
    """Grids as a suite."""
    raw = {"name": "test", "seed": seed, "measure": {"replicates": replicates, "blocks": blocks}, "grid": list(grids)}
    return resolve(raw, "test.toml", Settings())


def run_grids(out: Path, *grids: dict[str, Any], **keys: int):
    """Grids through the whole pipeline into the folder ``out``; the outcome."""
    return runs.run(suite_of(*grids, **keys), out)


def taken_apart(run: Path) -> list[Path]:
    """``run`` as it was before it ended, with a file for each cell; the files."""
    table = pq.read_table(run / "results.parquet")
    (run / "results.parquet").unlink()
    (run / "cells").mkdir()
    files = []
    for cell in table["cell_id"].unique():
        files.append(run / "cells" / f"{cell}.parquet")
        row_files.write_rows(run, files[-1], table.filter(pc.equal(table["cell_id"], cell)))
    return sorted(files)


def ok_rows(out: Path, *grids: dict[str, Any], **keys: Any) -> pd.DataFrame:
    """The measured rows of a run."""
    outcome = run_grids(out, *grids, **keys)
    assert outcome.exit_code == 0, outcome.run.frame.message.dropna().tolist()
    return outcome.run.ok()


def log_error(row: Any) -> float:
    """The standard error of the logarithm of a row's variance, from its interval."""
    half = (math.log(row.variance_high) - math.log(row.variance_low)) / 2
    return half / t.ppf(0.975, row.blocks - 1)


def row_of(frame: pd.DataFrame, **keys: Any) -> Any:
    """The one row with the given values."""
    found = frame
    for key, value in keys.items():
        found = found[found[key] == value]
    assert len(found) == 1, f"{len(found)} rows for {keys}"
    return next(found.itertuples())


def noise_in_phi(moments: Moments) -> tuple[float, float]:
    """The φ-variance of block means: the estimator's own, and with the control subtracted."""
    plain, adjusted = (
        sum(float(np.asarray(value).var(0, ddof=1).sum()) for name, value in means.items() if name.startswith("phi."))
        for means in (moments.means, moments.adjusted)
    )
    return plain, adjusted
