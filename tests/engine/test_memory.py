"""Block means and reference blocks of ten million parameters, within a budget of 30 MiB."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from gradbench.core.bank import Bank, allocated, columns, release, side_by_side
from gradbench.core.errors import MeasurementError
from gradbench.engine.measure import measure_moments as measure
from gradbench.engine.moments import joined
from gradbench.engine.options import BANKS, Options
from gradbench.runner import runs
from gradbench.suite.suites import Settings, resolve
from gradbench.target import reference
from tests.helpers import objective_of, point_of, reference_of_point, task_of

MIB = 2**20
PARAMETERS = 10_102_504
BLOCKS, PER_BLOCK = 16, 16
BUDGET = 30 * MIB
COPIES = 12
"""Gradients of all parameters held at once: the mean, the centre, the reference, in the making in float64."""
LARGEST = 2200 * 2200
"""Parameters of the largest tensor, whose rows a pass may write, or a figure read, all at once."""

MEASURE = """
import gc, json, sys
import torch
from gradbench.objectives.chosen import ChosenObjective
from gradbench.target import monte_carlo, points, reference
from gradbench.engine.measure import measure_moments as measure
from gradbench.engine.options import Options
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.problems import PROBLEMS
from gradbench.statistics import summarise

def resident(name):
    (line,) = (line for line in open("/proc/self/status") if line.startswith(name))
    return 1024 * int(line.split()[1])

