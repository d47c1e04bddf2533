"""Pages of docs/ that are made from the declarations: ``python -m gradbench.report.pages FOLDER`` writes them."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from gradbench.estimators import ESTIMATORS
from gradbench.estimators.base import Estimator
from gradbench.report.described import documentation
from gradbench.results.columns import (
    AXES,
    COLUMNS,
    COMPARED,
    IDENTITY,
    READABLE,
    REGISTRY,
    SCHEMA_VERSION,
    SLOPES,
    TABLE,
    TIMED,
    WITH_INTERVAL,
    Before,
    Column,
    listed,
)


def pages() -> dict[str, str]:
    """File name to text."""
    return {"estimators.md": _estimators(), "columns.md": _columns()}


def _estimators() -> str:
    parts = [
        "# Estimators",
        "z ~ q_φ(z|x) are the samples, f(z) what the objective averages: log p_θ(x|z) where the KL is analytic, "
        "log p_θ(x,z) − log q_φ(z|x) where it is sampled, or a cost. h(·) is held constant. Gradients point up the "
        "objective. The table of each estimator is its ledger: every factor of the surrogate, whether it is held, "
        "whether the φ-gradient and the θ-gradient flow through it, and why. The tests hold each line to what "
        "differentiation does. This page is made from the code (`make docs`).",
    ]
    for estimator in ESTIMATORS.values():
        parts += [f"## `{estimator.name}`", f"```text\n{documentation(estimator)}\n```", _ledger(estimator)]
        parameters = estimator.Parameters.model_fields
        if parameters:
            listed = ", ".join(f"`{name}` = {field.default}" for name, field in parameters.items())
            parts.append(f"Parameters and defaults: {listed}.")
    return "\n\n".join(parts) + "\n"


def _ledger(estimator: Estimator) -> str:
    yes = {True: "yes", False: ""}
    rows = [f"| {f.name} | {yes[f.held]} | {yes[f.phi]} | {yes[f.theta]} | {f.why} |" for f in estimator.ledger]
    return "\n".join(["| factor | held | in φ | in θ | why |", "| --- | --- | --- | --- | --- |", *rows])


COLUMNS_HEAD = """\
# Columns of the results

`gradbench.load` gives one row per cell and group of parameters, with these columns. Gradients point up the objective,
averaged over the minibatch. Intervals are 95 %. A row without figures (skipped, failed) has its identity and status
alone. This page is made from the code (`make docs`).
"""


def _columns() -> str:
    sections = dict.fromkeys(column.section for column in TABLE)
    parts = [COLUMNS_HEAD.rstrip(), _access()]
    for section in sections:
        rows = [_column(column) for column in TABLE if column.section == section]
        head = ["| column | type | meaning | interval |", "| --- | --- | --- | --- |"]
        parts += [f"## {section.capitalize()}", "\n".join([*head, *rows])]
    parts += ["## What they take part in", _roles(), "## Runs of older schemas", _older()]
    return "\n\n".join(parts) + "\n"


def _column(column: Column) -> str:
    meaning = column.meaning.replace("|", r"\|")
    kind = f"{column.type}, or null" if column.nullable else column.type
    return f"| `{column.name}` | {kind} | {meaning} | {_interval(column)} |"


def _interval(column: Column) -> str:
    """Where the interval of a column is from."""
    if column.error:
        return f"± `{column.error}` × the 97.5 % quantile of t(`blocks` − 1)"
    over = f" / `{column.over}`" if column.over else ""
    return " to ".join(f"`{end}`{over}" for end in column.interval or ())


def _access() -> str:
    hidden = [name for name in COLUMNS if hasattr(pd.DataFrame, name)]
    asked = listed(tuple(f'`frame["{name}"]`' for name in hidden), "and")
    reserved = listed(tuple(f"`{name}`" for name in COLUMNS if name in SQL_RESERVED), "and")
    return (
        f"Write {asked}: `frame.{hidden[0]}` is an attribute of every frame. In SQL, {reserved} is a word of its own\n"
        "and goes in double quotes. Types: `json` is a text, the canonical JSON of a table; `real` is float64;\n`reals` "
        "are a list of them; `time` is in UTC."
    )


SQL_RESERVED = frozenset({"check", "column", "group", "order", "references", "select", "table", "user", "where"})


def _roles() -> str:
    roles = {
        "tell rows of a run apart": IDENTITY,
        "exported where there is no room for all (markdown, latex)": READABLE,
        "compared: `--figure`, and claims of kind `ratio` and `ordering`": COMPARED,
        "claims of kind `value`": WITH_INTERVAL,
        "claims of kind `slope`, and slopes.parquet": tuple(SLOPES),
        "what slopes are `against`": tuple(AXES),
        "differ from run to run on one machine": TIMED,
        "only in the files under cells/": tuple(column.name for column in REGISTRY if column.cells_only),
    }
    rows = [f"| {role} | {', '.join(f'`{name}`' for name in names)} |" for role, names in roles.items()]
    titles = ", ".join(f"`{figure}` is {title}" for figure, title in SLOPES.items() if figure not in COLUMNS)
    return "\n".join(["| | columns |", "| --- | --- |", *rows]) + f"\n\nNo column of its own: {titles}."


def _older() -> str:
    later = [column for column in TABLE if column.before is not None]
    rows = [f"| `{column.name}` | {column.since} | {_held(column)} |" for column in later]
    return "\n".join(
        [
            f"This version writes schema {SCHEMA_VERSION} and reads all before it. What runs hold that were written "
            "without a column:",
            "",
            "| column | every run has it since schema | before |",
            "| --- | --- | --- |",
            *rows,
        ]
    )


def _held(column: Column) -> str:
    before = column.before or Before()
    if before.same_as is not None:
        return f"the same as `{before.same_as}`"
    return "null" if before.value is None else f"`{before.value}`"


if __name__ == "__main__":
    for file, text in pages().items():
        (Path(sys.argv[1]) / file).write_text(text, encoding="utf-8")
