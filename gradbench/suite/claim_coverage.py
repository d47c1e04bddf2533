"""Whether a suite has what its claims are about: found before anything runs, so that none ends for want of rows."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from gradbench.core.canonical import canonical
from gradbench.core.errors import SuiteError, UnknownNameError, UsageError
from gradbench.core.printable import shortened
from gradbench.core.seeding import stream
from gradbench.engine.moments import groups_of
from gradbench.problems import PROBLEMS
from gradbench.suite.cell import Cell
from gradbench.suite.claims import Claim, matches
from gradbench.suite.limits import MOST_VALUES
from gradbench.target.points import construct

FEW = 8
"""Values that a message lists."""
Paths = dict[str, str]
"""Where in the claim each key of a selection is written."""


def check_claim(claim: Claim, cells: Sequence[Cell], where: str) -> None:
    """Raise SuiteError or UnknownNameError where ``cells`` have no row that ``claim`` names; ``where`` names it."""
    if not re.fullmatch(r"all|(phi|theta)(\..+)?", claim.group):
        expected = "expected all, phi, theta or one tensor such as phi.bias"
        raise SuiteError(f"{where}.select.group: {expected}, got {shortened(claim.select['group'])}")
    named = [_named(selection, paths, cells, where) for selection, paths in _written(claim)]
    for some in named:
        check_group(claim.group, some, f"{where}.select.group")
    if claim.figure == "variance_data" and all(cell.noise != "latent+data" for cell in named[0]):
        raise SuiteError(
            f"{where}.figure: the minibatch is fixed, so that variance_data is unknown; measure with "
            "noise = 'latent+data'"
        )
    if claim.kind in ("ratio", "ordering"):
        for below, above in itertools.pairwise(named):
            _check_pairs(claim, below, above, where)
    if claim.kind == "slope":
        _check_points(claim, named[0], where)


def decidable(claim: Claim, cells: Sequence[Cell]) -> bool:
    """Whether ``cells`` have every row that ``claim`` names."""
    try:
        check_claim(claim, cells, "")
    except UsageError:
        return False
    return True


def _written(claim: Claim) -> Iterator[tuple[dict[str, Any], Paths]]:
    """Every selection of a claim, with the path of each of its keys."""
    for index, selection in enumerate(claim.selections()):
        paths = {key: f"select.{key}" for key in selection}
        if claim.kind == "ordering":
            paths["estimator"] = f"order[{index}]"
        if claim.kind == "ratio" and index == 1:
            paths |= {key: f"over.{key}" for key in claim.over}
        yield selection, paths


def _named(selection: dict[str, Any], paths: Paths, cells: Sequence[Cell], where: str) -> list[Cell]:
    """The cells that ``selection`` names and that will be measured."""
    known = {name for cell in cells for name in cell.flat()}
    for key, wanted in selection.items():
        if key not in known:
            raise UnknownNameError("key", key, known, where=f"{where}.{paths[key].partition('.')[0]}")
        if wanted == []:
            raise SuiteError(f"{where}.{paths[key]}: an empty list names no row; drop the key, or name a value")
        if isinstance(wanted, list) and len(wanted) > MOST_VALUES:
            raise SuiteError(f"{where}.{paths[key]}: a list of {len(wanted):,} values; name at most {MOST_VALUES}")
    singles = [
        (key, one, f"{where}.{paths[key]}" + (f"[{index}]" if isinstance(wanted, list) else ""))
        for key, wanted in selection.items()
        for index, one in enumerate(wanted if isinstance(wanted, list) else [wanted])
    ]
    for check_single in (_check_value, _check_together):  # what is nowhere is the plainer fault
        for key, value, path in singles:
            check_single(key, value, selection, cells, path)
    return [cell for cell in cells if cell.skip is None and matches(cell.flat(), selection)]


def _check_value(key: str, value: Any, selection: dict[str, Any], cells: Sequence[Cell], path: str) -> None:
    """Raise SuiteError unless some cell has ``value`` under ``key``."""
    if not any(matches(cell.flat(), {key: value}) for cell in cells):
        near = difflib.get_close_matches(value, _texts(key, cells), n=1, cutoff=0.6) if isinstance(value, str) else []
        hint = f"did you mean {near[0]!r}?" if near else _choices(key, cells)
        raise SuiteError(f"{path}: no cell has {key} = {_quoted(value)}; {hint}")


def _check_together(key: str, value: Any, selection: dict[str, Any], cells: Sequence[Cell], path: str) -> None:
    """Raise SuiteError unless a cell with the rest of ``selection`` has ``value`` under ``key``, and is measured."""
    rest = {other: wanted for other, wanted in selection.items() if other != key}
    alike = [cell for cell in cells if matches(cell.flat(), rest)]
    found = [cell for cell in alike if matches(cell.flat(), {key: value})]
    if not found:
        hint = f"; there {_choices(key, alike)}" if alike else ""
        raise SuiteError(f"{path}: no cell has {key} = {_quoted(value)} together with {_words(rest)}{hint}")
    if all(cell.skip is not None for cell in found):
        raise SuiteError(f"{path}: every cell with {_words({**rest, key: value})} is skipped: {found[0].skip}")


def _texts(key: str, cells: Sequence[Cell]) -> list[str]:
    return [value for value in (cell.flat().get(key) for cell in cells) if isinstance(value, str)]


def _choices(key: str, cells: Sequence[Cell]) -> str:
    """The values that ``cells`` have under ``key``, in words."""
    shown = [_quoted(flat[key]) for flat in (cell.flat() for cell in cells) if key in flat]
    shown = list(dict.fromkeys(shown))
    if not shown:
        return f"{', '.join(dict.fromkeys(cell.axes.problem for cell in cells))} has no {key}"
    return f"{key} is {', '.join(shown[:FEW])}{', …' if len(shown) > FEW else ''}"


def check_group(group: str, cells: Sequence[Cell], where: str) -> None:
    """Raise UnknownNameError or SuiteError where no cell has ``group``; problems are built only where in doubt.

    ``where`` names it in errors.
    """
    if group in ("all", "phi"):
        return
    known = {name for cell in cells for name in groups_of_cell(cell)}
    if not known or group in known:
        return
    problems = ", ".join(dict.fromkeys(cell.axes.problem for cell in cells))
    if group.startswith("theta") and "theta" not in known:
        held = ", ".join(dict.fromkeys(cell.objective.name for cell in cells if not cell.objective.has_theta))
        under = f" under {held}" if held else ""
        raise SuiteError(f"{where}: {problems} has no θ{under}, got {group!r}; take phi, or drop it")
    raise UnknownNameError(f"group of {problems}", group, known, where=where)


def groups_of_cell(cell: Cell) -> tuple[str, ...]:
    """The groups that a cell has rows for; none where its problem cannot be built, which its rows will say."""
    try:
        kind = PROBLEMS[cell.axes.problem]
        return _groups(kind, cell.axes.parameters, cell.features(), cell.objective.has_theta)
    except Exception:  # a constructor may die of anything: the cell fails with it when it is measured
        return ()


@cache
def _groups(kind: type[Any], parameters: Any, features: int, has_theta: bool) -> tuple[str, ...]:
    problem = construct(kind, parameters, features, stream(0, "names of parameters"))
    names = problem.named_parameters()
    return tuple(groups_of(tuple(name for name in names if has_theta or not name.startswith("theta."))))


def _check_pairs(claim: Claim, below: Sequence[Cell], above: Sequence[Cell], where: str) -> None:
    """Raise SuiteError where no cell of one side has its like on the other."""
    changed = set(claim.over)
    targets = {_target(cell, changed): cell for cell in below}
    if targets.keys() & {_target(cell, changed) for cell in above}:
        return
    one, other = below[0].flat(), above[0].flat()
    free = {"estimator", *_estimator_keys(below[0]), *_estimator_keys(above[0]), *changed}
    key = next((k for k in one if k not in free and one.get(k) != other.get(k)), "samples")
    sides = " and ".join(
        f"{cells[0].estimator} at {key} = {', '.join(dict.fromkeys(_quoted(cell.flat().get(key)) for cell in cells))}"
        for cells in (below, above)
    )
    name = "order" if claim.kind == "ordering" else "over"
    raise SuiteError(f"{where}.{name}: nothing to compare: {sides} share no target; let their grids meet")


def _target(cell: Cell, changed: set[str]) -> str:
    free = {"estimator", *_estimator_keys(cell), *changed}
    return canonical({key: value for key, value in cell.flat().items() if key not in free})


def _estimator_keys(cell: Cell) -> set[str]:
    return set(cell.estimator_params)


def _check_points(claim: Claim, cells: Sequence[Cell], where: str) -> None:
    """Raise SuiteError where no line has two points to lie on."""
    lines: dict[str, set[str]] = {}
    for cell in cells:
        sizes = getattr(PROBLEMS[cell.axes.problem].Parameters, "sizes", frozenset())
        axis = {"samples"} if claim.against == "samples" else set(sizes)
        flat = cell.flat()
        line = canonical({key: value for key, value in flat.items() if key not in axis})
        lines.setdefault(line, set()).add(canonical({key: flat.get(key) for key in sorted(axis)}))
    if max(len(points) for points in lines.values()) < 2:
        key = "samples" if claim.against == "samples" else "the problem's size"
        raise SuiteError(f"{where}.against: a slope needs two values of {key}, and the cells named have one")


def _words(selection: dict[str, Any]) -> str:
    return ", ".join(f"{key} = {_quoted(value)}" for key, value in selection.items())


def _quoted(value: Any) -> str:
    """A value as a suite writes it.

    >>> _quoted("exact"), _quoted(3.0), _quoted([1, 2])
    ("'exact'", '3', '[1, 2]')
    """
    if isinstance(value, list) and len(value) <= FEW:
        return f"[{', '.join(map(_quoted, value))}]"
    return f"{value:g}" if isinstance(value, float) else shortened(value)
