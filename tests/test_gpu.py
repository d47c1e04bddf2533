"""On a CUDA device; skipped without one. That nothing mixes devices is tested without one, in `test_devices`."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from gradbench import statistics
from gradbench.engine.layers import graphs
from gradbench.engine.loop import SlowWarning
from gradbench.engine.measure import measure_moments as measure
from gradbench.engine.options import Options
from gradbench.engine.task import Task
from gradbench.engine.timing import cost
from gradbench.estimators import ESTIMATORS
from gradbench.problems import PROBLEMS
from gradbench.runner import runs
from gradbench.suite.suites import Settings, load_suite
from gradbench.target import points
from gradbench.target.points import Axes
from tests.cases import few
from tests.engine.test_staged import BY_SCIPY
from tests.helpers import TIMED, exact_reference, point_of, task_of

DEVICE = "cuda"
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

SUITE = """name = "both"
[measure]
replicates = 4096
[[grid]]
problem = "gaussian-vae"
hidden = 8
batch = 4
train_steps = 20
estimators = ["pathwise", "score-function", "double-counted"]
samples = [1, 4]
[[grid]]
problem = "sigmoid-belief"
latent = 4
batch = 4
estimators = ["disarm", "score-function-loo", "fixed-sample"]
samples = 2
"""


def on_device(problem: str, estimator: str, dtype: torch.dtype, samples: int = 2, kl=None, **parameters) -> Task:
    kind = PROBLEMS[problem]
    axes = Axes(problem, kind.Parameters(**parameters), kind.data, 0, 0)
    return task_of(points.build(axes, DEVICE, dtype), estimator, samples, kl)


@pytest.mark.parametrize("trial", [trial for name in ESTIMATORS.lines for trial in few(name)], ids=str)
def test_both_engines_see_the_same_gradients(trial):
    axes = Axes(trial.place.problem, trial.place.values, PROBLEMS[trial.place.problem].data, 0, 0)
    task = trial.made(points.build(axes, DEVICE, torch.float64))
    exact = {key: torch.randn_like(value) for key, value in task.point.problem.named_parameters().items()}
    auto, general = (measure(task, range(4), 8, exact, options=Options(e, "whole")) for e in ("auto", "general"))
    for key, means in general.means.items():
        scale = float(np.abs(means).max())
        np.testing.assert_allclose(np.asarray(auto.means[key]), means, rtol=1e-5, atol=1e-9 * scale)
    for group, size in general.size.items():
        scale = float(size.max())
        np.testing.assert_allclose(auto.within([group]), general.within([group]), rtol=1e-5, atol=1e-9 * scale)


@pytest.mark.parametrize(("problem", "estimator"), [("gaussian-vae", "pathwise"), ("sigmoid-belief", "disarm")])
def test_the_same_is_measured_twice(problem, estimator):
    task = on_device(problem, estimator, torch.float32, latent=8, batch=16)
    exact = {key: value.detach() for key, value in task.point.problem.named_parameters().items()}
    one, two = (measure(task, range(8), 16, exact) for _ in range(2))
    for group in one.square:
        np.testing.assert_array_equal(one.square[group], two.square[group])
    for name in one.means:
        np.testing.assert_array_equal(np.asarray(one.means[name]), np.asarray(two.means[name]))


@pytest.mark.parametrize("trial", [trial for name in ESTIMATORS.lines for trial in few(name)[:1]], ids=str)
def test_what_is_replayed_is_what_is_evaluated(trial, monkeypatch):
    """In groups of four blocks, of which there are seven: five are replayed where the second agrees to the bit."""
    axes = Axes(trial.place.problem, trial.place.values, PROBLEMS[trial.place.problem].data, 0, 0)
    task = replace(trial.made(points.build(axes, DEVICE, torch.float32)), together=4)
    exact = {key: torch.ones_like(value).double() for key, value in task.point.problem.named_parameters().items()}
    recorded, original = [], graphs.captured

    def captured(work, device):
        recorded.append(original(work, device))
        return recorded[-1]

    with warnings.catch_warnings():
        warnings.simplefilter("error", SlowWarning)
        if trial.place.problem in BY_SCIPY:
            warnings.filterwarnings("ignore", ".*not replayed", SlowWarning)
        monkeypatch.setattr(graphs, "captured", captured)
        found = measure(task, range(28), 4, exact)
        monkeypatch.setattr(graphs, "captured", lambda work, device: None)
        right = measure(task, range(28), 4, exact)
    assert recorded or trial.place.problem in BY_SCIPY or found.engine != "layers"
    for group, square in right.square.items():
        np.testing.assert_array_equal(found.square[group], square)
        np.testing.assert_array_equal(found.fourth[group], right.fourth[group])
    for name, means in right.means.items():
        np.testing.assert_array_equal(np.asarray(found.means[name]), np.asarray(means))


def test_the_variance_is_that_on_the_cpu():
    """Other noise, the same law: within 2.5 half-widths, 4.9 standard errors of the difference; 1e-6 for each group."""
    keys = {"hidden": 8, "latent": 2, "batch": 4}
    point = point_of("gaussian-vae", dtype=torch.float32, **keys)
    tasks = task_of(point, "pathwise", 2), on_device("gaussian-vae", "pathwise", torch.float32, 2, **keys)
    here, there = (
        statistics.summarise(measure(task, range(32), 128, exact.gradient), exact, 1e-7)
        for task, exact in zip(tasks, (exact_reference(tasks[0].point), exact_reference(tasks[1].point)), strict=True)
    )
    for group, figures in here.items():
        other = there[group]
        assert figures.gradient_norm == pytest.approx(other.gradient_norm, rel=1e-6)
        arms = [(one.variance_high - one.variance_low) / 2 for one in (figures, other)]
        assert abs(figures.variance - other.variance) < 2.5 * np.hypot(*arms), group


def test_what_a_gradient_costs():
    found = cost(on_device("gaussian-vae", "pathwise", torch.float32, batch=32))
    assert 0 < found.low <= found.seconds <= found.high
    assert found.peak_bytes > 32 * 64 * 4
    assert found.flops > 0


@pytest.mark.parametrize("noise", ["latent", "latent+data"])
def test_a_run(tmp_path, noise):
    (tmp_path / "both.toml").write_text(SUITE)
    suite = load_suite(str(tmp_path / "both.toml"), Settings(device=DEVICE, noise=noise))
    outcomes = [runs.run(suite, tmp_path / out) for out in ("one", "two")]
    assert [outcome.exit_code for outcome in outcomes] == [0, 0]
    one, two = (outcome.run.frame for outcome in outcomes)
    pd.testing.assert_frame_equal(one.drop(columns=TIMED), two.drop(columns=TIMED), check_exact=True)
    assert set(one.status) == {"ok"}
    assert set(one.device) == {DEVICE}
    phi = one[one.group == "phi"]
    wrong = phi.estimator.isin(["fixed-sample", "double-counted"])
    assert set(phi.verdict[phi.estimator == "fixed-sample"]) == {"biased"}
    assert "biased" not in set(phi.verdict[~wrong])
    assert (one.peak_bytes > 0).all()
    manifest = json.loads((tmp_path / "one" / "manifest.json").read_text())
    assert manifest["gpus"]
    assert manifest["tf32"] is False
