"""Rich tables of runs, plans, rankings and registries. They read well at 100 columns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd
from rich.console import Group, RenderableType

from gradbench.core.printable import one_line
from gradbench.problems import written_out
from gradbench.report.format import count, duration, number, percent, span
from gradbench.report.hints import hints
from gradbench.report.layout import plain_table
from gradbench.report.plain import Table, Text
from gradbench.report.words import STYLES, ZERO_MARK, group_title, without_gradient
from gradbench.results.columns import PARAMETERS, POINT
from gradbench.results.store import Run, replicates_to_resolve

HEAVY_TAILS = 30
"""Kurtosis of ‖ĝ − E ĝ‖ above which the tails are called heavy; 3 for one Gaussian parameter, less for more."""
HEAVY_MARK, OTHER_MARK = "†", "‡"
OF_THE_MEAN = "of the mean; no reference"


def run_tables(run: Run, group: str = "phi") -> RenderableType:
    """One table per target: estimators × L with variance, bias, verdict and cost; then what was not measured."""
    parts: list[RenderableType] = []
    rows = run.ok()
    shown = rows[rows.group == group]
    varying = varying_parameters(shown)
    for _, target in shown.groupby(list(POINT), sort=False, dropna=False):
        parts += [_target_table(target, group, varying), ""]
    parts += _footnotes(shown)
    if len(shown):
        parts.append(Text("* least variance × time among the estimators not found biased, for each L", style="dim"))
    parts += other_groups(rows, group)
    parts += list(not_measured(run.frame))
    return Group(*parts)


def _target_table(rows: pd.DataFrame, group: str, varying: dict[str, set[str]]) -> Table:
    table = plain_table(target_title(rows, group, varying), padding=0)
    redrawn = rows.variance_data.notna().any()
    for name, justify in (
        ("estimator", "left"),
        ("L", "right"),
        ("variance", "right"),
        ("95 % interval", "left"),
        *([("data", "right")] if redrawn else []),
        ("bias", "right"),
        ("at most", "right"),
        ("verdict", "left"),
        ("time", "right"),
        ("var × s", "right"),
    ):
        folds = name in ("estimator", "verdict") or (redrawn and name == "95 % interval")
        table.add_column(name, justify=justify, overflow="fold", no_wrap=not folds)  # pyright: ignore[reportArgumentType]
    usual = usual_replicates(rows)
    marked = usual is not None and (rows.replicates != usual).any()
    sound = rows[(rows.verdict != "biased") & (rows.variance_high < float("inf"))]
    best = set(sound.groupby("samples").work_variance.idxmin()) if len(sound) else set()
    previous = None
    for row in each(rows):
        estimator = estimator_label(row.estimator, row.estimator_params, varying)
        table.add_row(
            estimator if estimator != previous else "",
            str(row.samples) + ("" if not marked else OTHER_MARK if row.replicates != usual else " "),
            number(row.variance) + (HEAVY_MARK if heavy_tailed(row.kurtosis) else ""),
            span(row.variance_low, row.variance_high),
            *([percent(_data_share(row))] if redrawn else []),
            _share(row, row.relative_bias, row.bias_norm),
            _share(row, row.relative_bias_high, row.bias_high),
            verdict_text(row),
            duration(row.seconds),
            number(row.work_variance) + ("*" if row.Index in best else " "),
            style="bold" if row.Index in best else "",
        )
        previous = estimator
    return table


def verdict_text(row: Any) -> Text:
    """The verdict; with the number of replicates that would decide it where it is open."""
    needed = replicates_to_resolve(row.message) if row.verdict == "unresolved" else None
    text = f"{row.verdict} {count(needed)}" if needed else str(row.verdict)
    return Text(text, style=STYLES.get(str(row.verdict), ""))


def usual_replicates(rows: pd.DataFrame) -> int | None:
    """The number of replicates that most of ``rows`` have; None where no number is that of most, as after a top-up.

    An estimator that draws nothing takes a few replicates, whatever the others take.
    """
    counts = rows.replicates.value_counts()
    return int(counts.index[0]) if len(counts) == 1 or 2 * counts.iloc[0] > len(rows) else None


def _replicates(rows: pd.DataFrame) -> str:
    """What a caption says of the replicates of its rows."""
    usual = usual_replicates(rows)
    return f"{rows.replicates.min()}–{rows.replicates.max()} replicates" if usual is None else f"{usual} replicates"


def _share(row: Any, relative: float | None, bias: float) -> str:
    """A bias as a share of ‖g‖; of √variance, and marked so, where ‖g‖ is 0."""
    if without_gradient(row.gradient_norm, row.variance):
        return percent(bias / row.variance**0.5) + ZERO_MARK
    return percent(relative)


def _data_share(row: Any) -> float | None:
    """How much of the variance is that of the minibatch."""
    return max(row.variance_data / row.variance, 0.0) if row.variance > 0 else None


def heavy_tailed(kurtosis: float | None) -> bool:
    """Whether a few replicates carry the variance, so that its interval is wide and leans on them."""
    return kurtosis is not None and kurtosis > HEAVY_TAILS


def _footnotes(rows: pd.DataFrame) -> Iterator[RenderableType]:
    """What the columns of a table hold, and what stands against them."""
    if len(rows):
        yield Text("bias: as a share of ‖g‖, and what it is at most with 97.5 % confidence", style="dim")
    if any(without_gradient(row.gradient_norm, row.variance) for row in each(rows)):
        yield Text(f"{ZERO_MARK} ‖g‖ = 0: as a share of √variance, the standard deviation of one gradient", style="dim")
    if len(others := _other_replicates(rows)):
        said = ", ".join(map(str, others))
        yield Text(f"{OTHER_MARK} not as many replicates as the caption says: {said}", style="dim")
    if rows.variance_data.notna().any():
        text = "variance: latents and minibatch both drawn anew; data: the share that is the minibatch's"
        yield Text(text, style="dim")
    yield from cautions(rows)


def cautions(rows: pd.DataFrame) -> Iterator[RenderableType]:
    """What verdicts and marks of a table mean, and what stands against its rows."""
    if (rows.verdict == "unresolved").any():
        yield Text("unresolved n: about n replicates would decide, as far as can be told now", style="dim")
    if rows["kurtosis"].map(heavy_tailed).any():
        text = f"{HEAVY_MARK} heavy tails (kurtosis above {HEAVY_TAILS}): few replicates carry most of the variance"
        yield Text(text, style="dim")
    for hint in hints(rows):
        yield Text(hint, style="yellow")


def _other_replicates(rows: pd.DataFrame) -> list[int]:
    """Numbers of replicates that differ from those in the captions."""
    found: set[int] = set()
    for _, target in rows.groupby(list(POINT), sort=False, dropna=False):
        usual = usual_replicates(target)
        found |= set() if usual is None else set(map(int, target.replicates)) - {usual}
    return sorted(found)


def target_title(rows: pd.DataFrame, group: str, varying: dict[str, set[str]]) -> str:
    row = rows.iloc[0]
    words = [str(row.problem), *([str(row["size"])] if row["size"] else [])]
    words += varied(row.problem, row.problem_params, varying, said=str(row["size"]))
    if isinstance(row.data, str):
        words.append(f"{row.data} (batch {int(row.batch_size)})")
        words.append(f"{int(row.train_steps)} steps")
    if isinstance(row.kl, str):
        words.append(f"{row.kl} KL")
    words += also_varying(row, varying, shown=("data", "train_steps", "kl", "device", "dtype"))
    norm = f"{one_line(group_title(group))}-gradient: ‖g‖ = {_norms(rows)}"
    return one_line(" · ".join(words)) + f"\n{norm} · {_replicates(rows)} · {row.device} {row['dtype']}"


def _norms(rows: pd.DataFrame) -> str:
    """The norm of the reference gradient and where it is from; those of the first and the last L where it has L in it.

    A bound of L samples is another objective for every L.
    """
    first = rows.sort_values("samples", kind="stable").drop_duplicates("samples")
    said = [f"{number(row.gradient_norm)} ({row.reference or OF_THE_MEAN})" for row in each(first)]
    if len(set(said)) == 1:
        return said[0]
    ends = (first.iloc[0], first.iloc[-1])
    norms = " … ".join(number(row.gradient_norm) for row in ends)
    sources = ", ".join(dict.fromkeys(first.reference))
    return f"{norms} for L = {ends[0].samples} … {ends[1].samples} ({sources})"


def estimator_label(estimator: str, params: str, varying: dict[str, set[str]]) -> str:
    """An estimator's name, with those of its parameters that vary in the run."""
    return one_line(" ".join([estimator, *varied(estimator, params, varying)]))


