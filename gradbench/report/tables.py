"""Rich tables of runs, plans, rankings and registries. They read well at 100 columns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gradbench.compare import BETTER, WORSE
from gradbench.report.format import duration, interval, number, percent
from gradbench.store import Run

TARGET = ("problem", "problem_params", "data", "train_steps", "objective", "kl", "device", "dtype", "seed")
GREEK = {"phi": "φ", "theta": "θ"}
STYLES = {"biased": "red", "unbiased": "green", "unresolved": "yellow", BETTER: "green", WORSE: "red"}


def run_tables(run: Run, group: str = "phi") -> RenderableType:
    """One table per target: estimators × L with variance, bias, verdict and cost; then what was not measured."""
    parts: list[RenderableType] = []
    rows = run.ok()
    shown = rows[rows.group == group]
    varying = _varying(shown)
    for _, target in shown.groupby(list(TARGET), sort=False, dropna=False):
        parts += [_target_table(target, group, varying), ""]
    if len(shown):
        parts.append(Text("* least variance × time among the estimators not found biased, for each L", style="dim"))
    parts += _other_groups(rows, group)
    parts += list(not_measured(run.frame))
    return Group(*parts)


def _target_table(rows: pd.DataFrame, group: str, varying: dict[str, set[str]]) -> Table:
    table = _table(_target_title(rows.iloc[0], group, varying), padding=0)
    for name, justify in (
        ("estimator", "left"),
        ("L", "right"),
        ("variance", "right"),
        ("95 % interval", "left"),
        ("bias/‖g‖", "right"),
        ("at most", "right"),
        ("verdict", "left"),
        ("time", "right"),
        ("var × s", "right"),
    ):
        table.add_column(name, justify=justify, overflow="fold", no_wrap=name != "estimator")  # pyright: ignore[reportArgumentType]
    sound = rows[rows.verdict != "biased"]
    best = set(sound.groupby("samples").work_variance.idxmin()) if len(sound) else set()
    previous = None
    for row in _each(rows):
        estimator = label(row.estimator, row.estimator_params, varying)
        table.add_row(
            estimator if estimator != previous else "",
            str(row.samples),
            number(row.variance),
            interval(row.variance_low, row.variance_high),
            percent(row.relative_bias),
            percent(row.relative_bias_high),
            Text(str(row.verdict), style=STYLES.get(str(row.verdict), "")),
            duration(row.seconds),
            number(row.work_variance) + ("*" if row.Index in best else " "),
            style="bold" if row.Index in best else "",
        )
        previous = estimator
    return table


def _target_title(row: Any, group: str, varying: dict[str, set[str]]) -> str:
    words = [str(row.problem), *([str(row["size"])] if row["size"] else [])]
    parameters = json.loads(row.problem_params)
    words += [f"{key}={_short(parameters[key])}" for key in sorted(varying.get(str(row.problem), set()))]
    if row.data:
        words.append(f"{row.data} (batch {int(row.batch_size)})")
        words.append(f"{int(row.train_steps)} steps")
    if row.kl:
        words.append(f"{row.kl} KL")
    words += [f"seed {row.seed}"] if "seed" in varying[""] else []
    norm = f"{group_title(group)}-gradient: ‖g‖ = {number(row.gradient_norm)} ({row.reference})"
    return " · ".join(words) + f"\n{norm} · {row.replicates} replicates · {row.device} {row['dtype']}"


def group_title(group: str) -> str:
    """``phi.encoder.weight`` as ``φ.encoder.weight``."""
    head, dot, rest = group.partition(".")
    return GREEK.get(head, head) + dot + rest


def label(estimator: str, params: str, varying: dict[str, set[str]]) -> str:
    """An estimator's name, with those of its parameters that vary in the run."""
    values = json.loads(params)
    shown = [f"{key}={_short(values[key])}" for key in sorted(varying.get(estimator, set()))]
    return " ".join([estimator, *shown])


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _varying(rows: pd.DataFrame) -> dict[str, set[str]]:
    """Parameters with more than one value, by problem and by estimator; "" holds the row's own keys."""
    found: dict[str, set[str]] = {"": {"seed"} if rows.seed.nunique() > 1 else set()}
    for name, params in (("problem", "problem_params"), ("estimator", "estimator_params")):
        for key, some in rows.groupby(name)[params]:
            tables = [json.loads(text) for text in some.unique()]
            found[str(key)] = {k for k in tables[0] if len({json.dumps(t.get(k)) for t in tables}) > 1} - {"batch"}
        if name == "problem":
            for key, some in rows.groupby(name):
                if some["size"].nunique() > 1:
                    found[str(key)] -= {"hidden", "latent", "dim"}
    return found


def _other_groups(rows: pd.DataFrame, group: str) -> Iterator[RenderableType]:
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
        table = _table(f"{status}: {len(rows)} of {frame.cell_id.nunique()} cells", show_header=False, style=style)
        table.add_column(no_wrap=True, justify="right")
        table.add_column(overflow="fold")
        for message, some in rows.groupby("message", sort=False):
            table.add_row(f"{len(some)} ×", str(message))
        yield from ("", table)


