"""Groups that are evaluated without a look, and replayed, come out as those that are looked at, to the bit.

That takes no GPU: what is asked of one is asked of the CPU here, and recorded by `tests.engine.taped`.
"""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from gradbench.core.device_bank import DeviceBank
from gradbench.core.errors import MeasurementError
from gradbench.engine import options
from gradbench.engine.layers import cell, graphs, layer_norms, recording, staged
from gradbench.engine.loop import SlowWarning
from gradbench.engine.measure import measure_moments as measure
from gradbench.engine.moments import Moments
from gradbench.engine.options import Options, Variance
from gradbench.engine.passes import plan
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.problems import PROBLEMS
from gradbench.target import points
from gradbench.target.points import Axes
from tests.cases import few
from tests.engine import taped
from tests.engine.test_likelihoods import bits, gaussian, numbers
from tests.helpers import task_of

TOGETHER, GROUPS, PER_BLOCK = 4, 7, 4
REPLAYED = GROUPS - 1
"""The first group is recorded, the second evaluated and replayed, the rest replayed."""
BY_SCIPY = {"gamma-cost", "poisson-cost", "gamma-poisson", "beta-cost", "dirichlet-cost", "von-mises-cost"}
"""Problems whose samples SciPy makes of their noise: no GPU can do that, and no recording."""


def same(one: Moments, other: Moments) -> bool:
    """Whether two moments agree in every bit; a cosine with a gradient of 0 is NaN in both."""
    return bool(np.array_equal(numbers(one), numbers(other), equal_nan=True))


def moments(task: Task, variance: Variance = "auto", groups: int = GROUPS) -> Moments:
    exact = {name: torch.full_like(value, 0.5) for name, value in task.point.problem.named_parameters().items()}
    blocks = range(groups * TOGETHER)
    return measure(replace(task, together=TOGETHER), blocks, PER_BLOCK, exact, options=Options("layers", variance))


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch):
    """Moments as they are where every pass is looked at."""

    def found(task: Task, *given) -> Moments:
        with monkeypatch.context() as patch:
            patch.setattr(layer_norms, "is_staged", lambda device: False)
            return moments(task, *given)

    return found


