"""A loss under seeds: what it draws from, what it remembers, and its gradients, one for each seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gradbench.core.errors import ContractError, MeasurementError
from gradbench.core.printable import listed_names
from gradbench.losses.blocks import Shape
from gradbench.losses.chance import TORCH, Chance
from gradbench.losses.given import GivenParameters, Loss
from gradbench.losses.gradients import GradientOfLoss
from gradbench.losses.memory import Remembered
from gradbench.losses.reachable import Place, generators, reachable_places, shared_stores
from gradbench.losses.same import copied_gradient, same_gradient
from gradbench.losses.together import TogetherLoss
from gradbench.losses.traced import reached_by_draws

Remembering = Literal["refuse", "restore", "keep"]
"""Of a loss whose gradient depends on what it did before: ``refuse`` it, ``restore`` before every replicate what it was
when measuring began, or ``keep`` what it has become, so that replicates are not independent."""
REMEMBERING = ("refuse", "restore", "keep")


class AnewError(Exception):
    """A source of random numbers moved that was not seeded, or calls cannot be taken together: both are dealt with."""


@dataclass(frozen=True)
class First:
    """What the first evaluations tell of a loss."""

    draws: bool
    """Whether it draws random numbers."""
    gradient: list[Tensor | None]
    changed: tuple[str, ...]
    """Names of what it left changed."""


class EvaluatedLoss:
    """A loss, evaluated under seeds, with everything that it changes looked after. A context: it is put back after.

    Raises MeasurementError where it cannot be evaluated, remembers what it must not, or changes parameters.
    """

    def __init__(self, loss: Loss, name: str, parameters: GivenParameters, state: Remembering = "refuse") -> None:
        self.loss, self.name, self.parameters, self.state = loss, name, parameters, state
        self.gradient = GradientOfLoss(loss, name, parameters.tensors)
        self.shape = Shape(
            {name: value.shape for name, value in parameters.tensors.items()}, parameters.device, parameters.held_in
        )

    def __enter__(self) -> EvaluatedLoss:
        found = [*reachable_places([self.loss, *self.parameters.modules]), *shared_stores()]
        self._places = found
        self.chance = Chance(self.parameters.device, generators(found))
        self._states = self.chance.states()
        self._before = Remembered(found, self.parameters.tensors.values())
        self._grads = [one.grad for one in self.parameters.tensors.values()]
        self._values = [(one._version, one.detach().clone()) for one in self.parameters.tensors.values()]
        self._again: Remembered | None = None
        self._together: TogetherLoss | None = None
        self._alone = False
        return self

    def __exit__(self, *error: object) -> None:
        for value, grad in zip(self.parameters.tensors.values(), self._grads, strict=True):
            value.grad = grad
        for name in self._changed_parameters():
            with torch.no_grad():
                index = self.gradient.names.index(name)
                self.parameters.tensors[name].copy_(self._values[index][1])
        stuck = self._before.put_back()
        self.chance.put_back(self._states)
        if stuck and error[0] is None:
            raise ContractError(
                f"{self.name}: changes {listed_names(stuck)} in place, too large to be put back\n"
                f"let the loss work on a copy: it is evaluated many times"
            )

    def first(self, seed: int, other: int) -> First:
        """Evaluate it three times, twice under ``seed``, to see what it draws from and what it remembers."""
        self.chance.seed(other)
        self._evaluated()  # what is done once, is done now
        start = Remembered([place for place, _, _ in self._before.kept], self.parameters.tensors.values())
        self.chance.seed(seed)
        before = self.chance.states()
        one = copied_gradient(self._evaluated())
        moved = self.chance.moved(before)
        changed = start.changed()
        self.chance.seed(seed)
        two = self._evaluated()
        if changed_parameters := self._changed_parameters():
            raise ContractError(
                f"{self.name}: changes parameters itself: {listed_names(changed_parameters)}\n"
                f"leave the optimiser's step out of the loss: every gradient is to be taken at one point"
            )
        if not same_gradient(one, two):
            self._remembers(changed, seed, one)
        self.chance.active, self.drawn = moved, moved
        self._quiet = self.chance.states()
        return First(bool(moved), one, tuple(dict.fromkeys(place.name for place in changed)))

    def _remembers(self, changed: list[Place], seed: int, one: list[Tensor | None]) -> None:
        """Raise ContractError for a loss that depends on what it did before, unless that is dealt with."""
        names = listed_names(dict.fromkeys(place.name for place in changed))
        said = f"{self.name}: remembers: under the same random numbers its gradient is another the second time"
        if self.state == "keep":
            return
        if self.state == "restore" and changed:
            self._again = self._before.only(changed)
            self._again.put_back()
            self.chance.seed(seed)
            first = copied_gradient(self._evaluated())
            self._again.put_back()
            self.chance.seed(seed)
            if same_gradient(first, self._evaluated()):
                one[:] = first
                return
            self._again = None
            said += f", even with {names} as it was"
        what = f"it changes {names}" if changed else "by something that cannot be found from here"
        raise ContractError(
            f"{said}; {what}\ngive state='restore' to begin every replicate as it is now, or 'keep' to let it run on"
        )

    def gradients(self, seeds: Sequence[int]) -> Iterator[Sequence[Tensor | None]]:
        """The gradient under each of the ``seeds``, in order; of a loss of R values those of R seeds at a time.

        Raises AnewError where it draws from a source that it did not draw from before.
        """
        if self._together is not None:
            step = self._together.at_once
            for start in range(0, len(seeds), step):
                try:
                    found = self._together.gradients(seeds[start : start + step])
                except Exception as error:  # a branch that was not taken when it was tried
                    self._together, self._alone = None, True
                    raise AnewError from error
                self.gradient.saw(found)
                yield found
            return
        for seed in seeds[:: self.gradient.values or 1]:
            if self._again is not None:
                self._again.put_back()
            self.chance.seed(seed)
            yield self._evaluated()
        now = self.chance.states()
        inactive = [index for index in range(len(now)) if index not in self.chance.active]
        if any(now[index] != self._quiet[index] for index in inactive):
            self.drawn = self.chance.active | {index for index in inactive if now[index] != self._quiet[index]}
            self.chance.active, self._quiet = self.drawn, now
            raise AnewError

    def called_together(self, engine: str, changed: Sequence[str], seeds: list[int], most: int) -> bool:
        """Whether `gradients` are taken for many replicates at once from now on; ``engine``: as it is asked for.

        ``changed`` is what it leaves changed, ``seeds`` what it is tried under, ``most`` how many are wanted at a
        time. Raises ContractError where "vmap" is asked for and cannot be.
        """
        if engine == "loop" or (self._alone and engine == "auto"):
            return False
        together = TogetherLoss(self.loss, self.parameters, self._places, most)
        why: str | None
        if self._alone:
            why = "its calls do not all take one course"
        elif self.gradient.accumulates or self.gradient.values:
            why = "it calls backward() itself, or returns many values"
        elif changed:
            why = f"it changes {listed_names(changed)}"
        elif self.drawn - {TORCH}:
            why = "it draws from other sources than torch's generator"
        else:
            why = together.why_not(
                lambda some: [copied_gradient(one) for one in self.gradients(some)], seeds[: together.at_once]
            )
        if why is None:
            self._together = together
        elif engine == "vmap":
            raise ContractError(f"{self.name}: engine='vmap': {why}\ngive engine='auto' or 'loop'")
        return why is None

    def reached(self, seed: int) -> set[str]:
        """Names of the parameters whose gradients random draws reach; all, where that cannot be told."""
        if self.drawn != {TORCH} and self.drawn:
            return set(self.gradient.names)  # drawn outside of torch
        if self._again is not None:
            self._again.put_back()
        self.chance.seed(seed)
        found = reached_by_draws(self._evaluated, self.gradient.names)
        return set(self.gradient.names) if found is None else found

    def step(self) -> None:
        """Take one gradient as a training step takes it, under whatever the sources are at."""
        self.gradient()

    def is_still(self, seed: int, before: list[Tensor | None]) -> bool:
        """Whether it gives under ``seed`` the gradient that it gave ``before``, after all that was evaluated since."""
        if self.state == "keep":
            return True
        if self._again is not None:
            self._again.put_back()
        self.chance.active = set(range(len(self.chance.sources)))
        self.chance.seed(seed)
        return same_gradient(before, self._evaluated())

    def require_still(self, seed: int, before: list[Tensor | None]) -> None:
        """Raise ContractError where it has another gradient under ``seed`` by now. See `is_still`."""
        if not self.is_still(seed, before):
            self._remembers(self._before.changed(), seed, list(before))
            raise ContractError(f"{self.name}: remembers more the longer it is evaluated, and cannot be put back")

    def _changed_parameters(self) -> list[str]:
        return [
            name
            for name, value, (version, kept) in zip(
                self.gradient.names, self.parameters.tensors.values(), self._values, strict=True
            )
            if value._version != version and not torch.equal(value.detach(), kept)
        ]

    def _evaluated(self) -> list[Tensor | None]:
        try:
            with torch.enable_grad():
                return self.gradient()
        except MeasurementError:
            raise
        except Exception as error:
            text = " ".join(str(error).split())[:200]
            raise ContractError(f"{self.name}: raises {type(error).__name__}: {text}", type(error).__name__) from error
