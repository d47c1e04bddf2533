"""Models of what a suite may set: keys that are known, numbers that are numbers."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

LARGEST = 2**31 - 1
"""Whole numbers of a suite go up to it, and down to its negative, unless a field has bounds (``le``, ``ge``) of its
own: results hold most of them as int32, and every one that counts something."""


def _strict(schema: Any) -> Any:
    if isinstance(schema, list | tuple):
        return type(schema)(map(_strict, schema))
    if not isinstance(schema, dict):
        return schema
    schema = {key: value if key in ("metadata", "default") else _strict(value) for key, value in schema.items()}
    match schema.get("type"):
        case "int":
            return {"le": LARGEST, "ge": -LARGEST, **schema, "strict": True}
        case "float" | "bool":
            return {**schema, "strict": True}
        case "literal" if any(type(one) is int for one in schema["expected"]):
            # true equals 1, and would be taken for it
            return core_schema.no_info_before_validator_function(_no_truth, schema)  # pyright: ignore[reportArgumentType]
    return schema


def _no_truth(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"input should be a whole number, got {value!r}")
    return value


class StrictModel(BaseModel):
    """What a suite may set. Unknown keys are refused, and whatever is no finite number where a number is expected.

    ``true`` and ``"2"`` are no numbers, and 2.0 is no whole one; whole numbers are at most `LARGEST`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The schema that pydantic makes of the fields, with its numbers strict and bounded."""
        return _strict(handler(source))
