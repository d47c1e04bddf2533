"""What user code leaves changed is named and put back; each piece of state is seen by the item that is for it alone."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import random
import signal
import sys
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.overrides import BaseTorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from gradbench.core.errors import ContractError, NotRestoredError
from gradbench.core.isolation.guard import EVERYTHING, WHEN_LOADED, Guard
from gradbench.core.isolation.kept import Kept
from gradbench.core.isolation.process import RANDOM, Item, Noted
from tests.helpers import point_of


def set_by_hand(name: str, value: str) -> None:
    os.environ[name] = value


class Mode(TorchDispatchMode):
    """A mode that does nothing."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


LEFT: dict[str, Callable[[], object]] = {
    "the default device": lambda: torch.set_default_device("meta"),
    "modes of torch functions": lambda: BaseTorchFunctionMode().__enter__(),
    "dispatch modes": lambda: Mode().__enter__(),
    "the grad mode": lambda: torch.set_grad_enabled(False),
    "the default dtype": lambda: torch.set_default_dtype(torch.float64),
    "the number of threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "deterministic algorithms": lambda: torch.use_deterministic_algorithms(True),
    "anomaly detection": lambda: torch.autograd.set_detect_anomaly(True),
    "hooks on every module": lambda: nn.modules.module.register_module_forward_hook(lambda *_: None),
    "autocast": lambda: torch.set_autocast_enabled("cpu", True),
    "the precision of matrix products": lambda: torch.set_float32_matmul_precision("medium"),
    "the flushing of denormal numbers": lambda: torch.set_flush_denormal(True),
    "torch's global random state": lambda: torch.rand(1),
    "numpy's global random state": np.random.random,
    "numpy's error handling": lambda: np.seterr(all="raise"),
    "the filters of warnings": lambda: warnings.simplefilter("error"),
    "the working directory": lambda: os.chdir("/"),
    "signal handlers": lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    "environment variables": lambda: set_by_hand("HOME", "elsewhere"),
    "the recursion limit": lambda: sys.setrecursionlimit(sys.getrecursionlimit() + 1),
    "garbage collection": gc.disable,
}


@pytest.mark.parametrize("name", LEFT)
def test_what_is_left_changed_is_named_and_put_back(name: str) -> None:
    before = Noted(EVERYTHING)
    with pytest.raises(ContractError, match=rf"^mine leaves changed: {name}") as raised, Guard("mine"):
        LEFT[name]()
    assert len(str(raised.value).splitlines()) == 2
    assert before.put_back() == []


@pytest.mark.parametrize("name", LEFT)
def test_only_the_item_for_it_sees_a_change(name: str) -> None:
    """Without the item the change would go unnoticed, so that none of them can be left out."""
    others = tuple(item for item in EVERYTHING if item.name != name)
    before = Noted(EVERYTHING)
    try:
        if name == "the default device":  # is a mode of functions, too, which only sees that there is one
            with pytest.raises(ContractError, match="modes of torch functions"), Guard("mine", items=others):
                LEFT[name]()
        else:
            with Guard("mine", items=others):
                LEFT[name]()
    finally:
        before.put_back()


def test_every_item_has_a_case() -> None:
    quiet = {"Python's global random state", "CUDA's random state"}
    assert {item.name for item in EVERYTHING} == set(LEFT) | quiet


def test_code_that_leaves_all_as_it_was_passes() -> None:
    with Guard("mine"):
        with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("error")
            torch.zeros(2)
        os.environ["HOME"] = os.environ["HOME"]


def test_pythons_random_state_is_put_back_without_a_word() -> None:
    before = random.getstate()
    with Guard("mine"):
        random.random()
    assert random.getstate() == before


def test_filters_that_a_library_adds_are_no_fault() -> None:
    with Guard("mine"):
        warnings.filterwarnings("ignore", module="some_library")


def test_variables_that_a_library_sets_when_it_is_imported_are_no_fault(monkeypatch) -> None:
    with Guard("mine"):
        monkeypatch.setitem(sys.modules, "newly_imported", sys)
        os.environ["SET_BY_A_LIBRARY"] = "1"
    assert os.environ.pop("SET_BY_A_LIBRARY") == "1"
    with pytest.raises(ContractError, match="environment variables"), Guard("mine"):
        os.environ["SET_BY_MINE"] = "1"
    assert "SET_BY_MINE" not in os.environ


@pytest.mark.parametrize("error", [SystemExit(0), SystemExit("bye"), BaseException("base"), KeyboardInterrupt()])
def test_code_that_would_end_the_process_is_an_error_like_another(error: BaseException) -> None:
    says = rf"mine raises {type(error).__name__}.*would end the process"
    with pytest.raises(ContractError, match=says) as raised, Guard("mine"):
        raise error
    assert raised.value.raised == type(error).__name__


def test_another_exception_passes_as_it_is() -> None:
    def code() -> None:
        torch.rand(1)  # the random state is put back, too
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), Guard("mine"):
        code()


def test_what_an_exception_comes_from_is_said() -> None:
    def code() -> None:
        torch.set_default_device("meta")
        raise ZeroDivisionError

    with pytest.raises(ContractError, match="the default device") as raised, Guard("mine"):
        code()
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


@pytest.mark.usefixtures("interruptible")
def test_the_users_own_interrupt_passes() -> None:
    with pytest.raises(KeyboardInterrupt), Guard("mine"):
        signal.raise_signal(signal.SIGINT)


