"""A cell: one estimator at one point, with everything that fixes its figures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gradbench.core.canonical import digest
from gradbench.engine.options import NoiseSource
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.base import Setting
from gradbench.families import FAMILIES
from gradbench.objectives import OBJECTIVES
from gradbench.objectives.base import Kl
from gradbench.objectives.chosen import ChosenObjective
from gradbench.problems import PROBLEMS
from gradbench.problems import data as data_sets
from gradbench.target.points import Axes


@dataclass(frozen=True)
class Cell:
    """One measurement, resolved: everything that fixes its figures but how many replicates are taken."""

    axes: Axes
    objective: ChosenObjective
    estimator: str
    estimator_params: dict[str, Any]
    samples: int
    device: str
    dtype: str
    noise: NoiseSource = "latent"
    skip: str | None = None

    @property
    def kl(self) -> Kl | None:
        """How the KL is treated; None where there is none."""
        return self.objective.kl

    def identity(self) -> dict[str, Any]:
        """The cell as plain data, a data file by its name; ``scale`` stands beside the problem's parameters."""
        axes = self.axes.canonical()
        if self.axes.scale is not None:
            axes["problem_params"]["scale"] = self.axes.scale
        return {**axes, "data": self.axes.data, **self._rest()}

    def _rest(self) -> dict[str, Any]:
        return {
            "seed": self.axes.seed,
            "objective": self.objective.name,
            "objective_params": self.objective.plain(),
            "kl": self.objective.kl,
            "estimator": self.estimator,
            "estimator_params": self.estimator_params,
            "samples": self.samples,
            "device": self.device,
            "dtype": self.dtype,
            "noise": self.noise,
        }

    def flat(self) -> dict[str, Any]:
        """The same with the parameters of problem and estimator beside the other keys; not to be changed."""
        return self._flat

    @cached_property
    def _flat(self) -> dict[str, Any]:
        identity, parameters = self.identity(), self.axes.parameters.model_dump()
        return {
            **parameters,
            **identity.pop("problem_params"),
            **identity.pop("estimator_params"),
            **identity.pop("objective_params"),
            **identity,
        }

    def features(self) -> int:
        """Columns of the data that the problem is built for. Raises UsageError where the data cannot be read."""
        if self.axes.data in (None, "synthetic"):
            return getattr(self.axes.parameters, "features", 0)
        return data_sets.load_rows(self.axes.data, self.axes.scale, self.axes.contents).shape[1]

    @property
    def cell_id(self) -> str:
        """A hash of the resolved cell, in which a data file is its contents, and a plugin its source."""
        identity = {**self.axes.canonical(), **self._rest()}
        if not self.objective.plain():  # as cells were named before objectives had parameters
            identity.pop("objective_params")
        if self.noise == "latent":  # as cells were named before there was a choice
            identity.pop("noise")
        if brought := self._plugins():
            identity["plugins"] = brought
        return digest(identity, 20)

    def _plugins(self) -> list[str]:
        """The versions of what plugins brought to this cell: another source of one makes another cell."""
        kind = PROBLEMS[self.axes.problem]
        parts = (
            (ESTIMATORS, self.estimator),
            (PROBLEMS, kind.name),
            (FAMILIES, kind.family),
            (OBJECTIVES, self.objective.name),
        )
        found = (registry.version_of(name) for registry, name in parts)
        return sorted({version for version in found if version is not None})

    def setting(self) -> Setting:
        """What the estimator is asked to work with."""
        parameters = ESTIMATORS[self.estimator].Parameters(**self.estimator_params)
        kind = PROBLEMS[self.axes.problem]
        return Setting.of(kind, self.axes.parameters, self.objective, self.samples, parameters)

    def target(self) -> tuple[object, ...]:
        """What fixes the reference gradient: cells that share it share the reference."""
        objective = self.objective
        return (
            self.axes,
            self.device,
            self.dtype,
            self.noise,
            objective.name,
            tuple(sorted(objective.plain().items())),
            objective.inside(self.samples),
        )
