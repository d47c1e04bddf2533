"""What a suite says, validated: the first fault as one line, with its path and its remedy."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, ValidationError

from gradbench.errors import SuiteError, UnknownNameError

STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def validated(model: Any, values: Any, where: str) -> Any:
    """``model`` from ``values``. Raises SuiteError or UnknownNameError, in which ``where`` names the values."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            parent = _model_at(model, fault["loc"][:-1])
            raise UnknownNameError("key", str(fault["loc"][-1]), parent.model_fields, where=where) from error
        path = "" if where == "--" + path.lstrip(".") else path
        message = fault["msg"].removeprefix("Value error, ")
        given = "" if fault["type"] in {"value_error", "missing"} else f", got {fault['input']!r}"
        raise SuiteError(f"{where}{path}: {message[:1].lower()}{message[1:]}{given}") from error


def _model_at(model: Any, path: tuple[int | str, ...]) -> Any:
    for part in path:
        inner = getattr(model, "model_fields", {}).get(part)
        if inner is not None and isinstance(inner.annotation, type):
            model = inner.annotation
    return model
