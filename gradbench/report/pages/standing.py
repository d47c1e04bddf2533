"""What kept runs say of one estimator: its figures in each suite that it is in, beside a baseline of the same cells."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pandas as pd

from gradbench.families import FAMILIES
from gradbench.problems import PROBLEMS, written_out
from gradbench.report.format import number, percent, read_alike, span
from gradbench.report.labels import also_varying, each, estimator_label, short, varying_parameters
from gradbench.report.markdown import markdown_table, unmarked
from gradbench.report.words import ZERO_MARK, group_title, without_gradient
from gradbench.results.columns import POINT
from gradbench.results.compare import rank
from gradbench.results.store import Run

HEADERS = ("estimator", "L", "variance of φ", "over the baseline's", "bias of φ", "at most", "φ", "θ", "evaluations")


class KeptRun:
    """A kept run of a suite, with the ratios over each baseline that its cells are held against."""

    def __init__(self, suite: str, run: Run) -> None:
        self.suite = suite
        self.rows = run.ok()
        self.varying = varying_parameters(self.rows)
        self.run = run
        self._ratios: dict[str, pd.DataFrame] = {}

    def tables(self, name: str) -> Iterator[str]:
        """A title and a table for each point at which the estimator ``name`` was measured; none where it was not."""
        for _, there in self.rows.groupby(list(POINT), sort=False, dropna=False):
            own = there[(there.estimator == name) & (there.group == "phi")]
            if len(own):
                yield self.title(own.iloc[0], baseline := baseline_of(there))
                rows = [self._row(row, there, baseline) for row in each(own.sort_values("samples", kind="stable"))]
                yield markdown_table(HEADERS, rows)

    def title(self, row: Any, baseline: str) -> str:
        """The point of ``row`` in words, with how it was measured and the ``baseline`` that ratios are over."""
        words = [row.problem, row["size"], *_parameters(row)]
        words += [f"{row['data']}, batch {row.batch_size}"] if isinstance(row["data"], str) else []
        words += [f"{row.train_steps} steps"] if row.train_steps else []
        words += [f"{row.kl} KL"] if isinstance(row.kl, str) else []
        words += [] if row.objective in ("elbo", "cost") else [row.objective]
        words += also_varying(row, self.varying, shown=("train_steps", "kl", "objective"))
        told = " · ".join(unmarked(str(word)) for word in words if word)
        return f"*{told}* ({row.reference} reference, {row.replicates} replicates); baseline: {baseline}."

    def _row(self, row: Any, there: pd.DataFrame, baseline: str) -> tuple[str, ...]:
        theta = there[(there.cell_id == row.cell_id) & (there.group == "theta")]
        scale = row.variance**0.5 if without_gradient(row.gradient_norm, row.variance) else None
        mark = "" if scale is None else ZERO_MARK
        bias, most = (
            (row.relative_bias, row.relative_bias_high)
            if scale is None
            else (row.bias_norm / scale, row.bias_high / scale)
        )
        return (
            unmarked(estimator_label(row.estimator, row.estimator_params, self.varying)),
            str(row.samples),
            f"{number(row.variance)} ({span(row.variance_low, row.variance_high)})",
            self._ratio(row, baseline),
            percent(bias) + mark,
            percent(most) + mark,
            row.verdict,
            theta.iloc[0].verdict if len(theta) else "–",
            number(row.evaluations),
        )

    def _ratio(self, row: Any, baseline: str) -> str:
        if baseline not in self._ratios:
            self._ratios[baseline] = rank(self.run, baseline)[1]
        ratios = self._ratios[baseline]
        found = ratios[(ratios.cell_id_b == row.cell_id) & (ratios.group == row.group)]
        if found.empty and row.estimator == baseline:  # over itself
            return number(1.0) if row.variance > 0 else "–"
        if found.empty or pd.isna(found.iloc[0].variance_ratio):
            return "–"
        value, low, high = (found.iloc[0][f"variance_ratio{end}"] for end in ("", "_low", "_high"))
        return number(value) if read_alike(value, low, high) else f"{number(value)} ({span(low, high)})"


def _parameters(row: Any) -> list[str]:
    """The parameters of a row's problem that its size does not say; the batch is said with the data."""
    values = written_out(row.problem, json.loads(row.problem_params))
    words = [f"{name}={short(value)}" for name, value in values.items() if value is not None and name != "batch"]
    return [word for word in words if word not in row["size"].split()]


def baseline_of(there: pd.DataFrame) -> str:
    """The estimator that the family of the latents is judged by, where these cells have it; else their first."""
    judge = FAMILIES[PROBLEMS[there.iloc[0].problem].family].judged_by.estimator
    return judge if judge in set(there.estimator) else str(there.estimator.iloc[0])


def explained() -> str:
    """What the columns mean."""
    return (
        "Variance is that of the whole φ-gradient; figures in parentheses are 95 % intervals, and a ratio below 1 is "
        "less noise than the baseline's in the same cell. Bias is a share of ‖g‖, and at most so much with 97.5 % "
        f"confidence; {ZERO_MARK} marks a share of √variance, where ‖g‖ = 0. {group_title('phi')} and "
        f"{group_title('theta')} are the verdicts on each part of the gradient. Evaluations are those of f and its "
        "gradients in z, per datapoint."
    )
