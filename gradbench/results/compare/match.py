"""What can be compared: rows of two runs by identity, estimators of one run by target; and why the rest cannot."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from gradbench.core.errors import UnknownNameError, UsageError
from gradbench.results.at_budget import at_budget, samples_of_target
from gradbench.results.columns import IDENTITY, PARAMETERS, TARGET
from gradbench.results.compare.at_equal_cost import at_one_budget
from gradbench.results.compare.marks import INCOMPARABLE, marked
from gradbench.results.compare.pairs import with_ratios
from gradbench.results.store import Run
from gradbench.suite.equal_cost import EqualCost

ALIKE = ("problem", "estimator", "samples", "group")
"""Columns that rows must share for it to be worth saying what else differs."""

CELL = tuple(name for name in IDENTITY if name != "group")
"""Columns that tell a cell from others."""
LOOKED_AT = 32
"""Rows like one that is alone, among which the nearest is looked for."""

Record = dict[str, Any]


IGNORABLE = tuple(name for name in TARGET if name not in ("problem", "problem_params", "samples", "group"))
"""Columns in which the rows of two runs may differ, where that is asked for."""


def compare_runs(
    first: Run,
    second: Run,
    figure: str = "variance",
    threshold: float = 0.0,
    cost: EqualCost | None = None,
    ignore: Sequence[str] = (),
) -> pd.DataFrame:
    """Rows of two runs matched on identity, with the ratios of the second over the first, marks, and the rows that
    only one run has, ``not comparable`` with the reason in ``why``.

    With ``cost`` they have those at equal cost as well, and marks are about those. ``ignore``: columns in which rows
    may differ; those that do are compared unpaired, as they share no noise. Raises UsageError where no row is in both,
    saying which columns never agree, and where several rows of a run differ in what is ignored alone.
    """
    for name in ignore:
        if name not in IGNORABLE:
            raise UnknownNameError("column", name, IGNORABLE, where="--ignore")
    keys, names = [name for name in IDENTITY if name not in ignore], _names(first, second)
    a, b = (_keyed(_by_contents(run, run.ok()), IDENTITY) for run in (first, second))
    for run, rows in ((first, a), (second, b)):
        _require_one_each(run, rows, keys, ignore)
    a, b = at_one_budget(a, b, cost) if cost else (a, b)
    matched = a.merge(b, on=keys, suffixes=("_a", "_b"), validate="one_to_one")
    for name in ignore:
        pairs = zip(matched[f"{name}_a"], matched[f"{name}_b"], strict=True)
        matched[name] = pd.Series([x if x == y else f"{x} and {y}" for x, y in pairs], matched.index, dtype=object)
    if matched.empty:
        differ = _difference(_named(a, names), _named(b, names), keys)
        raise UsageError(f"{first.path} and {second.path} have no row in common; {differ}")
    table = with_ratios(matched, first, second, cost, ignore)
    whole = pd.concat([table, *_unmatched(first, second, keys)], ignore_index=True)
    return marked(_named(whole, names), cost.column(figure) if cost else figure, threshold)


def _require_one_each(run: Run, rows: pd.DataFrame, keys: Sequence[str], ignore: Sequence[str]) -> None:
    """Raise UsageError where several rows of a run differ in columns that are ignored alone."""
    again = rows[rows.duplicated(list(keys), keep=False)]
    if len(again):
        name = next(name for name in ignore if again[name].nunique() > 1)
        values = ", ".join(map(str, sorted(set(again[name]), key=str)))
        raise UsageError(
            f"{run.path}: has several rows that differ in {name} alone ({values}), so that ignoring it makes no pairs\n"
            f"keep one of them in each run: --where {name}=A,B with a value of each"
        )


def only_in_one(first: Run, second: Run, keys: Sequence[str] = IDENTITY) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of each run that the other has no measured row for, matched on the columns ``keys``."""
    both, names = _outer(first, second, keys), _names(first, second)
    left, right = (both[both["_merge"] == f"{side}_only"] for side in ("left", "right"))
    return _named(left, names), _named(right, names)


