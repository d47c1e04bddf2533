"""What each estimator's own test file tells the tests that run over all of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from gradbench.core.types import Noise
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.base import Estimator, Setting, one_per_sample


@dataclass(frozen=True)
class Mutant:
    """An estimator with a mistake in it, and where the mistake must show as a bias."""

    mistake: str
    estimator: Estimator
    problem: str
    samples: int
    group: str
    """The group of parameters in which it is biased."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Those of the problem."""


@dataclass(frozen=True)
class Facts:
    """What is true of one estimator and cannot be read off its declaration: ``FACTS`` in its test file."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Its parameters in the contract tests: a short fit, a temperature at which biases are large."""
    evaluations: Callable[[Setting], float] = one_per_sample
    """Evaluations of f, with gradients of f beside, that one gradient takes; counted by hand."""
    without_effect: Mapping[str, str] = field(default_factory=dict)
    """Holds that change no gradient, each with the reason: nothing can go wrong without them."""
    mutants: tuple[Mutant, ...] = ()
    """Mistakes that people make, which the bias test must catch; every one of them is tried."""
    unbiased_groups: tuple[str, ...] | None = None
    """The groups that are not biased where its mutants are; None: all. For estimators that are biased by design."""
    integrated: Callable[[Task], tuple[Tensor, Noise]] | None = None
    """(task) -> weights [N] and noise with N first, whose weighted mean is the expectation over its draws.

    Only for draws of its own: those of q are known from the family (`tests.exactly`).
    """
    mean_only: Callable[[Task], tuple[Tensor, Noise]] | None = None
    """The same for the expectation of the gradient alone, not of its square: terms of which it is a sum, such as its
    samples, may go together there as they do not in truth.
    """
    tuples: Callable[[Task], int] | None = None
    """(task) -> how many weights there are for draws of its own; None: few, wherever it works."""


def module_of(estimator: str) -> str:
    """The name of an estimator's test module: room and file are those of the estimator."""
    room, _, file = ESTIMATORS.lines[estimator].partition(":")[0].rpartition(".")
    return f"tests.estimators.{room}.test_{file}"


def facts_of(estimator: str) -> Facts:
    """The facts of a registered estimator, from its test file."""
    return importlib.import_module(module_of(estimator)).FACTS
