"""What a suite says, validated: every fault as one line, with its path and its remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from gradbench.core.errors import SuiteError, UnknownNameError, message_of
from gradbench.core.faults import Faults
from gradbench.core.printable import shortened

Elsewhere = Callable[[str, str], str | None]
"""Where an unknown key of a table belongs, in words: from the key and the name of its table; None where nowhere."""


def validated(
    model: type[BaseModel], values: Any, where: str, *, file: bool = False, elsewhere: Elsewhere | None = None
) -> Any:
    """``model`` from ``values``. Raises SuiteError or UnknownNameError, in which ``where`` names the values.

    ``file``: ``where`` is that of the file itself, whose keys begin a path of their own. ``elsewhere`` knows where keys
    belong that stand in the wrong table. Several faults are raised as one SeveralFaultsError.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = Faults()
        for fault in error.errors():
            with faults.collected():
                raise _as_error(fault, model, where, file, elsewhere) from error
        faults.raise_all(where)
    except Exception as error:  # a check of a plugin's own may raise anything
        raise SuiteError(f"{where}: its own check raises {type(error).__name__}: {message_of(error)}") from error


def _as_error(
    fault: Any, model: type[BaseModel], where: str, file: bool, elsewhere: Elsewhere | None
) -> SuiteError | UnknownNameError:
    if fault["type"] == "extra_forbidden":
        *parents, key = fault["loc"]
        place = _place(where, parents, file)
        table = next((part for part in reversed(parents) if isinstance(part, str)), "")
        if elsewhere is not None and (said := elsewhere(str(key), table)) is not None:
            return SuiteError(f"{place}: unknown key {shortened(str(key))}; {said}")
        return UnknownNameError("key", str(key), _model_at(model, parents).model_fields, where=place)
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "missing":
        *parents, key = fault["loc"]
        meant = _model_at(model, parents).model_fields[str(key)].description
        message = "is missing" + (f": {meant}" if meant else "")
    given = "" if fault["type"] in {"value_error", "missing"} else f", got {shortened(fault['input'])}"
    place = where if where == f"--{fault['loc'][0] if fault['loc'] else ''}" else _place(where, fault["loc"], file)
    return SuiteError(f"{place}: {message[:1].lower()}{message[1:]}{given}")


def _place(where: str, path: Sequence[int | str], file: bool) -> str:
    keys = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return f"{where}: {keys.removeprefix('.')}" if file and keys else where + keys


def _model_at(model: type[BaseModel], path: Sequence[int | str]) -> type[BaseModel]:
    """The model of the table at ``path`` within ``model``; of a list's tables, that of each."""
    for part in path:
        if isinstance(part, str):
            model = next(_models(model.model_fields[part].annotation))
    return model


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models in an annotation such as ``list[Claim]`` or ``Measure | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
