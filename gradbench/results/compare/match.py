"""What can be compared: rows of two runs by identity, estimators of one run by target; and why the rest cannot."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import pandas as pd

from gradbench.core.errors import UnknownNameError, UsageError
from gradbench.results.columns import BY_NAME, COMPARED, IDENTITY, PARAMETERS, TARGET
from gradbench.results.compare.marks import INCOMPARABLE, marked
from gradbench.results.compare.ratios import ITSELF, UNKNOWN, Ratio, paired_ratio, product, unpaired_ratio
from gradbench.results.store import Run

ALIKE = ("problem", "estimator", "samples", "group")
"""Columns that rows must share for it to be worth saying what else differs."""

Record = dict[str, Any]


def compare_runs(first: Run, second: Run, figure: str = "variance", threshold: float = 0.0) -> pd.DataFrame:
    """Rows of two runs matched on identity, with the ratios of the second over the first, marks, and the rows that
    only one run has, ``not comparable`` with the reason in ``why``.

    Raises UsageError where no row is in both, saying which columns never agree.
    """
    keys, names = list(IDENTITY), _names(first, second)
    a, b = (_keyed(_by_contents(run, run.ok()), keys) for run in (first, second))
    matched = a.merge(b, on=keys, suffixes=("_a", "_b"), validate="one_to_one")
    if matched.empty:
        differ = _difference(_named(a, names), _named(b, names), keys)
        raise UsageError(f"{first.path} and {second.path} have no row in common; {differ}")
    table = _with_ratios(matched, first, second).assign(why=None)
    whole = pd.concat([table, *_unmatched(first, second)], ignore_index=True)
    return marked(_named(whole, names), figure, threshold)


def only_in_one(first: Run, second: Run) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of each run that the other has no measured row for."""
    both, names = _outer(first, second), _names(first, second)
    left, right = (both[both["_merge"] == f"{side}_only"] for side in ("left", "right"))
    return _named(left, names), _named(right, names)


def _outer(first: Run, second: Run) -> pd.DataFrame:
    """The keys of the measured rows of both runs, data files by their contents, with the side each is on."""
    keys = list(IDENTITY)
    a, b = (_keyed(_by_contents(run, run.ok()), keys)[keys] for run in (first, second))
    return a.merge(b, on=keys, how="outer", indicator=True)


def _contents(run: Run) -> dict[str, str]:
    """By cell, the contents of its data file."""
    return {cell: f"sha256:{file['sha256']}" for file in run.manifest.get("data", []) for cell in file["cells"]}


def _by_contents(run: Run, rows: pd.DataFrame) -> pd.DataFrame:
    """``rows`` of a run with a data file's contents in place of its name: what it is called tells nothing."""
    contents = _contents(run)
    found = [contents.get(cell, data) for cell, data in zip(rows.cell_id, rows.data, strict=True)]
    return rows.assign(data=pd.Series(found, index=rows.index, dtype=object))


def _names(*runs: Run) -> dict[str, str]:
    """What the data files of runs are called, by their contents: as the first run that has one calls it.

    Where one name, at one scale, has several contents, it is followed by the first digits of each.
    """
    called: dict[str, tuple[str, float | None]] = {}
    for run in runs:
        for file in run.manifest.get("data", []):
            called.setdefault(f"sha256:{file['sha256']}", (file["data"], file["scale"]))
    times = Counter(called.values())
    return {one: f"{name} ({one[7:15]}…)" if times[name, at] > 1 else name for one, (name, at) in called.items()}


