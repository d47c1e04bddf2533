"""Every column of the results, declared once: name, type, meaning, and what it takes part in.

Schema, exports, comparisons, claims, slopes, listings, help texts and the page of docs/ are derived from ``REGISTRY``.
This module imports nothing but the standard library, so that whoever only lists columns waits for nothing.

Intervals are 95 %; gradients point up the objective, averaged over the minibatch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

SCHEMA_VERSION = 2
"""Version of the layout that is written. Runs of older ones are read, those of newer ones refused."""

Type = Literal["text", "json", "int32", "int64", "real", "reals", "time"]
"""``json`` is a text, the canonical JSON of a table of parameters; ``reals`` a list; ``time`` is UTC."""
Section = Literal["identity", "counts", "reference", "bias", "spread", "cost", "status", "provenance"]


@dataclass(frozen=True)
class Before:
    """What a run holds that was written before there was the column: one value, or what another column holds."""

    value: str | None = None
    same_as: str | None = None


@dataclass(frozen=True)
class SlopeFigure:
    """A figure whose logarithm is fitted against the axes: its name in ``slopes.parquet``, and in tables."""

    figure: str
    title: str


@dataclass(frozen=True)
class Column:
    """One column of the results."""

    name: str
    type: Type
    meaning: str
    section: Section
    nullable: bool = False
    """Whether a measured row may have no value; rows of cells without figures have none but identity and status."""
    interval: tuple[str, str] | None = None
    """Columns that are the ends of its 95 % interval."""
    over: str | None = None
    """Column that both ends of the interval are to be divided by."""
    error: str | None = None
    """Column that is its standard error, of one whose interval has no ends of its own."""
    identity: bool = False
    """Whether it tells one row of a run from another."""
    readable: bool = False
    """Whether it is among the few that are exported where there is no room for all."""
    compared: bool = False
    """Whether ratios of it are formed between rows; of each, less is better."""
    averaged: bool = False
    """Whether it is known of the average of n independent gradients once it is known of one."""
    spent: bool = False
    """Whether it is what one gradient costs, so that estimators can be compared at as much of it for each."""
    slope: SlopeFigure | None = None
    axis: str | None = None
    """Title of the axis, where slopes are taken against it."""
    timed: bool = False
    """Whether it differs from run to run on one machine, as times do."""
    bulky: bool = False
    """Whether it is kept in every row, and read only where it is asked for by name."""
    since: int = 1
    """The first schema of which every run has it."""
    later: bool = False
    """Whether it came to its schema when there were runs of that already, which may lack it."""
    before: Before | None = None
    """What runs hold that lack it."""
    rising: bool = False
    """Whether more of it is better, of what estimators are ranked by in exports."""


REGISTRY: tuple[Column, ...] = (
    Column("schema_version", "int32", "version of this table's layout", "identity"),
    Column("cell_id", "text", "hash of the resolved cell; the rows of one cell share it", "identity"),
    Column("suite", "text", "name of the suite", "identity"),
    Column("problem", "text", "the target: q, p (or a cost) and data", "identity", identity=True, readable=True),
    Column(
        "problem_params",
        "json",
        "the problem's parameters, and the scale of a data file where one is given, canonical JSON",
        "identity",
        identity=True,
    ),
    Column("size", "text", "short label of the problem's size", "identity", readable=True),
    Column(
        "data",
        "text",
        "data set, a file by the name that the suite gives it; null for a cost",
        "identity",
        identity=True,
        nullable=True,
    ),
    Column("num_parameters", "int64", "parameters in the group", "identity", axis="log size"),
    Column("latent_dim", "int32", "latent variables per datapoint", "identity"),
    Column("batch_size", "int32", "datapoints in the minibatch; null for a cost", "identity", nullable=True),
    Column("train_steps", "int64", "Adam steps taken before measuring", "identity", identity=True, readable=True),
    Column("objective", "text", "what is differentiated, such as elbo, iwae or cost", "identity", identity=True),
    Column(
        "objective_params",
        "json",
        "the objective's parameters, canonical JSON; {} where it has none",
        "identity",
        identity=True,
        since=2,
        before=Before(value="{}"),
    ),
    Column(
        "kl",
        "text",
        "analytic (in closed form) or monte-carlo (sampled with the rest); null for a cost",
        "identity",
        identity=True,
        readable=True,
        nullable=True,
    ),
    Column(
        "estimator", "text", "the rule that turns L samples into one gradient", "identity", identity=True, readable=True
    ),
    Column(
        "estimator_params",
        "json",
        "the estimator's parameters, canonical JSON",
        "identity",
        identity=True,
        readable=True,
    ),
    Column(
        "samples",
        "int32",
        "L, samples of the latents per datapoint in one gradient; an antithetic pair is 2",
        "identity",
        identity=True,
        readable=True,
        axis="log L",
    ),
    Column("device", "text", "where it was measured", "identity", identity=True),
    Column("dtype", "text", "precision of parameters and gradients", "identity", identity=True),
    Column(
        "noise",
        "text",
        "latent: one minibatch, its latents drawn anew; latent+data: every block draws a minibatch, too",
        "identity",
        identity=True,
        since=2,
        before=Before(value="latent"),
    ),
    Column("seed", "int64", "seed of initialisation, minibatch and noise", "identity", identity=True),
    Column(
        "group",
        "text",
        "parameters that the row is about: all, phi, theta, or one tensor",
        "identity",
        identity=True,
        readable=True,
    ),
    Column("replicates", "int64", "R, independent draws of the gradient estimate", "counts"),
    Column("blocks", "int32", "K, independent blocks that the replicates come in", "counts"),
    Column(
        "evaluations",
        "real",
        "evaluations of log p(x,z), or gradients of it in z, per datapoint for one gradient",
        "counts",
        spent=True,
    ),
    Column(
        "reference",
        "text",
        "where the reference gradient is from: closed-form, enumeration, quadrature or monte-carlo",
        "reference",
    ),
    Column("gradient_norm", "real", "norm of the reference gradient g", "reference", error="reference_se"),
    Column("reference_se", "real", "standard error of the reference, as a norm; 0 where it is exact", "reference"),
    Column(
        "bias_sq",
        "real",
        "unbiased estimate of ||E g^ - g||^2; may be negative",
        "bias",
        slope=SlopeFigure("bias_sq", "bias²"),
    ),
    Column("bias_sq_se", "real", "standard error of bias_sq", "bias"),
    Column(
        "bias_norm",
        "real",
        "square root of bias_sq, 0 where that is negative",
        "bias",
        interval=("bias_low", "bias_high"),
    ),
    Column("bias_low", "real", "lower end of the interval of ||bias||", "bias"),
    Column("bias_high", "real", "upper end of the interval of ||bias||", "bias"),
    Column(
        "relative_bias",
        "real",
        "bias_norm / gradient_norm; null where the gradient is 0",
        "bias",
        interval=("bias_low", "bias_high"),
        over="gradient_norm",
        readable=True,
        nullable=True,
    ),
    Column(
        "relative_bias_high", "real", "bias_high / gradient_norm; null where the gradient is 0", "bias", nullable=True
    ),
    Column("bias_p", "real", "p value of 'no bias' (sign-flip test on blocks)", "bias"),
    Column(
        "bias_controlled",
        "int32",
        "tensors of the group whose bias was measured after removing noise of known mean 0; variance has that noise",
        "bias",
        nullable=True,
        since=2,
        later=True,
        before=Before(),
    ),
    Column(
        "verdict",
        "text",
        "biased (Holm-corrected over its group's rows), unbiased (bias below the margin), or unresolved",
        "bias",
        readable=True,
    ),
    Column(
        "variance",
        "real",
        "trace of the covariance of one gradient, under all of the noise",
        "spread",
        interval=("variance_low", "variance_high"),
        readable=True,
        compared=True,
        averaged=True,
        slope=SlopeFigure("variance", "variance"),
    ),
    Column("variance_low", "real", "lower end of the interval of variance", "spread", readable=True),
    Column("variance_high", "real", "upper end of the interval of variance", "spread", readable=True),
    Column("variance_mean", "real", "variance per parameter", "spread"),
    Column(
        "variance_latent",
        "real",
        "part of variance that drawing the latents anew makes, at a fixed minibatch",
        "spread",
        interval=("variance_latent_low", "variance_latent_high"),
        since=2,
        before=Before(same_as="variance"),
    ),
    Column(
        "variance_latent_low",
        "real",
        "lower end of the interval of variance_latent",
        "spread",
        since=2,
        before=Before(same_as="variance_low"),
    ),
    Column(
        "variance_latent_high",
        "real",
        "upper end of the interval of variance_latent",
        "spread",
        since=2,
        before=Before(same_as="variance_high"),
    ),
    Column(
        "variance_data",
        "real",
        "part that drawing the minibatch anew makes, unbiased, so it may be negative; null: it is fixed",
        "spread",
        interval=("variance_data_low", "variance_data_high"),
        nullable=True,
        since=2,
        before=Before(),
    ),
    Column(
        "variance_data_low",
        "real",
        "lower end of the interval of variance_data, at least 0 where variance_data is",
        "spread",
        nullable=True,
        since=2,
        before=Before(),
    ),
    Column(
        "variance_data_high",
        "real",
        "upper end of the interval of variance_data",
        "spread",
        nullable=True,
        since=2,
        before=Before(),
    ),
    Column(
        "snr",
        "real",
        "||g||^2 / variance",
        "spread",
        averaged=True,
        slope=SlopeFigure("snr_root", "‖g‖/√variance"),
        rising=True,
    ),
    Column(
        "snr_mean",
        "real",
        "mean over parameters of |mean| / standard deviation, the floor of few replicates removed",
        "spread",
        nullable=True,
        rising=True,
    ),
    Column(
        "kurtosis", "real", "of ||g^ - E g^||: E d^4 / (E d^2)^2; null where the variance is 0", "spread", nullable=True
    ),
    Column(
        "mse",
        "real",
        "variance + bias_sq",
        "spread",
        interval=("mse_low", "mse_high"),
        compared=True,
        averaged=True,
    ),
    Column("mse_low", "real", "lower end of the interval of mse", "spread"),
    Column("mse_high", "real", "upper end of the interval of mse", "spread"),
    Column("cosine", "real", "mean cosine of one gradient with the reference", "spread", nullable=True, rising=True),
    Column(
        "block_variance",
        "reals",
        "variance block by block, which paired comparisons need",
        "spread",
        nullable=True,
        bulky=True,
    ),
    Column(
        "seconds",
        "real",
        "median wall time of one gradient as a training step takes it",
        "cost",
        interval=("seconds_low", "seconds_high"),
        readable=True,
        compared=True,
        spent=True,
        timed=True,
    ),
    Column("seconds_low", "real", "lower end of the interval of the median", "cost", timed=True),
    Column("seconds_high", "real", "upper end of the interval of the median", "cost", timed=True),
    Column(
        "flops",
        "real",
        "floating-point operations of one gradient that torch counts (matrix products)",
        "cost",
    ),
    Column("peak_bytes", "real", "peak memory of one gradient; null where it is not measured", "cost", nullable=True),
    Column(
        "work_variance",
        "real",
        "variance * seconds: the smaller, the better the estimator per unit of time",
        "cost",
        readable=True,
        compared=True,
        timed=True,
    ),
    Column(
        "engine",
        "text",
        "the path that measured it: layers (norms alone), general (every gradient formed), loop (one by one)",
        "cost",
        since=2,
        before=Before(),
    ),
    Column("status", "text", "ok, failed or skipped", "status"),
    Column("error_type", "text", "kind of failure", "status", nullable=True),
    Column(
        "message",
        "text",
        "why a cell failed or was skipped; of an unresolved row, how many replicates would decide it",
        "status",
        nullable=True,
    ),
    Column("gradbench_version", "text", "version of gradbench", "provenance"),
    Column("torch_version", "text", "version of torch", "provenance"),
    Column("hardware", "text", "processor or GPU", "provenance"),
    Column("started_at", "time", "when the cell was begun (UTC)", "provenance", timed=True),
    Column("wall_seconds", "real", "time that measuring the cell took", "provenance", timed=True),
)

BY_NAME = {column.name: column for column in REGISTRY}
TABLE = tuple(column for column in REGISTRY if not column.bulky)
"""The columns that a run is loaded with, in order."""
COLUMNS = tuple(column.name for column in TABLE)
METRICS = {column.name: column.meaning for column in TABLE}
IDENTITY = tuple(column.name for column in TABLE if column.identity)
"""Columns that tell one row of a run from another."""
TARGET = tuple(name for name in IDENTITY if name not in ("estimator", "estimator_params"))
"""Columns that two estimators must share to be compared."""
POINT = tuple(name for name in TARGET if name not in ("samples", "group"))
"""Columns that all rows of one printed table share."""
PARAMETERS = tuple(column.name for column in TABLE if column.type == "json")
"""Columns that hold parameters, by name within a JSON text."""
READABLE = tuple(column.name for column in TABLE if column.readable)
COMPARED = tuple(column.name for column in TABLE if column.compared)
"""Figures that ratios are formed of, between estimators and between runs; of each, less is better."""
WITH_INTERVAL = tuple(column.name for column in TABLE if column.interval or column.error)
SLOPES = {c.slope.figure: c.slope.title for c in sorted(TABLE, key=lambda c: not c.compared) if c.slope}
"""Figures that slopes are fitted of, those that are compared first, with their titles."""
AXES = {c.name: c.axis for c in sorted(TABLE, key=lambda c: not c.identity) if c.axis}
"""Columns that slopes are taken against, what the suite sets first, with the titles of their axes."""
COSTS = tuple(column.name for column in TABLE if column.spent)
"""What estimators are compared at as much of for each: ``--at``, and ``at`` of a claim."""
AVERAGED = tuple(column.name for column in TABLE if column.averaged)
"""Figures that are known at equal cost."""
CSV_TYPES = {
    column.name: {"text": "object", "json": "object", "int32": "Int64", "int64": "Int64", "real": "float64"}[
        column.type
    ]
    for column in TABLE
    if column.type != "time"
}
"""What pandas reads the columns of an exported CSV as; the time beside them is one of ``parse_dates``."""
TIMED = tuple(column.name for column in TABLE if column.timed)


def identity_of(cell: Mapping[str, Any]) -> dict[str, Any]:
    """A cell as a manifest keeps it, with what older manifests leave out, parameters as tables.

    >>> identity_of({"problem": "rainforth", "noise": "latent+data"})
    {'objective_params': {}, 'noise': 'latent+data', 'problem': 'rainforth'}
    """
    later = ((column, column.before.value) for column in TABLE if column.identity and column.before)
    known = {c.name: json.loads(value) if c.type == "json" and value else value for c, value in later}
    return {**known, **cell}


def listed(names: tuple[str, ...], last: str = "or") -> str:
    """Names as a sentence lists them.

    >>> listed(("variance", "mse", "seconds"))
    'variance, mse or seconds'
    """
    return f" {last} ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)