def varied(name: str, params: str, varying: dict[str, set[str]], said: str = "") -> list[str]:
    """Those parameters of the problem or estimator ``name`` that vary in the run, in words not yet ``said``."""
    values = written_out(name, json.loads(params))
    words = [f"{key}={short(values[key])}" for key in sorted(varying.get(name, set())) if key in values]
    return [word for word in words if word not in said.split()]


def short(value: Any) -> str:
    """A parameter's value in words."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def also_varying(row: Any, varying: dict[str, set[str]], shown: Iterable[str]) -> list[str]:
    """What else of a row's point varies in the run, in words, such as its seed; columns that are ``shown`` are not."""
    words = [f"{name} {row[name]}" for name in POINT if name in varying[""] and name not in shown]
    return words + varied(row.objective, row.objective_params, varying)


def varying_parameters(rows: pd.DataFrame) -> dict[str, set[str]]:
    """Parameters with more than one value, by problem, objective and estimator; by "" columns that vary in one."""
    own = [name for name in POINT if name != "problem" and name not in PARAMETERS]
    counts = rows.groupby("problem")[own].nunique(dropna=False).max()
    found: dict[str, set[str]] = {"": {name for name in own if counts[name] > 1}}
    for params in PARAMETERS:
        name = params.removesuffix("_params")
        for key, some in rows.groupby(name)[params]:
            tables = [written_out(str(key), json.loads(text)) for text in some.unique()]
            names = dict.fromkeys(name for table in tables for name in table)
            found[str(key)] = {k for k in names if len({json.dumps(t.get(k)) for t in tables}) > 1} - {"batch"}
        if name == "problem":
            for key, some in rows.groupby(name):
                if some["size"].nunique() > 1:
                    found[str(key)] -= {"hidden", "latent", "dim"}
    return found