def plan_tables(rows: Iterable[dict[str, Any]], title: str) -> RenderableType:
    """The resolved cells of a suite, one line per target and estimator."""
    frame = pd.DataFrame(rows)
    table = _table(title)
    for name in ("problem", "parameters", "stage", "estimator", "L"):
        table.add_column(name, overflow="fold")
    keys = ["problem", "parameters", "stage", "estimator", "skip"]
    previous = None
    for values, some in frame.groupby(keys, sort=False, dropna=False):
        problem, parameters, stage, estimator, skip = values  # pyright: ignore[reportGeneralTypeIssues]
        samples = ", ".join(map(str, dict.fromkeys(some.samples)))
        same = (problem, parameters, stage) == previous
        start = ("", "", "") if same else (str(problem), str(parameters), str(stage))
        note = Text(f"{samples}  skipped: {skip}", style="dim") if isinstance(skip, str) else Text(samples)
        table.add_row(*start, str(estimator), note)
        previous = (problem, parameters, stage)
    return table


def ranking_table(ranked: pd.DataFrame, baseline: str, group: str) -> RenderableType:
    """Estimators over a baseline: below 1 is less."""
    rows = ranked[ranked.group == group]
    names = {"estimator_b": "estimator", "estimator_params_b": "estimator_params", "size_b": "size"}
    varying = _varying(rows.rename(columns=names))
    parts: list[RenderableType] = []
    for _, target in rows.groupby(list(TARGET), sort=False, dropna=False):
        first = target.iloc[0]
        title = " · ".join(str(v) for v in (first.problem, first.size_a, first.kl) if v not in ("", "-"))
        table = _table(f"{title} · {first.train_steps} steps · {group_title(group)}-gradient, over {baseline}")
        _ratio_columns(table, "estimator")
        for row in _each(target.sort_values(["samples", "variance_ratio"], kind="stable")):
            _ratio_row(table, label(row.estimator_b, row.estimator_params_b, varying), row, row.verdict_b)
        parts += [table, ""]
    return Group(*parts)


def comparison_table(matched: pd.DataFrame, group: str, names: tuple[str, str]) -> RenderableType:
    """The second run over the first, row by row."""
    rows = matched[matched.group == group].rename(columns={"size_a": "size"})
    varying = _varying(rows)
    table = _table(f"{names[1]} over {names[0]}: {group_title(group)}-gradient (below 1 is less)")
    _ratio_columns(table, "problem / estimator")
    previous = None
    for row in _each(rows):
        target = tuple(getattr(row, key) for key in TARGET)
        if target != previous:
            record = rows.loc[row.Index]
            words = [record.problem, record["size"], *_parameters(record, varying), record.kl]
            words += [f"{record.train_steps} steps"] if record.train_steps else []
            table.add_row(Text(" · ".join(str(w) for w in words if w not in ("", "-", None)), style="italic"))
        _ratio_row(table, "  " + label(row.estimator, row.estimator_params, varying), row, None)
        previous = target
    return table


def _parameters(record: Any, varying: dict[str, set[str]]) -> list[str]:
    values = json.loads(record.problem_params)
    return [f"{key}={_short(values[key])}" for key in sorted(varying.get(str(record.problem), set()))]


def _ratio_columns(table: Table, first: str) -> None:
    table.add_column(first, overflow="fold")
    table.add_column("L", justify="right")
    table.add_column("variance", justify="right")
    table.add_column("95 % interval")
    table.add_column("time", justify="right")
    table.add_column("95 % interval")
    table.add_column("variance is")


def _ratio_row(table: Table, name: str, row: Any, verdict: str | None) -> None:
    mark = Text(row.mark, style=STYLES.get(row.mark, ""))
    if verdict == "biased":
        mark.append(" (biased)", style="red")
    table.add_row(
        name,
        str(row.samples),
        number(row.variance_ratio),
        interval(row.variance_ratio_low, row.variance_ratio_high),
        number(row.seconds_ratio),
        interval(row.seconds_ratio_low, row.seconds_ratio_high),
        mark,
    )


def listing(rows: Iterable[tuple[str, ...]], headers: tuple[str, ...]) -> Table:
    """Names and what they are."""
    table = _table(None)
    for index, header in enumerate(headers):
        table.add_column(header, no_wrap=index == 0, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _each(frame: pd.DataFrame) -> Iterator[Any]:
    """Rows with their columns as attributes."""
    yield from frame.itertuples()


def _table(title: str | None, **options: Any) -> Table:
    options = {"padding": (0, 1, 0, 0), **options}
    house = {"title_justify": "left", "title_style": "bold", "pad_edge": False, "show_edge": False}
    return Table(title=title, box=box.SIMPLE_HEAD, **{**house, **options})