def _named(rows: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    return rows.assign(data=rows.data.map(lambda data: names.get(str(data), data)))


def rank(
    run: Run, baseline: str | None = None, figure: str = "variance", threshold: float = 0.0
) -> tuple[str, pd.DataFrame]:
    """Every estimator over ``baseline`` on the same target, L and group; the baseline's name, and the table.

    Without a ``baseline``: the first estimator of the run that no row calls biased. Raises UnknownNameError for one
    that the run does not have.
    """
    ok = run.ok()
    if baseline is None:
        biased = set(ok.loc[ok.verdict == "biased", "estimator"])
        sound = [name for name in ok.estimator.unique() if name not in biased]
        baseline = str(sound[0] if sound else ok.estimator.iloc[0])
    elif baseline not in set(ok.estimator):
        raise UnknownNameError("estimator in this run", baseline, set(ok.estimator), where="--baseline")
    keys = list(TARGET)
    base = _keyed(ok[ok.estimator == baseline], keys).drop_duplicates(keys)
    matched = base.merge(_keyed(ok, keys), on=keys, suffixes=("_a", "_b"))
    return baseline, marked(_with_ratios(matched, run, run), figure, threshold)


def ratios_of(run: Run, below: pd.DataFrame, above: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Rows ``above`` over rows ``below`` of one run, matched on ``keys``."""
    return _with_ratios(_keyed(below, keys).merge(_keyed(above, keys), on=keys, suffixes=("_a", "_b")), run, run)


def _keyed(rows: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Keys as plain objects, so that a null matches a null."""
    return rows.assign(**{key: rows[key].astype(object).where(rows[key].notna(), "-") for key in keys})


def _with_ratios(matched: pd.DataFrame, first: Run, second: Run) -> pd.DataFrame:
    """``matched`` with ratio, interval and p value of each figure, and whether blocks were paired."""
    blocks_a = first.block_variances()
    blocks_b = blocks_a if second is first else second.block_variances()
    found: dict[str, list[Any]] = {"paired": []}
    for row in matched.itertuples():
        a, b = blocks_a.get((row.cell_id_a, row.group)), blocks_b.get((row.cell_id_b, row.group))  # pyright: ignore
        paired = a is not None and b is not None and len(a) == len(b)
        variance = paired_ratio(a, b) if paired else _unpaired(row, "variance")  # pyright: ignore
        seconds = _unpaired(row, "seconds") if str(row.hardware_a) == str(row.hardware_b) else UNKNOWN
        special = {
            "variance": variance,
            "mse": _mse(row, variance),
            "seconds": seconds,
            "work_variance": product(variance, seconds, blocks=_blocks(row)),
        }
        ratios = {name: special[name] if name in special else _unpaired(row, name) for name in COMPARED}
        if second is first and str(row.cell_id_a) == str(row.cell_id_b):  # over itself: 1, however uncertain
            ratios = {name: ratio if math.isnan(ratio.value) else ITSELF for name, ratio in ratios.items()}
        found["paired"].append(paired)
        for name, ratio in ratios.items():
            for part, value in zip(("", "_low", "_high"), astuple(ratio), strict=False):
                found.setdefault(f"{name}_ratio{part}", []).append(value)
            found.setdefault(f"{name}_p", []).append(ratio.p)
    return matched.assign(**found)


def _mse(row: Any, variance: Ratio) -> Ratio:
    """Where bias is a rounding of the mean squared error on both sides, its ratio is that of the variances, paired."""
    small = all(getattr(row, f"bias_high_{s}") ** 2 <= 1e-3 * getattr(row, f"variance_{s}") for s in "ab")
    return variance if small else _unpaired(row, "mse")


def _unpaired(row: Any, figure: str) -> Ratio:
    names = (figure, *(BY_NAME[figure].interval or ()))
    a, b = (tuple(float(getattr(row, f"{name}_{side}")) for name in names) for side in "ab")
    return unpaired_ratio(a, b, _blocks(row))  # pyright: ignore[reportArgumentType]


def _blocks(row: Any) -> int:
    return max(min(int(row.blocks_a), int(row.blocks_b)), 2)


def _unmatched(first: Run, second: Run) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The measured rows of each run that the other lacks, each with the reason."""
    both, names = _outer(first, second), _names(first, second)
    alone = [both[both["_merge"] == f"{side}_only"] for side in ("left", "right")]
    reasons = []
    for rows, others, own, other in ((alone[0], alone[1], first, second), (alone[1], alone[0], second, first)):
        broken = _by_contents(other, other.frame)[other.frame.status != "ok"]
        failed = _records(_named(_keyed(broken, IDENTITY), names))
        candidates = _records(_named(others, names))
        why = [_why(row, candidates, failed, own, other) for row in _records(_named(rows, names))]
        reasons.append(rows.drop(columns="_merge").assign(why=why, mark=INCOMPARABLE))
    return reasons[0], reasons[1]


def _records(rows: pd.DataFrame) -> list[Record]:
    return [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]


def _why(row: Record, others: list[Record], failed: list[Record], own: Run, other: Run) -> str:
    """Why a row of ``own`` has none to be compared with in ``other``."""
    cell = [name for name in IDENTITY if name != "group"]
    for record in failed:
        if all(record[name] == row[name] for name in cell):
            return f"{record['status']} in {other.path}: {record['message']}"
    alike = [o for o in others if all(o[name] == row[name] for name in ALIKE)]
    if not alike:
        return f"only in {own.path}"
    nearest = min(alike, key=lambda o: sum(o[name] != row[name] for name in IDENTITY))
    return "; ".join(_differs(name, row[name], nearest[name]) for name in IDENTITY if nearest[name] != row[name])


def _differs(name: str, one: Any, two: Any) -> str:
    """How two values of a column differ: of a column of parameters, those of them that do.

    >>> _differs("problem_params", '{"dim":1,"k":0.0}', '{"dim":1,"k":3.0}')
    'other k: 0.0 and 3.0'
    """
    if name in PARAMETERS:
        a, b = json.loads(one), json.loads(two)
        keys = [key for key in {**a, **b} if a.get(key) != b.get(key)]
        return ", ".join(f"other {key}: {a.get(key)} and {b.get(key)}" for key in keys)
    return f"other {name}: {one} and {two}"


def _difference(a: pd.DataFrame, b: pd.DataFrame, keys: Sequence[str]) -> str:
    for key in keys:
        left, right = set(a[key]), set(b[key])
        if not left & right:
            return f"{key} is {_some(left)} in one and {_some(right)} in the other"
    return "each has rows of its own only; compare runs of the same suite"


def _some(values: set) -> str:
    shown = sorted(map(str, values))[:3]
    return ", ".join(shown) + (" …" if len(values) > 3 else "")