def other_groups(rows: pd.DataFrame, group: str) -> Iterator[RenderableType]:
    for other in ("phi", "theta"):
        counts = rows[rows.group == other].verdict.value_counts()
        if other != group and len(counts):
            said = ", ".join(f"{counts.get(v, 0)} {v}" for v in ("unbiased", "biased", "unresolved"))
            text = f"{group_title(other)}-gradient: {said} (gradbench show RUN --group {other})"
            yield Text(text, style="dim")


def not_measured(frame: pd.DataFrame) -> Iterator[RenderableType]:
    """Skipped and failed cells with their reasons, alike ones together."""
    for status, style in (("skipped", "dim"), ("failed", "red")):
        rows = frame[frame.status == status]
        if rows.empty:
            continue
        table = plain_table(f"{status}: {len(rows)} of {frame.cell_id.nunique()} cells", show_header=False, style=style)
        table.add_column(no_wrap=True, justify="right")
        table.add_column(overflow="fold")
        for message, some in rows.groupby("message", sort=False):
            table.add_row(f"{len(some)} ×", str(message))
        yield from ("", table)


def plan_tables(rows: Iterable[dict[str, Any]], title: str) -> RenderableType:
    """The resolved cells of a suite, one line per target and estimator; then what is skipped, with the reasons."""
    frame = pd.DataFrame(rows)
    table = plain_table(one_line(title))
    for name in ("problem", "parameters", "stage", "estimator", "L"):
        table.add_column(name, overflow="fold", no_wrap=name == "problem")
    previous = None
    measured = frame[frame.skip.isna()]
    keys = ["problem", "parameters", "stage", "estimator"]
    for values, some in measured.groupby(keys, sort=False, dropna=False):
        problem, parameters, stage, estimator = values  # pyright: ignore[reportGeneralTypeIssues]
        same = (problem, parameters, stage) == previous
        start = ("", "", "") if same else (str(problem), str(parameters), str(stage))
        table.add_row(*start, str(estimator), ", ".join(map(str, dict.fromkeys(some.samples))))
        previous = (problem, parameters, stage)
    return Group(*([table] if len(measured) else []), *_skipped(frame))


def _skipped(frame: pd.DataFrame) -> Iterator[RenderableType]:
    rows = frame[frame.skip.notna()]
    if rows.empty:
        return
    table = plain_table(f"skipped: {len(rows)} of {len(frame)} cells", show_header=False, style="dim")
    table.add_column(no_wrap=True, justify="right")
    table.add_column(overflow="fold")
    for reason, some in rows.groupby("skip", sort=False):
        table.add_row(f"{len(some)} ×", str(reason))
    yield from ("", table)


def each(frame: pd.DataFrame) -> Iterator[Any]:
    """Rows with their columns as attributes."""
    yield from frame.itertuples()
