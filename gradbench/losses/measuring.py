"""Measure losses as they are: each under the same seeds, against a reference or against each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from gradbench.core.errors import MeasurementError, UsageError
from gradbench.core.isolation.guard import WHEN_LOADED, Guard
from gradbench.losses.against import (
    GivenReference,
    fixed_reference,
    reference_given,
    reference_of_moments,
)
from gradbench.losses.blocks import Shape
from gradbench.losses.evaluated import REMEMBERING, Remembering
from gradbench.losses.factors import factor_told
from gradbench.losses.given import GivenParameters, Loss, ascent, by_loss, losses_of, parameters_of
from gradbench.losses.loss_rows import LossCell, failed_row, measured_rows
from gradbench.losses.pairs import compared_losses
from gradbench.losses.results_of_losses import MeasuredLosses
from gradbench.losses.taking import Sampling, TakenLoss, taken
from gradbench.runner.jobs import LONGEST
from gradbench.statistics import MARGIN
from gradbench.target.reference import Reference

NAME = "losses"


def measure(
    losses: Loss | dict[Any, Loss],
    parameters: Any,
    *,
    reference: Any = None,
    replicates: int = 1024,
    blocks: int = 32,
    seed: int = 0,
    sign: str | int = "loss",
    samples: int | dict[str, int] | None = None,
    evaluations: float | dict[str, float] | None = None,
    margin: float = MARGIN,
    state: Remembering = "refuse",
    engine: str = "auto",
    out: str | Path | None = None,
    name: str = NAME,
    train_steps: int = 0,
    timed: bool = True,
    tick: Callable[[str, int], None] = lambda name, done: None,
) -> MeasuredLosses:
    """Bias, variance and cost of the gradients of torch losses, taken as they are.

    ``losses`` is a callable without arguments that draws its own randomness and returns a scalar loss, or [R] losses
    of as many replicates; or a dict of them by name, or by name and L, ``{("iwae", 8): …}``. ``parameters`` is what
    they are differentiated by: a module, tensors by name, groups of these by name, an optimiser.

    ``reference`` is what bias is measured against: another loss, the name of one of the losses, a fixed gradient (by
    name, or in the order of the parameters; of the loss as it stands), or None: then spread alone is measured, and
    losses are compared with each other. A reference that draws nothing is exact; else its error is inside.

    Replicate i of every loss is evaluated under the same seed, so that blocks are paired. ``sign``: "loss", which is
    minimised, or "objective". ``samples`` and ``evaluations`` say L and the evaluations that one gradient takes, for
    all losses or by name. ``state``: what to do about a loss whose gradient depends on what it did before ("refuse",
    "restore", "keep"). ``engine``: "loop", one replicate after the other; "vmap", many at once; "auto". ``out``: a
    folder to keep it in as a run. ``tick`` is told of replicates as they are done.

    The global random state, gradients, buffers and whatever else a loss changes are put back. A loss that cannot be
    measured is a row with the reason, as long as another can be; else MeasurementError is raised. Raises UsageError
    for what cannot be used as it is given.
    """
    given = parameters_of(parameters)
    chosen = losses_of(losses)
    factor, objective = ascent(sign)
    if state not in REMEMBERING:
        raise UsageError(f"state: expected {', '.join(REMEMBERING[:-1])} or {REMEMBERING[-1]}, got {state!r}")
    names = [name for name, _ in chosen]
    sampling = Sampling(replicates, blocks, seed, factor, state, engine, timed)
    same = (name for (name, _), loss in chosen.items() if loss is reference)
    against = reference_given(next(same, reference), names, given, factor)
    counts = by_loss(samples, names, "samples", 1)
    spent = by_loss(evaluations, names, "evaluations", 0)
    cells = {
        (label, size): LossCell(name, label, int(size or counts[label]), objective, given, seed, train_steps)
        for label, size in chosen
    }
    if len({(cell.name, cell.samples) for cell in cells.values()}) < len(cells):
        raise UsageError("samples: two losses have one name and one L; give each another name")
    if out is not None and Path(out).exists() and (not Path(out).is_dir() or any(Path(out).iterdir())):
        raise UsageError(f"{out}: is there already; give a new folder")
    shape = Shape({key: value.shape for key, value in given.tensors.items()}, given.device, given.held_in)
    work = _Work(given, sampling, shape, tick)
    with Guard("a loss", items=WHEN_LOADED):
        found = work.all_of({key: chosen[key] for key in cells}, cells, against)
    rows = [row for key, cell in cells.items() for row in found.rows(cell, key, spent[cell.name])]
    pairs = pd.DataFrame()
    if found.reference is None and len(found.taken) > 1:
        labels = {key: _label(cells[key], cells) for key in found.taken}
        both = {labels[key]: one for key, one in found.taken.items()}
        pairs = compared_losses(both, shape, torch.finfo(given.held_in).eps, margin)
    measured = MeasuredLosses(
        name,
        rows,
        pairs,
        (*given.notes, *found.notes),
        {"replicates": replicates, "blocks": blocks, "margin": margin, "sign": objective, "paired": True},
        [cell.identity() for cell in cells.values()],
    )
    if not found.taken:
        raise next(iter(found.failures.values()))
    if out is not None:
        measured.save(out)
    return measured


def _label(cell: LossCell, cells: dict[Any, LossCell]) -> str:
    alone = sum(one.name == cell.name for one in cells.values()) == 1
    return cell.name if alone else f"{cell.name} L={cell.samples}"


class _Found:
    """What was measured of losses, and of their reference."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.taken: dict[Any, TakenLoss] = {}
        self.failures: dict[Any, MeasurementError] = {}
        self.reference: Reference | None = None
        self.notes: list[str] = []

    def rows(self, cell: LossCell, key: Any, evaluations: float) -> list[dict[str, Any]]:
        """The rows of one loss."""
        if (failure := self.failures.get(key)) is not None:
            kind = getattr(failure, "raised", None) or type(failure).__name__
            return [failed_row(cell, kind, str(failure)[:LONGEST])]
        return measured_rows(cell, self.taken[key], self.shape, self.reference, evaluations or cell.samples)


