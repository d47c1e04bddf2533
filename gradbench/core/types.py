"""Shape aliases, the sign convention, and hold().

Sign convention, stated here once: every gradient points *up* the objective (ascent on the ELBO; for the
cost problems, the gradient of E[f] itself). Objectives are averaged over the minibatch.

Axes, in this order, in every problem, estimator and engine: R replicates, L samples, B datapoints, then
the features of one datapoint. An axis that a tensor does not vary along has length 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, TypeVar

from jaxtyping import Float
from torch import Tensor

Values = Float[Tensor, " R"]
"""One surrogate value per replicate."""

PerSample = Float[Tensor, "#R #L #B"]
"""One number per sample; each axis may have length 1."""

Latents = Float[Tensor, "#R #L #B *event"]
"""Samples of the latent variable."""

Noise = Tensor | dict[str, Tensor]
"""What an estimator draws: a tensor, or several by name, each with R as its first axis."""

Gradients = dict[str, Tensor]
"""Parameter name (``phi.NAME`` or ``theta.NAME``) to gradient, of the parameter's own shape."""


class Holdable(Protocol):
    """Anything with tensors inside that can be held constant as a whole."""

    def held(self) -> Holdable: ...


Held = TypeVar("Held")

_dropped: ContextVar[frozenset[str]] = ContextVar("dropped", default=frozenset())
_added: ContextVar[frozenset[str]] = ContextVar("added", default=frozenset())
_watched: ContextVar[dict[str, bool] | None] = ContextVar("watched", default=None)


def hold(value: Held, factor: str) -> Held:
    """Hold ``value`` (a tensor, a posterior, an objective) constant: nothing is differentiated through it.

    ``factor`` names it in the estimator's ledger, so that the ledger can be checked, and the same surrogate
    run with this one hold dropped (see `holding`).
    """
    _note(factor, held=True)
    return value if factor in _dropped.get() else _detach(value)


def live(value: Held, factor: str) -> Held:
    """Return ``value`` as it is: a factor of the surrogate that *is* differentiated, named for the ledger."""
    _note(factor, held=False)
    return _detach(value) if factor in _added.get() else value


@contextmanager
def holding(*, drop: frozenset[str] = frozenset(), add: frozenset[str] = frozenset()) -> Iterator[None]:
    """Run surrogates with the holds named in ``drop`` dropped and the live factors named in ``add`` held."""
    dropped, added = _dropped.set(drop), _added.set(add)
    try:
        yield
    finally:
        _dropped.reset(dropped)
        _added.reset(added)


@contextmanager
def watching() -> Iterator[dict[str, bool]]:
    """Collect the factors that surrogates mark while the context is open: name to "is it held?"."""
    seen: dict[str, bool] = {}
    token = _watched.set(seen)
    try:
        yield seen
    finally:
        _watched.reset(token)


def _note(factor: str, *, held: bool) -> None:
    seen = _watched.get()
    if seen is not None:
        seen[factor] = held


def _detach(value: Held) -> Held:
    if isinstance(value, Tensor):
        return value.detach()  # pyright: ignore[reportReturnType]
    return value.held()  # pyright: ignore[reportAttributeAccessIssue]
