"""What a suite is said to take before it runs."""

from __future__ import annotations

import time

from gradbench.engine.general import CHUNK_BYTES
from gradbench.runner import runs
from gradbench.runner.expected import expectation
from gradbench.suite.suites import Settings, resolve


def suite(*grids: dict, **measure):
    return resolve({"name": "test", "measure": measure, "grid": list(grids)}, "test.toml", Settings())


def memory(memory: str, dtype: str = "float32") -> float:
    grid = {"problem": "gaussian-vae", "estimators": ["pathwise"], "size": [{"hidden": 400, "latent": 2}], "batch": 4}
    return expectation(suite(grid | {"dtype": dtype}, memory=memory)).memory - 4 * CHUNK_BYTES


def test_block_means_count_up_to_the_budget():
    parameters = 64 * 400 + 400 + 400 * 4 + 4 + 2 * 400 + 400 + 400 * 64 + 64
    assert memory("1GiB") == 3 * 32 * 4 * parameters
    assert memory("1GiB", "float64") == 3 * 32 * 8 * parameters
    assert memory("3MiB") == 3 * 2**20


GRIDS = (
    {"problem": "gaussian-cost", "estimators": ["pathwise", "score-function", "disarm"]},
    {"problem": "gaussian-vae", "hidden": 8, "latent": 2, "batch": 2, "train_steps": 20, "estimators": ["pathwise"]},
)


def test_a_pilot_is_near_what_the_run_takes_and_knows_what_is_there(tmp_path):
    chosen = suite(*GRIDS, replicates=2048, blocks=32)
    found = expectation(chosen, piloted=True)
    assert found.counts == {"missing": 3, "skipped": 1}
    assert found.looked_at == 3
    clock = time.perf_counter()
    runs.run(chosen, tmp_path / "run")
    took = time.perf_counter() - clock
    assert took / 10 < found.seconds < 10 * took
    again = expectation(chosen, tmp_path / "run", piloted=True)
    assert again.counts["done"] == 3
    assert again.counts["missing"] == 0
    assert again.seconds == 0
    more = expectation(suite(*GRIDS, replicates=4096, blocks=64), tmp_path / "run")
    assert more.counts["fewer blocks"] == 3


def test_a_cell_that_fails_at_once_is_said():
    overflowing = {"problem": "gaussian-cost", "cost": "exp", "k": -30.0, "mean": 6.0, "scale": 0.1}
    found = expectation(suite(overflowing | {"estimators": ["pathwise"]}, replicates=128, blocks=8), piloted=True)
    (failure,) = found.failures.values()
    assert "not finite" in failure.message