torch.set_num_threads(1)
blocks, per_block, budget = map(int, sys.argv[1:])
kind = PROBLEMS["gaussian-vae"]
axes = points.Axes(kind.name, kind.Parameters(hidden=2200, layers=2, latent=20, batch=4), "digits", 0, 0)
point = points.build(axes, "cpu", torch.float32)
gc.collect()
before, replicates = resident("VmRSS"), blocks * per_block
open("/proc/self/clear_refs", "w").write("5")  # the peak counts from here
monte_carlo.MONTE_CARLO_SAMPLES = 2  # 64 would only take longer
options = Options(memory=budget)
objective = ChosenObjective("elbo", "analytic")
against = reference.compute(point, objective, 1, replicates, blocks, options.budget())
task = Task(point, ESTIMATORS["pathwise"], {}, 1, objective)
moments = measure(task, range(blocks), per_block, against.gradient, options=options)
figures = summarise(moments, against, torch.finfo(torch.float32).eps)["all"]
print(json.dumps({
    "parameters": sum(value.numel() for value in point.problem.named_parameters().values()),
    "peak": resident("VmHWM") - before,
    "kind": against.kind,
    "engine": moments.engine,
    "variance": figures.variance,
    "bias_p": figures.bias_p,
}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ten_million_parameters_stay_within_the_budget():
    """16 blocks of means and as many of the reference would take 1.2 GiB; what a pass works with is a constant."""
    found = json.loads(
        subprocess.run(
            [sys.executable, "-c", MEASURE, str(BLOCKS), str(PER_BLOCK), str(BUDGET)],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        ).stdout
    )
    assert found["parameters"] == PARAMETERS
    assert (found["kind"], found["engine"]) == ("monte-carlo", "layers")
    assert found["variance"] > 0
    assert found["bias_p"] > 1e-4
    kept = 2 * BLOCKS * 4 * PARAMETERS
    assert found["peak"] < BUDGET + 4 * (COPIES * PARAMETERS + BLOCKS * LARGEST) < 0.7 * kept


BELIEFS = """
import gc, json, sys
import torch
from gradbench.engine.measure import measure_moments as measure
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.objectives.chosen import ChosenObjective
from gradbench.problems import PROBLEMS
from gradbench.target import points

def resident(name):
    (line,) = (line for line in open("/proc/self/status") if line.startswith(name))
    return 1024 * int(line.split()[1])

torch.set_num_threads(1)
name, data = sys.argv[1:]
kind, estimator = PROBLEMS["sigmoid-belief"], ESTIMATORS[name]
axes = points.Axes(kind.name, kind.Parameters(latent=200, batch=50), data, 0, 0)
point = points.build(axes, "cpu", torch.float32)
gradient = {name: value.detach().clone() for name, value in point.problem.named_parameters().items()}
few = {"fit_steps": 2} if "fit_steps" in estimator.Parameters.model_fields else {}
gc.collect()
before = resident("VmRSS")
open("/proc/self/clear_refs", "w").write("5")  # the peak counts from here
task = Task(point, estimator, estimator.Parameters(**few).model_dump(), 1, ChosenObjective("elbo", "analytic")).fitted()
measure(task, range(1), 4, gradient)
print(json.dumps(resident("VmHWM") - before))
"""
EVALUATED = 201 * 50 * 784 * 4
"""Bytes of the logits of the pixels in one gradient of local expectation with one sample."""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("estimator", "most"), [("local-expectation", 250 * MIB), ("rebar", 500 * MIB)])
def test_a_belief_network_of_the_papers_size_takes_what_a_pass_does(tmp_path, estimator, most):
    """200 bits, 784 pixels, 50 datapoints: every bit flipped in 36 replicates would take more than a GiB at once."""
    np.save(tmp_path / "images.npy", np.random.default_rng(0).integers(0, 2, (60, 784)))
    command = [sys.executable, "-c", BELIEFS, estimator, f"file:{tmp_path / 'images.npy'}"]
    found = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    peak = json.loads(found.stdout)
    assert peak < most < 36 * EVALUATED
    assert peak > 2**20, "something was measured"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_spilled_rows_keep_what_is_written(dtype):
    sizes = {"a": 5000, "b": 3, "none": 0}
    banks = [Bank(4, sizes, dtype, budget) for budget in (2**40, 1)]
    assert [bank.spilled for bank in banks] == [False, True]
    for bank in banks:
        generator = torch.Generator().manual_seed(0)
        for row in range(4):
            for name, size in sizes.items():
                assert not bank.rows[name][row].any()
                bank.rows[name][row].add_(torch.randn(size, generator=generator, dtype=dtype))
    release()
    for name, value in banks[0].arrays().items():
        np.testing.assert_array_equal(banks[1].arrays()[name], value)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_rows_that_were_read_leave_memory():
    rows = allocated((64, 2**18), np.float32, spilled=True)
    rows[:] = 1
    full = mapped_bytes()
    total = 0.0
    for part in columns(rows.shape[1], len(rows), 2**20):
        total += float(rows[:, part].sum())
    assert total == rows.size
    assert full - mapped_bytes() > 0.9 * rows.nbytes
    assert side_by_side([rows[:1], rows[1:3]], spilled=True).sum() == 3 * 2**18


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("reserving", ["posix_fallocate", "write"])
def test_room_for_spilled_rows_is_had_before_they_are_written(monkeypatch, tmp_path, reserving):
    """A sparse file on a full disk is found out by a signal that ends the process."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if reserving == "posix_fallocate":
        monkeypatch.setattr(os, "posix_fallocate", full_disk, raising=False)
    else:  # where the system cannot reserve, the zeros are written
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
        assert not allocated((3, 2**19), np.float64, spilled=True).any()
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Full())
    with pytest.raises(MeasurementError, match=rf"{tmp_path}: no room for 8192 bytes .*No space left.*\nset TMPDIR"):
        allocated((4, 256), np.float64, spilled=True)


class Full(io.BytesIO):
    """A file on a full disk."""

    write = full_disk


def mounted(folder: Path, size: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return sys.platform == "linux" and subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_cell_without_room_for_its_rows_fails_and_the_run_goes_on(monkeypatch, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if not mounted(small, "64k"):
        pytest.skip("mounting a small disk takes a privilege")
    try:
        monkeypatch.setattr(tempfile, "tempdir", str(small))
        vae = {"problem": "gaussian-vae", "hidden": 8, "latent": 2, "batch": 2, "estimators": ["pathwise"]}
        cost = {"problem": "bernoulli-cost", "samples": 2, "estimators": ["score-function"]}
        raw = {"name": "test", "measure": {"replicates": 64, "blocks": 8}, "grid": [vae, cost]}
        outcome = runs.run(resolve(raw, "test.toml", Settings(memory="1kB")), tmp_path / "run")
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)
    assert outcome.exit_code == 3
    (row,) = outcome.run.frame[outcome.run.frame.status == "failed"].itertuples()
    assert (row.problem, row.error_type) == ("gaussian-vae", "MeasurementError")
    assert str(small) in row.message
    assert "TMPDIR" in row.message
    assert set(outcome.run.ok().estimator) == {"score-function"}


def mapped_bytes() -> int:
    """Bytes of files in this process's resident memory."""
    with open("/proc/self/status") as status:
        (line,) = (line for line in status if line.startswith("RssFile"))
    return 1024 * int(line.split()[1])


def test_a_budget_is_shared_by_all_that_grows():
    assert Options(memory=BANKS * 1000).budget() == 1000


@pytest.mark.parametrize("bound", [1, 3])
def test_a_spilled_reference_is_the_same(bound):
    point = point_of("gaussian-vae", hidden=3, latent=4, batch=2)
    kept, spilled = (reference_of_point(point, 32, 4, bound, budget) for budget in (2**40, 1))
    growing = reference.TargetReference(point, objective_of(point, bound), bound, 8, 1)
    growing.upto(2)
    grown = growing.upto(4)
    for found in (spilled, grown):
        assert (found.kind, found.exact) == ("monte-carlo", False)
        assert found.blocks is not None
        assert kept.blocks is not None
        for name, value in kept.gradient.items():
            assert torch.equal(found.gradient[name], value)
            assert torch.equal(found.blocks[name], kept.blocks[name])
            assert kept.blocks[name].shape == (4, *value.shape)


def test_a_reference_that_is_not_finite_is_refused():
    point = point_of("gaussian-vae", hidden=3, latent=4, batch=2)
    with torch.no_grad():
        next(iter(point.problem.theta.parameters())).fill_(torch.inf)
    with pytest.raises(MeasurementError, match="not finite"):
        reference_of_point(point, 32, 4, budget=1)


def test_blocks_put_side_by_side_past_the_budget_are_the_same():
    task = task_of(point_of("gaussian-vae", hidden=3, latent=4, batch=2), "score-function", 2)
    given = {name: value.detach() for name, value in task.point.problem.named_parameters().items()}
    parts = [measure(task, range(*ends), 8, given) for ends in ((0, 3), (3, 4))]
    kept, spilled = (joined(parts, budget) for budget in (2**40, 1))
    assert kept.adjusted
    for field in ("means", "adjusted"):
        for name, value in getattr(kept, field).items():
            assert value.shape[0] == 4
            np.testing.assert_array_equal(getattr(spilled, field)[name], value)
