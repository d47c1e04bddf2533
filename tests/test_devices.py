"""Nothing mixes devices. torch's meta device stands in for a GPU, so that this is tested where there is none.

Tensors on ``meta`` have shapes and no values. What a GPU refuses is refused here: operations on tensors of two devices,
other than copies and indices. Where values are read (a copy to the CPU, the truth of a tensor) they are made up, so
nothing is said of figures.
"""

from __future__ import annotations

import dataclasses
import types

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gradbench.core import seeding
from gradbench.engine import measure as engine
from gradbench.engine.layers.cell import LayersCell
from gradbench.engine.options import Options
from gradbench.estimators import ESTIMATORS
from gradbench.families import layered
from gradbench.problems import PROBLEMS
from gradbench.runner import runs
from gradbench.statistics import bias
from gradbench.suite.suites import Settings, resolve
from gradbench.target import points
from gradbench.target.points import Axes, Point
from tests.cases import all_places, few, working
from tests.covering import cover
from tests.engine import taped
from tests.engine.test_staged import BY_SCIPY
from tests.helpers import monte_carlo_at

MODELS = [place for place in all_places() if PROBLEMS[place.problem].objective != "cost"]
COPIES = {"copy_", "_to_copy", "index", "index_put", "index_put_", "_index_put_impl_"}
ESTIMATED = [
    trial
    for name in ESTIMATORS.lines
    for trial in cover(working(name, MODELS, (2, 3)), lambda trial: {(trial.objective,)})
]
GRIDS = {
    "gaussian": {"problem": "gaussian-vae", "hidden": 6, "latent": 3, "kl": ["analytic", "monte-carlo"]}
    | {"estimators": ["pathwise", "score-function-loo"]},
    "bits": {"problem": "sigmoid-belief", "latent": 4, "estimators": ["disarm", "score-function-learned"]},
    "bound": {"problem": "gaussian-vae", "hidden": 6, "latent": 3, "objective": "iwae", "estimators": ["iwae-dreg"]},
    "cost": {"problem": "gaussian-cost", "estimators": ["score-function", "fixed-sample"]},
}


class OneDevice(TorchDispatchMode):
    """Raises RuntimeError where an operation takes tensors of several devices; makes up values where they are read.

    ``apart``: nothing may be read, nor be copied between devices: Python would wait for the device.
    """

    def __init__(self, *, truth: bool) -> None:
        super().__init__()
        self.truth = truth
        self.apart = False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name, kwargs = func._schema.name.split("::")[1], dict(kwargs or {})
        tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
        away = [value for value in tensors if value.device.type == "meta"]
        if self.apart:
            self.check_apart(func, args, kwargs, tensors)
        # a number on the CPU may meet a tensor on a GPU, but not the other way round
        if away and name not in COPIES and any(value.device.type == "cpu" and value.dim() > 0 for value in tensors):
            raise RuntimeError(f"{func} on {[(value.device.type, tuple(value.shape)) for value in tensors]}")
        if name == "equal" and away:
            return self.truth
        if name == "_local_scalar_dense" and away:
            return self.truth if away[0].dtype == torch.bool else 1
        if name == "_to_copy" and away and torch.device(kwargs.get("device") or "meta").type == "cpu":
            if away[0].dtype == torch.bool:
                return torch.full(away[0].shape, self.truth)
            return torch.rand(away[0].shape, dtype=torch.float64).to(kwargs.get("dtype") or away[0].dtype)
        if name == "copy_" and away and args[0].device.type == "cpu":
            return args[0].copy_(torch.rand(args[0].shape, dtype=torch.float64))
        return func(*args, **kwargs)

    def check_apart(self, func, args, kwargs, tensors) -> None:
        """Raise RuntimeError where the operation waits for numbers, or moves them between devices."""
        if taped.reads(func, args):
            raise RuntimeError(f"{func} reads numbers")
        devices = {value.device.type for value in tensors if value.device.type == "meta" or value.dim() > 0}
        if func._schema.name in ("aten::_to_copy", "aten::copy_"):
            devices |= {value.device.type for value in tensors} | {torch.device(kwargs.get("device") or "meta").type}
        if len(devices) > 1:
            raise RuntimeError(f"{func} moves numbers between devices")


