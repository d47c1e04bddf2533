"""What a panel is a measure of, in words: parts of a cell that its rows share, and those that tell panels apart."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from gradbench.core.printable import one_line
from gradbench.problems import written_out
from gradbench.report.format import number
from gradbench.report.words import group_title, reference_words
from gradbench.results.columns import IDENTITY, PARAMETERS

OWNERS = {name: name.removesuffix("_params") for name in PARAMETERS}
"""The column that names what each column of parameters belongs to."""


def tables(rows: pd.DataFrame, column: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Parameters by the name of what they belong to and their JSON text, a problem's with its later defaults."""
    pairs = rows[[OWNERS[column], column]].drop_duplicates()
    found = {}
    for owner, text in pairs.itertuples(index=False, name=None):
        table = json.loads(text) if isinstance(text, str) else {}
        found[owner, text] = written_out(owner, table) if column == "problem_params" else table
    return found


def differing(rows: pd.DataFrame, column: str) -> dict[str, list[str]]:
    """By owner, the parameters in ``column`` that have more than one value among ``rows``."""
    owned: dict[str, list[dict[str, Any]]] = {}
    for (owner, _), table in tables(rows, column).items():
        owned.setdefault(owner, []).append(table)
    found = {}
    for owner, some in owned.items():
        names = dict.fromkeys(name for table in some for name in table)
        found[owner] = [name for name in names if len({json.dumps(table.get(name)) for table in some}) > 1]
    return found


def setting(name: str, value: Any) -> str:
    """A parameter with its value.

    >>> setting("temperature", 0.5), setting("dim", 10)
    ('temperature=0.5', 'dim=10')
    """
    return f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"


def part(column: str, value: Any) -> str:
    """One part of a cell in words; empty where there is none, as of the data of a cost.

    >>> part("train_steps", 50), part("kl", "analytic"), part("samples", 4), part("kl", None)
    ('50 training steps', 'analytic KL', 'L = 4', '')
    """
    if value is None or value != value:
        return ""
    match column:
        case "train_steps":
            return f"{value} training steps"
        case "kl":
            return f"{value} KL"
        case "samples":
            return f"L = {value}"
        case "target_samples":
            return f"L = {value}" if value else ""
        case "seed":
            return f"seed {value}"
        case "noise":
            return "" if value == "latent" else "minibatches drawn anew"
        case "group":
            return f"{one_line(group_title(str(value)))}-gradient"
        case "estimator" | "problem" | "data" | "objective" | "device" | "dtype" | "hardware":
            return one_line(value)
    return one_line(setting(column, value))


def telling(
    row: Mapping[Any, Any],
    columns: Iterable[str],
    keys: Mapping[str, Mapping[str, Sequence[str]]],
    between: str = " · ",
) -> str:
    """What tells a panel or a series by its ``columns``; of parameters those in ``keys``, by column and owner."""
    words: list[str] = []
    for column in columns:
        if column not in PARAMETERS:
            words.append(part(column, row[column]))
            continue
        owner, text = row[OWNERS[column]], row[column]
        table = json.loads(text) if isinstance(text, str) else {}
        table = written_out(owner, table) if column == "problem_params" else table
        words += [one_line(setting(key, table[key])) for key in keys[column].get(owner, []) if key in table]
    return between.join(word for word in words if word)


def cell_of(rows: pd.DataFrame, hardware: bool = False) -> dict[str, str]:
    """The parts of the cell that all ``rows`` share, in words by part; the ``hardware`` where times are drawn."""
    first = rows.iloc[0]
    shared = {name for name in (*IDENTITY, "hardware") if rows[name].nunique(dropna=False) == 1}
    said = {name: part(name, first[name]) if name in shared else "" for name in (*IDENTITY, "hardware")}
    inside = {column: shared_settings(rows, column) if OWNERS[column] in shared else "" for column in PARAMETERS}
    device = [said["dtype"], said["device"] and f"on {said['device']}"]
    objective = [said["objective"] and f"objective {said['objective']}", inside["objective_params"], said["kl"]]
    return {
        "problem": said["problem"] + (f" ({inside['problem_params']})" if inside["problem_params"] else ""),
        "data": said["data"] and f"data {said['data']}",
        "stage": said["train_steps"] if isinstance(first["data"], str) or first["train_steps"] else "",
        "objective": _joined(objective, ", "),
        "estimator": _joined([said["estimator"], inside["estimator_params"]], ", "),
        "samples": said["samples"],
        "group": _joined([said["group"], _parameters(rows) if said["group"] else ""], ", "),
        "reference": _reference(rows),
        "replicates": _replicates(rows),
        "noise": said["noise"],
        "dtype": _joined(device, " "),
        "hardware": said["hardware"] if hardware else "",
        "seed": said["seed"],
    }


def shared_settings(rows: pd.DataFrame, column: str) -> str:
    """The parameters in ``column`` that have one value in all ``rows``, in words."""
    some = list(tables(rows, column).values())
    names = [name for name in some[0] if all(table.get(name) == some[0][name] for table in some)]
    return one_line(", ".join(setting(name, some[0][name]) for name in names if some[0][name] is not None))


def _joined(words: Iterable[str], by: str) -> str:
    return by.join(word for word in words if word)


def _parameters(rows: pd.DataFrame) -> str:
    counts = rows.num_parameters.dropna().unique()
    return f"{int(counts[0])} parameter{'s' if counts[0] != 1 else ''}" if len(counts) == 1 else ""


def _replicates(rows: pd.DataFrame) -> str:
    counts = rows.replicates.dropna().astype(int).value_counts()
    if len(counts) == 0:
        return ""
    usual = int(counts.index[0])
    others = sorted(int(count) for count in counts.index if count != usual)
    return f"{usual} replicates" + (f" (some rows: {', '.join(map(str, others))})" if others else "")


def _reference(rows: pd.DataFrame) -> str:
    norms = rows.gradient_norm.dropna()
    if norms.empty:
        return ""
    low, high = number(norms.min()), number(norms.max())
    return f"‖g‖ = {low if low == high else f'{low} to {high}'} ({reference_words(rows.reference)})"
