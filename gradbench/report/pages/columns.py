"""The page of docs/ on the columns of the results, from their registry."""

from __future__ import annotations

import pandas as pd

from gradbench.results.columns import (
    AVERAGED,
    AXES,
    COLUMNS,
    COMPARED,
    COSTS,
    CSV_TYPES,
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

HEAD = """\
# Columns of the results

`gradbench.load` gives one row per cell and group of parameters, with these columns. Gradients point up the objective,
averaged over the minibatch. Intervals are 95 %. A row without figures (skipped, failed) has its identity and status
alone. This page is made from the code (`make docs`).
"""


def columns_page() -> str:
    """The page, in Markdown."""
    sections = dict.fromkeys(column.section for column in TABLE)
    parts = [HEAD.rstrip(), _access()]
    for section in sections:
        rows = [_column(column) for column in TABLE if column.section == section]
        head = ["| column | type | meaning | interval |", "| --- | --- | --- | --- |"]
        parts += [f"## {section.capitalize()}", "\n".join([*head, *rows])]
    parts += ["## In a CSV", _csv(), "## What they take part in", _roles(), "## Runs of older schemas", _older()]
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
        f"Write {asked}: `frame.{hidden[0]}` is an attribute of every frame. In SQL, {reserved} is a word of its\n"
        "own and goes in double quotes. Types: `json` is a text, canonical JSON; `real` is float64; `time` is in UTC."
    )


SQL_RESERVED = frozenset({"check", "column", "group", "order", "references", "select", "table", "user", "where"})


def _roles() -> str:
    roles = {
        "tell rows of a run apart": IDENTITY,
        "exported as rows where there is no room for all (`--rows` of markdown and latex)": READABLE,
        "compared: `--figure`, and claims of kind `ratio` and `ordering`": COMPARED,
        "costs that estimators are brought to as much of: `--at`, and `at` of claims": COSTS,
        "known at equal cost": AVERAGED,
        "claims of kind `value`": WITH_INTERVAL,
        "claims of kind `slope`, and slopes.parquet": tuple(SLOPES),
        "what slopes are `against`": tuple(AXES),
        "differ from run to run on one machine": TIMED,
        "left out unless asked for by name, as in `load(run, columns=[…])`": tuple(c.name for c in REGISTRY if c.bulky),
    }
    rows = [f"| {role} | {', '.join(f'`{name}`' for name in names)} |" for role, names in roles.items()]
    titles = ", ".join(f"`{figure}` is {title}" for figure, title in SLOPES.items() if figure not in COLUMNS)
    return "\n".join(["| | columns |", "| --- | --- |", *rows]) + f"\n\nNo column of its own: {titles}."


def _csv() -> str:
    kinds: dict[str, list[str]] = {}
    for column in TABLE:
        kinds.setdefault(column.type, []).append(CSV_TYPES.get(column.name, "datetime64, UTC"))
    rows = [f"| {kind} | {types[0]} |" for kind, types in kinds.items()]
    return "\n".join(
        [
            "`gradbench export RUN --format csv` writes every row and column. Read back like this, they are those of",
            "`gradbench.load` again, type for type; nothing is written for null, `inf` for infinity:",
            "",
            "```python",
            "import gradbench",
            "import pandas",
            "",
            'texts = {"keep_default_na": False, "na_values": [""]}  # a text may be None, null or NA',
            'frame = pandas.read_csv("rows.csv", dtype=gradbench.CSV_TYPES, parse_dates=["started_at"], **texts)',
            "```",
            "",
            "| type | pandas |",
            "| --- | --- |",
            *rows,
            "",
            "A text that a spreadsheet would take for a formula has an apostrophe before it.",
        ]
    )


def _older() -> str:
    later = [column for column in TABLE if column.before is not None]
    rows = [f"| `{column.name}` | {column.since} | {_held(column)} |" for column in later]
    return "\n".join(
        [
            f"This version writes schema {SCHEMA_VERSION} and reads all before it. What runs hold that were written "
            "without a column (some came when there were runs of that schema already, which may lack them):",
            "",
            "| column | runs have it since schema | before |",
            "| --- | --- | --- |",
            *rows,
        ]
    )


def _held(column: Column) -> str:
    before = column.before or Before()
    if before.same_as is not None:
        return f"the same as `{before.same_as}`"
    return "null" if before.value is None else f"`{before.value}`"