class _Work:
    """Measures losses one after the other, the reference first."""

    def __init__(
        self, parameters: GivenParameters, sampling: Sampling, shape: Shape, tick: Callable[[str, int], None]
    ) -> None:
        self.parameters, self.sampling, self.shape, self.tick = parameters, sampling, shape, tick

    def all_of(self, losses: dict[Any, Loss], cells: dict[Any, LossCell], against: GivenReference) -> _Found:
        """Measure the reference, then the losses. Raises MeasurementError where the reference cannot be measured."""
        found = _Found(self.shape)
        known = next((key for key in losses if against.name is not None and cells[key].name == against.name), None)
        if against.gradient is not None:
            found.reference = fixed_reference(against.gradient)
        elif known is not None or against.loss is not None:
            loss = losses[known] if known is not None else against.loss
            assert loss is not None
            own = self._taken(loss, "reference" if known is None else cells[known].name)
            found.reference = reference_of_moments(own.moments.moments, self.shape, draws=own.draws)
            found.notes += [f"reference: {note}" for note in own.notes] if known is None else []
            if known is not None:
                found.notes.append(f"{cells[known].name}: is the reference, so that its bias is 0 whatever it is worth")
        gradient = None if found.reference is None else found.reference.gradient
        for key, loss in losses.items():
            label = _label(cells[key], cells)
            try:
                found.taken[key] = self._taken(loss, label, gradient)
            except MeasurementError as error:
                found.failures[key] = error
                continue
            found.notes += [f"{label}: {note}" for note in found.taken[key].notes]
            if found.reference is not None and (told := factor_told(found.taken[key], found.reference)) is not None:
                found.notes.append(f"{label}: {told}")
        return found

    def _taken(self, loss: Loss, label: str, reference: Any = None) -> TakenLoss:
        return taken(loss, label, self.parameters, self.sampling, reference, lambda done: self.tick(label, done))