@pytest.fixture(autouse=True)
def no_generator_away(monkeypatch):
    """meta has no random streams of its own: it takes the CPU's."""
    ours = types.SimpleNamespace(**vars(torch) | {"Generator": lambda device="cpu": torch.Generator()})
    monkeypatch.setattr(seeding, "torch", ours)
    monkeypatch.setattr(engine, "torch", ours)
    monkeypatch.setattr(layered, "torch", ours)
    monkeypatch.setattr(bias, "no_bias_p", lambda gram: np.full(gram.shape[:-2], 0.5))  # of made-up values


def away(problem: str, **parameters) -> Point:
    kind = PROBLEMS[problem]
    return points.build(Axes(problem, kind.Parameters(**parameters), kind.data, 0, 0), "meta", torch.float32)


CARE = cover(ESTIMATED, lambda trial: {trial.objective, trial.place.latents, ("place", trial.place)})
"""Fewer: whose blocks are evaluated with care, which is the engine's doing and no estimator's."""


@pytest.mark.parametrize(
    ("trial", "cancelled"),
    [(trial, cancelled) for cancelled, trials in ((False, ESTIMATED), (True, CARE)) for trial in trials],
    ids=str,
)
def test_no_engine_mixes_devices(trial, cancelled):
    with OneDevice(truth=cancelled):  # true: a variance was lost to rounding, and the blocks are evaluated with care
        task = trial.made(away(trial.place.problem, **dict(trial.place.parameters)))
        exact = {key: torch.zeros_like(value) for key, value in task.point.problem.named_parameters().items()}
        for options in (Options("auto"), Options("auto", "whole"), Options("general")):
            moments = engine.measure_moments(task, range(4), 4, exact, options=options)
            assert all(isinstance(value, np.ndarray) for value in moments.square.values())


WAITING = [t for name in ESTIMATORS.lines for t in few(name) if t.place.problem not in BY_SCIPY]


@pytest.mark.parametrize(
    ("trial", "variance"), [(t, "auto") for t in WAITING] + [(t, "whole") for t in CARE if t in WAITING], ids=str
)
def test_no_pass_waits_for_the_device(trial, variance, monkeypatch):
    """But where SciPy makes the samples of the noise. The first pass of a cell may: it is checked."""
    mode, original, original_tensor = OneDevice(truth=False), LayersCell.unlooked, torch.tensor
    passes = []

    def unlooked(self, *given):
        mode.apart = self.checked
        passes.append(self.checked)
        try:
            original(self, *given)
        finally:
            mode.apart = False

    monkeypatch.setattr(LayersCell, "unlooked", unlooked)

    def to_device(data, *, device="cpu", **more):
        if mode.apart and torch.device(device).type == "meta":
            raise RuntimeError("torch.tensor moves Python's numbers to a device")
        return original_tensor(data, device=device, **more)

    monkeypatch.setattr(torch.nn.functional, "one_hot", taped.one_hot)
    monkeypatch.setattr(torch, "tensor", to_device)
    with mode:
        task = dataclasses.replace(trial.made(away(trial.place.problem, **dict(trial.place.parameters))), together=2)
        exact = {key: torch.zeros_like(value) for key, value in task.point.problem.named_parameters().items()}
        engine.measure_moments(task, range(4), 4, exact, options=Options("layers", variance))
    assert True in passes


@pytest.mark.parametrize("bound", [1, 4])
@pytest.mark.parametrize("problem", ["gaussian-vae", "sigmoid-belief"])
def test_no_reference_mixes_devices(problem, bound):
    with OneDevice(truth=True):
        found = monte_carlo_at(away(problem, latent=4, batch=2), 32, 4, bound)
    assert {value.device.type for value in found.gradient.values()} == {"meta"}


@pytest.mark.parametrize("noise", ["latent", "latent+data"])
@pytest.mark.parametrize("grid", GRIDS)
def test_no_run_mixes_devices(grid, noise, tmp_path):
    if grid == "cost" and noise != "latent":
        pytest.skip("a cost has no data")
    measure = {"replicates": 64, "blocks": 8, "noise": noise}
    batch = {} if grid == "cost" else {"batch": 4, "samples": 2}
    suite = resolve({"name": "away", "measure": measure, "grid": [GRIDS[grid] | batch]}, "away.toml", Settings())
    suite = dataclasses.replace(
        suite, cells=tuple(dataclasses.replace(cell, device="meta", dtype="float32") for cell in suite.cells)
    )
    with OneDevice(truth=True):
        frame = runs.run(suite, tmp_path / "run").run.frame
    assert set(frame.status) == {"ok"}, frame.message.dropna().unique()
