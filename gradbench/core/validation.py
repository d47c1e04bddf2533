"""What a suite says, validated: the first fault as one line, with its path and its remedy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from gradbench.core.errors import SuiteError, UnknownNameError, message_of
from gradbench.core.printable import shortened


def validated(model: type[BaseModel], values: Any, where: str, *, file: bool = False) -> Any:
    """``model`` from ``values``. Raises SuiteError or UnknownNameError, in which ``where`` names the values.

    ``file``: ``where`` is that of the file itself, whose keys begin a path of their own.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        if fault["type"] == "extra_forbidden":
            *parents, key = fault["loc"]
            known = _model_at(model, parents).model_fields
            raise UnknownNameError("key", str(key), known, where=_place(where, parents, file)) from error
        message = fault["msg"].removeprefix("Value error, ")
        given = "" if fault["type"] in {"value_error", "missing"} else f", got {shortened(fault['input'])}"
        place = where if where == f"--{fault['loc'][0] if fault['loc'] else ''}" else _place(where, fault["loc"], file)
        raise SuiteError(f"{place}: {message[:1].lower()}{message[1:]}{given}") from error
    except Exception as error:  # a check of a plugin's own may raise anything
        raise SuiteError(f"{where}: its own check raises {type(error).__name__}: {message_of(error)}") from error


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
