"""Rows of results for losses: those of a suite's run, with ``custom`` as the problem and the name as the estimator."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import torch

from gradbench.core.canonical import digest
from gradbench.core.version import VERSION
from gradbench.engine.timing import Timing
from gradbench.losses.against import reference_of_moments
from gradbench.losses.blocks import Shape
from gradbench.losses.given import GivenParameters
from gradbench.losses.grouped import group_figures
from gradbench.losses.taking import TakenLoss
from gradbench.results.columns import PARAMETERS, REGISTRY, SCHEMA_VERSION
from gradbench.runner.machine import hardware
from gradbench.target.reference import Reference

PROBLEM = "custom"
UNREFERRED = (
    *(column.name for column in REGISTRY if column.of_reference),
    *("cosine", "relative_bias", "relative_bias_high"),
)
"""Columns without a value where there is no reference."""


@dataclass(frozen=True)
class LossCell:
    """What identifies the rows of one loss, as a cell of a suite does."""

    suite: str
    name: str
    samples: int
    objective: str
    parameters: GivenParameters
    seed: int
    train_steps: int = 0

    def identity(self) -> dict[str, Any]:
        """As a manifest keeps it."""
        found = {
            "problem": PROBLEM,
            "problem_params": {},
            "data": None,
            "train_steps": self.train_steps,
            "objective": self.objective,
            "objective_params": {},
            "kl": None,
            "estimator": self.name,
            "estimator_params": {},
            "samples": self.samples,
            "device": str(self.parameters.device),
            "dtype": str(self.parameters.dtype).removeprefix("torch."),
            "noise": "latent",
            "seed": self.seed,
        }
        shapes = {name: list(value.shape) for name, value in self.parameters.tensors.items()}
        return {"cell_id": digest({**found, "suite": self.suite, "shapes": shapes}), **found}

    def common(self) -> dict[str, Any]:
        """What all rows of the loss share, measured or not."""
        identity = self.identity()
        return {
            **identity,
            **dict.fromkeys(PARAMETERS, "{}"),
            "schema_version": SCHEMA_VERSION,
            "suite": self.suite,
            "size": f"{sum(value.numel() for value in self.parameters.tensors.values())} parameters",
            "group": "all",
            "gradbench_version": VERSION,
            "torch_version": str(torch.__version__),
            "hardware": hardware(identity["device"], torch.get_num_threads()),
            "started_at": datetime.now(UTC),
            "wall_seconds": 0.0,
        }


def measured_rows(
    cell: LossCell, taken: TakenLoss, shape: Shape, reference: Reference | None, evaluations: float
) -> list[dict[str, Any]]:
    """A row for each group of parameters; without a reference those of spread alone, beside the loss's own mean."""
    common = {
        **cell.common(),
        "evaluations": evaluations,
        "status": "ok",
        "started_at": taken.started,
        "wall_seconds": taken.wall_seconds,
        "engine": taken.engine,
    }
    own = reference or reference_of_moments(taken.moments.moments, shape, draws=taken.draws)
    nothing = {} if reference else dict.fromkeys(UNREFERRED)
    return [
        {
            **common,
            "group": one.group,
            "num_parameters": sum(cell.parameters.tensors[name].numel() for name in one.names),
            **one.figures.columns(),
            **nothing,
            "block_variance": one.variances.tolist(),
            **_cost_columns(taken.cost, one.figures.variance),
        }
        for one in group_figures(taken.moments, own, torch.finfo(cell.parameters.held_in).eps)
    ]


def _cost_columns(cost: Timing | None, variance: float) -> dict[str, Any]:
    if cost is None:
        return {}
    return {
        "seconds": cost.seconds,
        "seconds_low": cost.low,
        "seconds_high": cost.high,
        "flops": cost.flops,
        "peak_bytes": cost.peak_bytes,
        "work_variance": variance * cost.seconds,
    }


def failed_row(cell: LossCell, kind: str, message: str) -> dict[str, Any]:
    """The row of a loss that could not be measured."""
    return {**cell.common(), "status": "failed", "error_type": kind, "message": message}
