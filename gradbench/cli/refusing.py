"""Options that would have no effect as a command is given: refused, never ignored."""

from __future__ import annotations

from collections.abc import Mapping


def refuse_given(options: Mapping[str, object], why: str) -> None:
    """Raise UsageError that names those of ``options`` that are given, and says ``why`` they have no effect."""
    from gradbench.core.errors import UsageError

    given = [name for name, value in options.items() if not (value is None or value is False or value == [])]
    if given:
        raise UsageError(f"{' and '.join(given)}: {why}")
