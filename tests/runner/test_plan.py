"""What a suite is said to take before it runs."""

from __future__ import annotations

from gradbench.engine.general import CHUNK_BYTES
from gradbench.runner.plan import estimate
from gradbench.suite.suites import Settings, resolve


def memory(memory: str, dtype: str = "float32") -> float:
    grid = {"problem": "gaussian-vae", "estimators": ["pathwise"], "size": [{"hidden": 400, "latent": 2}], "batch": 4}
    grid |= {"dtype": dtype}
    suite = resolve({"name": "test", "measure": {"memory": memory}, "grid": [grid]}, "test.toml", Settings())
    return estimate(suite)[1] - 4 * CHUNK_BYTES


def test_block_means_count_up_to_the_budget():
    parameters = 64 * 400 + 400 + 400 * 4 + 4 + 2 * 400 + 400 + 400 * 64 + 64
    assert memory("1GiB") == 3 * 32 * 4 * parameters
    assert memory("1GiB", "float64") == 3 * 32 * 8 * parameters
    assert memory("3MiB") == 3 * 2**20
