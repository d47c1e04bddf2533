"""How typer is told to parse and describe a command."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup


class Described:
    """Of a command or all of them: flags are shown without a value in its help, and its faults name it."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The options and arguments, flags among them without what typer says that they take."""
        params = super().get_params(ctx)  # pyright: ignore[reportAttributeAccessIssue]
        for param in params:
            if getattr(param, "is_flag", False):
                param.metavar = ""
        return params

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse what is typed; an error knows the command, which the parser leaves out of some."""
        try:
            return super().parse_args(ctx, args)  # pyright: ignore[reportAttributeAccessIssue]
        except Exception as error:  # the parser's own, whose classes typer keeps to itself
            if getattr(error, "ctx", ctx) is None:
                error.ctx = ctx  # pyright: ignore[reportAttributeAccessIssue]
            raise


class OneCommand(Described, TyperCommand):
    """A command."""


class AllCommands(Described, TyperGroup):
    """The commands together."""
