"""Estimators that each are the score function with one fault, as a plugin's author may write them unawares."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from gradbench.estimators.base import Estimator
from gradbench.objectives.base import average

FORWARD_HOOK = nn.modules.module.register_module_forward_hook


def right(objective, q, noise):
    z = q.sample(noise).detach()
    f = objective.f(z, q.held())
    return average(f.detach() * q.log_prob(z) + f)


def raises(error: BaseException) -> Callable[..., Any]:
    def surrogate(objective, q, noise):
        raise error

    return surrogate


def asserts(objective, q, noise):
    assert False  # noqa: B011, PT015


def recurses(objective, q, noise):
    return recurses(objective, q, noise)


def gives(change: Callable[[torch.Tensor], Any]) -> Callable[..., Any]:
    return lambda objective, q, noise: change(right(objective, q, noise))


def nan_in_some(values: torch.Tensor) -> torch.Tensor:
    factor = torch.ones_like(values)
    factor[::7] = float("nan")
    return values * factor


def leaves(act: Callable[..., Any], *, after: bool = False) -> Callable[..., Any]:
    """The score function, with ``act(objective)`` done before it, or after it."""

    def surrogate(objective, q, noise):
        if not after:
            act(objective)
        found = right(objective, q, noise)
        if after:
            act(objective)
        return found

    return surrogate


def scales_parameters(objective) -> None:
    with torch.no_grad():
        for module in (objective.problem.phi, objective.problem.theta):
            for value in module.parameters():
                value.mul_(1.05)


def scales_the_minibatch(objective) -> None:
    if objective.x is not None:
        objective.x.mul_(0.5)


def hooks_the_networks(objective) -> None:
    for module in (objective.problem.phi, objective.problem.theta):
        module.register_forward_hook(lambda _, inputs, output: output)


def freezes(objective) -> None:
    for value in objective.problem.phi.parameters():
        value.requires_grad_(False)


def zeroes_the_noise(objective, q, noise):
    noise.zero_()
    return right(objective, q, noise)


def ends_late() -> Callable[..., Any]:
    """Does right for as long as it is watched, and then ends the process."""
    calls = []

    def surrogate(objective, q, noise):
        calls.append(noise)
        if len(noise) > 8:
            sys.exit(0)
        return right(objective, q, noise)

    return surrogate


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise ValueError


@dataclass(frozen=True)
class Misbehaving:
    """An estimator and what its row must say."""

    name: str
    surrogate: Callable[..., Any]
    says: str
    error_type: str = "ContractError"

    def estimator(self) -> Estimator:
        return Estimator(self.name, self.name, self.surrogate, ledger=(), paper="-")


CASES = [
    Misbehaving("raises", raises(ValueError("boom [/x] [red]\x1b[31m\n2")), r"boom \[/x\] \[red\]\x1b", "ValueError"),
    Misbehaving("raises-base", raises(BaseException("base")), "would end the process", "BaseException"),
    Misbehaving("raises-interrupt", raises(KeyboardInterrupt()), "would end the process", "KeyboardInterrupt"),
    Misbehaving("raises-nothing-said", raises(RuntimeError()), "raises RuntimeError", "RuntimeError"),
    Misbehaving("raises-unspeakable", raises(Unspeakable()), "cannot be had", "Unspeakable"),
    Misbehaving("raises-no-text", raises(ValueError("\udc80")), "ValueError", "ValueError"),
    Misbehaving("asserts", asserts, "raises AssertionError", "AssertionError"),
    Misbehaving("recurses", recurses, "raises RecursionError", "RecursionError"),
    Misbehaving("exits", raises(SystemExit(0)), "would end the process", "SystemExit"),
    Misbehaving("exits-with-text", raises(SystemExit("bye")), "bye", "SystemExit"),
    Misbehaving("exits-late", ends_late(), "would end the process", "SystemExit"),
    Misbehaving("gives-nan", gives(lambda v: v * float("nan")), "not finite"),
    Misbehaving("gives-nan-in-some", gives(nan_in_some), "not finite"),
    Misbehaving("gives-a-scalar", gives(lambda v: v.sum()), r"a tensor \[\] of float64; expected one float64 per"),
    Misbehaving("gives-a-matrix", gives(lambda v: v[:, None].expand(-1, 3)), r"a tensor \[4, 3\]"),
    Misbehaving("gives-one", gives(lambda v: v[:1]), r"a tensor \[1\]"),
    Misbehaving("gives-none", gives(lambda v: None), "gives None"),
    Misbehaving("gives-text", gives(lambda v: "x"), "gives a str"),
    Misbehaving("gives-a-number", gives(lambda v: 1.0), "gives a float"),
    Misbehaving("gives-integers", gives(lambda v: v.long()), "of int64"),
    Misbehaving("gives-truth", gives(lambda v: v > 0), "of bool"),
    Misbehaving("gives-half", gives(lambda v: v.half()), "of float16"),
    Misbehaving("gives-complex", gives(lambda v: v.to(torch.complex64)), "of complex64"),
    Misbehaving("leaves-grad-mode", leaves(lambda _: torch.set_grad_enabled(False), after=True), "the grad mode"),
    Misbehaving("leaves-dtype", leaves(lambda _: torch.set_default_dtype(torch.float16)), "the default dtype"),
    Misbehaving("leaves-device", leaves(lambda _: torch.set_default_device("meta")), "the default device"),
    Misbehaving("leaves-threads", leaves(lambda _: torch.set_num_threads(7)), "the number of threads"),
    Misbehaving("leaves-deterministic", leaves(lambda _: torch.use_deterministic_algorithms(True)), "deterministic"),
    Misbehaving("leaves-anomaly", leaves(lambda _: torch.autograd.set_detect_anomaly(True)), "anomaly detection"),
    Misbehaving("leaves-global-hooks", leaves(lambda _: FORWARD_HOOK(lambda *_: None)), "hooks on every module"),
    Misbehaving("leaves-hooks", leaves(hooks_the_networks), "the hooks of"),
    Misbehaving("leaves-folder", leaves(lambda _: os.chdir("/")), "the working directory"),
    Misbehaving("leaves-numpy", leaves(lambda _: np.seterr(all="raise")), "numpy's error handling"),
    Misbehaving("leaves-warnings", leaves(lambda _: warnings.simplefilter("error")), "the filters of warnings"),
    Misbehaving("leaves-signal", leaves(lambda _: signal.signal(signal.SIGINT, signal.SIG_IGN)), "signal handlers"),
    Misbehaving("closes-stdout", leaves(lambda _: sys.stdout.close()), "sys.stdout"),
    Misbehaving("seeds", leaves(lambda _: torch.manual_seed(1)), "torch's global random state"),
    Misbehaving("draws", leaves(lambda _: torch.randn(1)), "torch's global random state"),
    Misbehaving("scales-parameters", leaves(scales_parameters), "the values of phi"),
    Misbehaving("freezes", leaves(freezes), "requires_grad of phi"),
    Misbehaving("zeroes-the-noise", zeroes_the_noise, "changes the noise in place"),
]
OF_DATA = Misbehaving("scales-the-minibatch", leaves(scales_the_minibatch), "the minibatch x")
HARMLESS = {
    "prints": leaves(lambda _: print("NOISE ON STDOUT")),
    "gives-double": gives(lambda v: v.double()),
    "gives-a-constant": gives(lambda v: v.detach()),
}
