"""What a plugin's problem says of itself at the parameters of a suite, found to be sayable before anything runs."""

from __future__ import annotations

from typing import Any

from gradbench.core.errors import GradbenchError, PluginError, message_of
from gradbench.core.printable import shortened
from gradbench.problems import PROBLEMS
from gradbench.problems.base import Problem

ASKED: dict[str, tuple[type, ...]] = {
    "latent_dim": (int,),
    "layers": (int,),
    "states": (int, type(None)),
    "kls": (tuple, list),
    "size": (str,),
}
"""Class methods of a problem, with the types of what they return."""


def check_answers(problem: type[Problem], parameters: Any, where: str) -> None:
    """Raise PluginError where a plugin's ``problem`` raises, or says what it may not; ``where`` names its grid."""
    if PROBLEMS.is_own(problem):
        return
    for method, types in ASKED.items():
        try:
            answer = getattr(problem, method)(parameters)
        except GradbenchError:
            raise
        except Exception as error:  # a plugin's method may raise anything
            why = f"raises {type(error).__name__}: {message_of(error)}"
        else:
            if isinstance(answer, types) and not isinstance(answer, bool):
                continue
            why = f"returns {shortened(answer)}; expected {' or '.join(kind.__name__ for kind in types)}"
        raise PluginError(f"{where}: {problem.name}: its {method} {why}")
