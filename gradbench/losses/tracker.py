"""Losses measured along training, at every so many steps, without a trace left in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from gradbench.core.errors import RunError, UsageError
from gradbench.losses.measuring import measure
from gradbench.losses.results_of_losses import MeasuredLosses, write_run
from gradbench.results import store

COST = ("seconds", "seconds_low", "seconds_high", "flops", "peak_bytes")


class Tracker:
    """Measures losses when it is called with the step of a training loop, every ``every`` steps.

    Parameters, their gradients, buffers, the mode of modules, the optimiser and every random state are left as they
    are: training goes on to the bit as without it. Rows are those of `measure`, with the step in ``train_steps``; what
    a gradient costs is timed the first time.

    >>> tracker = Tracker({"loss": loss}, model, every=100)  # doctest: +SKIP
    >>> for step in range(1000):  # doctest: +SKIP
    ...     tracker(step)
    ...     optimiser.zero_grad(); loss().backward(); optimiser.step()
    >>> tracker.save("results/training")  # doctest: +SKIP
    """

    def __init__(
        self,
        losses: Callable[[], Any] | dict[Any, Callable[[], Any]],
        parameters: Any,
        *,
        every: int = 100,
        out: str | Path | None = None,
        replicates: int = 256,
        blocks: int = 16,
        name: str = "training",
        **options: Any,
    ) -> None:
        """``options`` are those of `measure`, whose meaning of losses and parameters is the same.

        ``out``: a new folder that is a run after every measurement. Raises UsageError.
        """
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise UsageError(f"every: expected a number of steps, 1 or more, got {every!r}")
        self.losses, self.parameters, self.every, self.name = losses, parameters, every, name
        self.out = None if out is None else Path(out)
        self.options = {"replicates": replicates, "blocks": blocks, **options}
        self.measured: MeasuredLosses | None = None
        self._costs: dict[tuple[str, int], dict[str, Any]] = {}
        if self.out is not None and self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir())):
            raise RunError(f"{self.out}: is there already; give a new folder")

    def __call__(self, step: int) -> MeasuredLosses | None:
        """Measure at ``step``, where its turn is; what was measured at it, or None. Raises what `measure` raises."""
        return self.at(step) if step % self.every == 0 else None

    def at(self, step: int) -> MeasuredLosses:
        """Measure at ``step``, whatever its turn; a step that was measured before is refused by UsageError."""
        if self.measured is not None and any(cell["train_steps"] == step for cell in self.measured.cells):
            raise UsageError(f"step {step} was measured already; count steps on from one epoch to the next")
        found = measure(
            self.losses,
            self.parameters,
            name=self.name,
            train_steps=step,
            timed=self.measured is None,
            **self.options,
        )
        for row in found.rows:
            self._with_cost(row)
        before = self.measured
        pairs = found.pairs.assign(train_steps=step) if len(found.pairs) else found.pairs
        self.measured = MeasuredLosses(
            self.name,
            [*(before.rows if before else []), *found.rows],
            pd.concat([before.pairs, pairs], ignore_index=True) if before and len(before.pairs) else pairs,
            tuple(dict.fromkeys([*(before.notes if before else ()), *found.notes])),
            found.measure,
            [*(before.cells if before else []), *found.cells],
            before.started if before else found.started,
        )
        if self.out is not None:
            with store.reserved(self.out):
                write_run(self.out, self.measured.manifest(), found.rows, self.measured.pairs)
        return found

    @property
    def frame(self) -> pd.DataFrame:
        """All rows so far; none before the first measurement."""
        return pd.DataFrame() if self.measured is None else self.measured.frame

    def save(self, folder: str | Path) -> Path:
        """Keep all of it as one run. Raises UsageError where nothing was measured yet, and RunError (see `measure`)."""
        if self.measured is None:
            raise UsageError("nothing was measured yet; call the tracker with the step of the training loop")
        return self.measured.save(folder)

    def _with_cost(self, row: dict[str, Any]) -> None:
        """Give a row the cost that was timed the first time."""
        key = (row["estimator"], row["samples"])
        if row["status"] != "ok":
            return
        if row.get("seconds") is not None:
            self._costs[key] = {name: row[name] for name in COST}
        elif key in self._costs:
            row |= self._costs[key] | {"work_variance": row["variance"] * self._costs[key]["seconds"]}