def _outer(first: Run, second: Run, keys: Sequence[str]) -> pd.DataFrame:
    """The identities of the measured rows of both runs, data files by their contents, with the side each is on.

    Of a row that both have, the first's.
    """
    a, b = (_keyed(_by_contents(run, run.ok()), IDENTITY)[list(IDENTITY)] for run in (first, second))
    both = a.merge(b, on=list(keys), how="outer", indicator=True, suffixes=("", "_other"))
    for name in set(IDENTITY) - set(keys):
        both[name] = both[name].where(both["_merge"] != "right_only", both[f"{name}_other"])
    return both[[*IDENTITY, "_merge"]]


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
    run: Run,
    baseline: str | None = None,
    figure: str = "variance",
    threshold: float = 0.0,
    cost: EqualCost | None = None,
) -> tuple[str, pd.DataFrame]:
    """Every estimator over ``baseline`` on the same target, L and group; the baseline's name, and the table.

    A row of the baseline is not compared with itself.

    With ``cost`` the table has the ratios at equal cost as well, and marks are about those: every estimator and L is
    then over the baseline at its smallest L, unless the objective is another one for every L.

    Without a ``baseline``: the first estimator of the run that no row calls biased, and that has noise. Raises
    UnknownNameError for one that the run does not have.
    """
    ok = run.ok()
    if baseline is None:
        baseline = usual_baseline(run)
    elif baseline not in set(ok.estimator):
        raise UnknownNameError("estimator in this run", baseline, set(ok.estimator), where="--baseline")
    keys = list(TARGET)
    if cost is not None:
        ok = at_budget(ok, cost).assign(target_samples=samples_of_target(ok))
        keys = [name for name in keys if name != "samples"] + ["target_samples"]
    of_baseline = ok[ok.estimator == baseline].sort_values("samples", kind="stable")
    base = _keyed(of_baseline, keys).drop_duplicates(keys)
    matched = base.merge(_keyed(ok, keys), on=keys, suffixes=("_a", "_b"))
    matched = matched[matched.cell_id_a != matched.cell_id_b].reset_index(drop=True)
    return baseline, marked(with_ratios(matched, run, run, cost), cost.column(figure) if cost else figure, threshold)


def usual_baseline(run: Run) -> str:
    """The first estimator of the run that no row calls biased, and that has noise."""
    ok = run.ok()
    biased = set(ok.loc[ok.verdict == "biased", "estimator"])
    noisy = set(ok.loc[ok.variance > 0, "estimator"])
    sound = sorted((name for name in ok.estimator.unique() if name not in biased), key=lambda one: one not in noisy)
    return str(sound[0] if sound else ok.estimator.iloc[0])


def of_group(run: Run, group: str) -> Run:
    """``run`` with the measured rows of one group; marks are corrected over those alone, so that they stay the same."""
    return replace(run, frame=run.frame[(run.frame.group == group) | (run.frame.status != "ok")])


def ratios_of(
    run: Run, below: pd.DataFrame, above: pd.DataFrame, keys: list[str], cost: EqualCost | None = None
) -> pd.DataFrame:
    """Rows ``above`` over rows ``below`` of one run, matched on ``keys``; with ``cost``, those at equal cost, too."""
    below, above = at_one_budget(below, above, cost) if cost else (below, above)
    matched = _keyed(below, keys).merge(_keyed(above, keys), on=keys, suffixes=("_a", "_b"))
    return with_ratios(matched, run, run, cost)


def _keyed(rows: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Keys as plain objects, so that a null matches a null."""
    return rows.assign(**{key: rows[key].astype(object).where(rows[key].notna(), "-") for key in keys})


def _unmatched(first: Run, second: Run, keys: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The measured rows of each run that the other lacks, each with the reason."""
    both, names = _outer(first, second, keys), _names(first, second)
    alone = [both[both["_merge"] == f"{side}_only"] for side in ("left", "right")]
    reasons = []
    for rows, others, own, other in ((alone[0], alone[1], first, second), (alone[1], alone[0], second, first)):
        broken = _by_contents(other, other.frame)[other.frame.status != "ok"]
        failed = {tuple(row[name] for name in CELL): row for row in _records(_named(_keyed(broken, IDENTITY), names))}
        candidates: dict[tuple[Any, ...], list[Record]] = {}
        for row in _records(_named(others, names)):
            candidates.setdefault(tuple(row[name] for name in ALIKE), []).append(row)
        why = [_why(row, candidates, failed, own, other) for row in _records(_named(rows, names))]
        reasons.append(rows.drop(columns="_merge").assign(why=why, mark=INCOMPARABLE))
    return reasons[0], reasons[1]


def _records(rows: pd.DataFrame) -> list[Record]:
    return [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]


def _why(
    row: Record,
    others: dict[tuple[Any, ...], list[Record]],
    failed: dict[tuple[Any, ...], Record],
    own: Run,
    other: Run,
) -> str:
    """Why a row of ``own`` has none to be compared with in ``other``."""
    if (record := failed.get(tuple(row[name] for name in CELL))) is not None:
        return f"{record['status']} in {other.path}: {record['message']}"
    alike = others.get(tuple(row[name] for name in ALIKE), [])[:LOOKED_AT]
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
