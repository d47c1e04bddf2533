"""All states of a datapoint's latents as the categories of one variable, each with its number."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradbench.core.errors import MeasurementError
from gradbench.core.types import Latents
from gradbench.estimators.base import Setting
from gradbench.families.base import Family, states_of
from gradbench.families.categorical import Categorical
from gradbench.families.support import MAX_STATES, Support, number_of


def own_states(q: Family) -> Support:
    """The states of ``q``. Raises MeasurementError where its own class does not say them."""
    found = states_of(q)
    if found is None:
        raise MeasurementError(f"the states of {q.law()} are not its own; say states() in the class itself")
    return found


def over_states(q: Family) -> Categorical:
    """The law of the number of the state, held: one variable, logits [R or 1, 1, B, 1, N]."""
    states, _ = own_states(q).all()
    held = q.held()
    log_masses = held.log_prob(states)
    return Categorical(logits=log_masses.movedim(1, -1)[:, None, :, None])


def with_numbers(q: Family, numbers: Tensor) -> Latents:
    """The states with ``numbers`` [R, L, B], as z [R, L, B, *event]."""
    states, _ = own_states(q).all()
    return states[0, :, 0][numbers]


def log_rest(log_p: Tensor, numbers: Tensor) -> Tensor:
    """The logarithm of the mass of all states but those with ``numbers`` [R, k, B], for log_p [R or 1, B, N]: [R, B].

    A sum over the others: one less the mass of a few would be rounded off where they have nearly all of it.
    """
    taken = numbers.movedim(1, -1)
    return log_p.expand(*taken.shape[:-1], -1).scatter(-1, taken, -torch.inf).logsumexp(-1)


def needs_states(setting: Setting) -> str | None:
    """The need of estimators that list the states: that they are finitely many, and not too many."""
    if setting.states is None:
        return f"the {setting.family.name} latents of {setting.problem} have no finite number of states"
    if setting.states > MAX_STATES:
        return f"{number_of(setting.states)} latent states are too many to list (at most {MAX_STATES})"
    return None


def log_masses(q: Any) -> Tensor:
    """log q of every state, held, [R or 1, B, N]."""
    return over_states(q).log_probabilities[:, 0, :, 0]