@pytest.fixture(autouse=True)
def replayed(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """An entry for each time that a recording is replayed."""
    count: list[None] = []

    def captured(work, device):
        replay = taped.captured(work, device)
        return lambda: (count.append(None), replay())

    monkeypatch.setattr(layer_norms, "is_staged", lambda device: True)
    monkeypatch.setattr(graphs, "captured", captured)
    return count


@pytest.mark.parametrize("trial", [trial for name in ESTIMATORS.lines for trial in few(name)], ids=str)
def test_what_is_replayed_is_what_would_be_evaluated(trial, replayed, evaluated):
    axes = Axes(trial.place.problem, trial.place.values, PROBLEMS[trial.place.problem].data, 0, 0)
    task = trial.made(points.build(axes, "cpu", torch.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("error", SlowWarning)
        if trial.place.problem in BY_SCIPY:
            warnings.filterwarnings("ignore", ".*it gives other numbers", SlowWarning)
        assert same(moments(task), evaluated(task))
    if trial.place.problem not in BY_SCIPY:
        assert replayed


@pytest.mark.parametrize("variance", ["datapoint", "whole"])
@pytest.mark.parametrize("made", [gaussian, bits])
@pytest.mark.parametrize("size", [2**24, 2**12])
def test_all_forms_of_the_variance_and_blocks_of_several_passes(made, variance, size, replayed, evaluated, monkeypatch):
    monkeypatch.setitem(options.PASS_BYTES, "cpu", size)
    monkeypatch.setattr(options, "FEW_BYTES", size)
    task = task_of(made(), "score-function-loo", 2)
    assert (plan(task, PER_BLOCK).at_once < PER_BLOCK) == (size == 2**12)
    assert same(moments(task, variance), evaluated(task, variance))
    assert len(replayed) == (REPLAYED if size == 2**24 else GROUPS * TOGETHER - 1)


@pytest.mark.parametrize("variance", ["datapoint", "whole"])
def test_what_must_be_taken_carefully_is_evaluated_again(variance, replayed, evaluated, monkeypatch):
    """The bound lies between the groups' own ratios, so that some of them need care."""
    task = task_of(gaussian(), "pathwise", 1)
    rough, needing = evaluated(task, variance), 0
    for bound in (0.3, 0.5, 0.7, 0.9, 0.97, 1.5):
        monkeypatch.setattr(cell, "CANCELLED", bound)
        right = evaluated(task, variance)
        needing += not same(right, rough)
        assert same(moments(task, variance), right)
    assert needing
    assert replayed


@pytest.mark.parametrize("replicate", [0, 70])
def test_a_replicate_that_is_not_finite_is_found_in_the_end(replicate, evaluated):
    task = task_of(gaussian(), "pathwise", 1)

    def broken(objective, q, noise):
        return task.estimator.surrogate(objective, q, noise) * torch.where(noise[:, 0, 0, 0] == bad, torch.inf, 1.0)

    own = replace(task, estimator=replace(task.estimator, surrogate=broken))
    bad = torch.nan
    moments(own)
    noise = torch.cat([task.noise(PER_BLOCK, task.point.axes.stream("block", block)) for block in range(28)])
    bad = noise[replicate, 0, 0, 0]
    with pytest.raises(MeasurementError, match="1 of 16 replicates gave a gradient that is not finite") as found:
        moments(own)
    with pytest.raises(MeasurementError) as right:
        evaluated(own)
    assert str(found.value) == str(right.value)


@pytest.mark.parametrize(
    ("factor", "why"),
    [
        (lambda z: 1 + (float(z.sum()) > 0), "aten._local_scalar_dense.default reads numbers"),
        (lambda z: 1 + torch.from_numpy(z.detach().numpy().copy()).mean(), "it gives other numbers"),
    ],
    ids=["read", "numpy"],
)
def test_what_cannot_be_recorded_is_evaluated(factor, why, evaluated):
    """A factor that depends on what Python reads, or that another library computes."""
    task = task_of(gaussian(), "pathwise", 1)

    def surrogate(objective, q, noise):
        return task.estimator.surrogate(objective, q, noise) * factor(noise)

    own = replace(task, estimator=replace(task.estimator, surrogate=surrogate))
    right = evaluated(own)
    with pytest.warns(SlowWarning, match=f"gaussian-vae, pathwise: not replayed as a CUDA graph: {why}"):
        found = moments(own)
    assert same(found, right)


def test_a_module_that_mixes_rows_later_is_found_in_the_end(monkeypatch):
    """The first pass of a cell is looked at, and here treats rows one by one."""
    monkeypatch.setattr(recording, "is_plain_stack", lambda module: False)
    task = task_of(gaussian(), "pathwise", 1)
    exact = {name: torch.zeros_like(value).double() for name, value in task.point.problem.named_parameters().items()}
    firsts: list[float] = []

    def path(bad: float) -> str:
        def mixes(module, rows, output, count):
            firsts.append(float(rows[0].detach().flatten()[0]))
            return torch.tensor(firsts[-1] == bad)

        monkeypatch.setattr(recording, "mixes_rows", mixes)
        return measure(replace(task, together=TOGETHER), range(3 * TOGETHER), PER_BLOCK, exact).engine

    assert path(torch.inf) == "layers"
    for bad in firsts[-3:]:
        assert path(bad) == "general"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How each group was evaluated: without a look, or with."""
    found: list[str] = []
    for name in ("unlooked", "evaluate"):
        original = getattr(cell.LayersCell, name)

        def noted(self, *given, name=name, original=original):
            found.append(name)
            return original(self, *given)

        monkeypatch.setattr(cell.LayersCell, name, noted)
    return found


def test_a_trusted_recording_takes_the_place_of_evaluation(asked, replayed):
    moments(task_of(gaussian(), "pathwise", 1))
    assert asked == ["unlooked"] * 4, "the first group, to warm up and to record; and the second, to compare"
    assert len(replayed) == REPLAYED


def test_only_groups_in_doubt_are_evaluated_again(asked, monkeypatch):
    def lost_at_first(found):
        return torch.full((sum(size is not None for *_, size in found),), asked == ["unlooked"])

    monkeypatch.setattr(cell, "_are_lost", lost_at_first)
    moments(task_of(gaussian(), "pathwise", 1), "datapoint", 3)
    assert asked == ["unlooked"] * 3 + ["evaluate"]


def test_few_groups_are_not_recorded(replayed, evaluated):
    task = task_of(gaussian(), "pathwise", 1)
    assert same(moments(task, "auto", staged.WORTH_RECORDING), evaluated(task, "auto", staged.WORTH_RECORDING))
    assert not replayed


def test_means_stay_on_the_device_while_they_fit(monkeypatch):
    places = []
    monkeypatch.setattr(staged, "device_budget", lambda device: room)
    original = cell.LayersCell.__init__

    def noted(self, *given, device=None, **more):
        original(self, *given, device=device, **more)
        places.append(device)

    monkeypatch.setattr(cell.LayersCell, "__init__", noted)
    task = task_of(gaussian(), "pathwise", 1)
    size = sum(value.numel() for value in task.point.problem.named_parameters().values()) * 4 * GROUPS * TOGETHER
    for given, where in ((size, task.point.device), (size - 1, "cpu")):
        room = given
        places.clear()
        moments(task)
        assert places[0] is None
        assert str(places[1]) == where
    told = DeviceBank(3, {"a": 2, "b": 1}, torch.float32, 0, "cpu")
    told.rows["a"][:], told.rows["b"][:] = torch.arange(6.0).reshape(3, 2), 7
    found = told.arrays()
    np.testing.assert_array_equal(found["a"], [[0, 1], [2, 3], [4, 5]])
    np.testing.assert_array_equal(found["b"], [[7], [7], [7]])