def test_what_is_printed_goes_to_stderr(capsys) -> None:
    with Guard("mine"):
        print("noise")
        sys.stdout.write("more\n")
    print("result")
    out, err = capsys.readouterr()
    assert (out, err) == ("result\n", "noise\nmore\n")


@pytest.mark.parametrize("name", ["stdout", "stderr"])
@pytest.mark.parametrize("spoil", ["close", "replace"])
def test_a_stream_that_is_closed_or_replaced_is_named_and_goes_on(capsys, name: str, spoil: str) -> None:
    with pytest.raises(ContractError, match=rf"sys.{name}"), Guard("mine"):
        getattr(sys, name).close() if spoil == "close" else setattr(sys, name, io.StringIO())
    print("goes on", file=getattr(sys, name))
    assert getattr(capsys.readouterr(), name[3:]) == "goes on\n"


def test_what_cannot_be_put_back_stops_the_run() -> None:
    count = iter(range(10))
    stuck = Item("a counter", lambda: next(count), lambda before: None)
    says = "a counter changed, which cannot be put back"
    with pytest.raises(NotRestoredError, match=says), Guard("mine", items=(stuck,)):
        pass


def test_a_file_that_is_loaded_may_seed_but_not_set() -> None:
    before = Noted(RANDOM)
    with Guard("mine", items=WHEN_LOADED):
        torch.manual_seed(3)
    assert before.put_back() == []
    with pytest.raises(ContractError, match="the default dtype"), Guard("mine", items=WHEN_LOADED):
        torch.set_default_dtype(torch.float64)


# A target


@pytest.fixture
def point():
    return point_of("gaussian-vae", hidden=3, latent=2, batch=2)


def weight(p) -> torch.nn.Parameter:
    return p.problem.theta.get_parameter("decoder.hidden1.weight")


def scaled(p) -> None:
    with torch.no_grad():
        weight(p).mul_(1.05)


def scaled_past_the_counter(p) -> None:
    weight(p).data.numpy()[:] *= 2


def reshaped(p) -> None:
    weight(p).data = torch.zeros(2, 2)


def replaced(p) -> None:
    layer = p.problem.theta.get_submodule("decoder.hidden1")
    layer.weight = nn.Parameter(layer.weight.detach() * 2)


def a_nan(p) -> None:
    with torch.no_grad():
        weight(p)[0, 0] = float("nan")


def graded(p) -> None:
    weight(p).grad = torch.ones_like(weight(p))


def other_forward(p) -> None:
    p.problem.theta.get_submodule("decoder.hidden1").forward = lambda x: x


def other_method(p) -> None:
    p.problem.log_likelihood = lambda *_: None


SPOILT = {
    "the values of theta.decoder.hidden1.weight": (scaled, scaled_past_the_counter, reshaped, a_nan),
    "the parameters of theta.decoder.hidden1": (replaced,),
    "requires_grad of theta.decoder.hidden1.weight": (lambda p: weight(p).requires_grad_(False),),
    ".grad of theta.decoder.hidden1.weight": (graded,),
    "the hooks of theta.decoder": (
        lambda p: p.problem.theta.get_submodule("decoder").register_forward_hook(lambda *_: None),
        lambda p: p.problem.theta.get_submodule("decoder").register_forward_pre_hook(lambda *_: None),
        lambda p: p.problem.theta.get_submodule("decoder").register_full_backward_hook(lambda *_: None),
    ),
    "the mode .train or eval. of theta": (lambda p: p.problem.theta.eval(),),
    "forward of theta.decoder.hidden1": (other_forward,),
    "the parts of theta": (lambda p: p.problem.theta.add_module("more", nn.Identity()),),
    "attributes of the problem": (other_method, lambda p: setattr(p.problem, "phi", nn.Identity())),
    "the minibatch x": (lambda p: p.x.mul_(0.5), lambda p: p.x.requires_grad_()),
}


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        pytest.param(name, one, id=f"{name}-{number}")
        for name, several in SPOILT.items()
        for number, one in enumerate(several)
    ],
)
def test_what_is_left_of_a_target_is_named_and_put_back(point, name: str, spoil: Callable) -> None:
    own, values = weight(point), weight(point).detach().clone()
    x = point.x.clone()
    here = Kept(point.problem, point.x, point.rows)
    with pytest.raises(ContractError, match=name), Guard("mine", [here]):
        spoil(point)
    assert here.put_back() == []
    assert weight(point) is own
    assert torch.equal(own, values)
    assert torch.equal(point.x, x)
    assert own.requires_grad
    assert own.grad is None
    assert not point.x.requires_grad
    assert "log_likelihood" not in vars(point.problem)
    assert "forward" not in vars(point.problem.theta.get_submodule("decoder.hidden1"))


def test_nans_that_were_there_are_no_change(point) -> None:
    a_nan(point)
    assert Kept(point.problem, point.x).put_back() == []


@pytest.mark.parametrize(
    "spoil", [lambda rows: rows[0].add_(1), lambda rows: rows.numpy().__setitem__(0, 7.0)], ids=["in torch", "in numpy"]
)
def test_a_data_set_that_was_changed_stops_the_run(point, spoil: Callable) -> None:
    rows = point.rows.clone()
    with pytest.raises(NotRestoredError, match="the data set"), Guard("mine", [Kept(point.problem, point.x, rows)]):
        spoil(rows)
