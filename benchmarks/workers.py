"""How much faster statistics are taken by two workers than by one process, at one thread each.

    OMP_NUM_THREADS=1 python benchmarks/workers.py [--workers 2] [--replicates 4096]

Both take the same cells, one after the other, and give the same figures. The time of the workers includes starting
them. A machine that does other work meanwhile has no use for it: close everything else.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from gradbench.runner.executors.base import Watcher
from gradbench.runner.executors.here import Here
from gradbench.runner.executors.processes import Processes
from gradbench.runner.jobs import Job, Setup
from gradbench.runner.standing import by_target
from gradbench.suite.suites import Settings, Suite, resolve

GRIDS = [
    {
        "problem": "gaussian-vae",
        "size": [{"hidden": 64, "latent": 8}, {"hidden": 128, "latent": 16}],
        "batch": 32,
        "train_steps": 50,
        "estimators": ["pathwise", "score-function", "sticking-the-landing"],
        "samples": [1, 4],
    },
    {
        "problem": "sigmoid-belief",
        "latent": 32,
        "batch": 32,
        "estimators": ["disarm", "score-function-loo", "rebar"],
        "samples": [2, 4],
    },
]


def seconds(suite: Suite, workers: int) -> tuple[float, dict[str, float]]:
    """How long the statistics of all cells take in so many workers, 0: in this process; and each cell's variance."""
    with tempfile.TemporaryDirectory() as folder:
        setup = Setup(Path(folder), suite.name, suite.measure, threads=1, timing_threads=1)
        executor = Processes(setup, Watcher(), workers, None) if workers else Here(setup, Watcher())
        groups = [[Job(cell, "statistics") for cell in group] for group in by_target(suite.cells)]
        clock, found = time.perf_counter(), {}
        with executor:
            for job, outcome in executor.outcomes(groups, executor.slots, lambda: None):
                assert outcome.failure is None, outcome.failure
                found[job.cell.cell_id] = outcome.rows[0]["variance"]
        return time.perf_counter() - clock, found


def main() -> None:
    """Both, one after the other, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--replicates", type=int, default=4096)
    given = parser.parse_args()
    measure = {"replicates": given.replicates, "blocks": 32}
    suite = resolve({"name": "workers", "measure": measure, "grid": GRIDS}, "workers", Settings())
    alone, figures = seconds(suite, 0)
    beside, again = seconds(suite, given.workers)
    assert figures == again, "the figures differ"
    print(f"{len(suite.cells)} cells: {alone:.1f} s in one process, {beside:.1f} s with {given.workers} workers")
    print(f"ratio {alone / beside:.2f}; the figures are the same to the bit")


if __name__ == "__main__":
    main()
