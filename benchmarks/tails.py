"""How often a bias is found where f has heavy tails: right estimators, and one that is biased, many runs of each.

    python benchmarks/tails.py [--runs 150] [--output docs/explanation/calibration.md]

Each run is measured as `gradbench run` measures it, and tested alone. *before*: without `gradbench.statistics.undrawn`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from unittest import mock

import torch
from marked import put

from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.objectives.chosen import ChosenObjective
from gradbench.problems import PROBLEMS
from gradbench.statistics import undrawn
from gradbench.statistics.measurement import measure_figures
from gradbench.target import points
from gradbench.target.points import Axes
from gradbench.target.reference import TargetReference

BLOCKS = 32
CASES = [(k, replicates) for k in (-0.1, -0.2, -0.3) for replicates in (1024, 4096)]
NAMES = ("score-function", "pathwise", "double-counted")
LEVELS = (0.05, 0.01)


def p_values(name: str, k: float, replicates: int, seed: int) -> list[float]:
    """The p values of one run: before, and now."""
    kind = PROBLEMS["gaussian-cost"]
    axes = Axes("gaussian-cost", kind.Parameters(cost="exp", k=k, mean=0.5), None, 0, seed)
    point = points.build(axes, "cpu", torch.float64)
    chosen = ChosenObjective("cost", None)
    task = Task(point, ESTIMATORS[name], {}, 1, chosen)
    reference = TargetReference(point, chosen, 1, replicates // BLOCKS).upto(BLOCKS)
    found = []
    for share in (float("inf"), undrawn.AS_LARGE):
        with mock.patch.object(undrawn, "AS_LARGE", share):
            measured = measure_figures(task, reference, range(BLOCKS), replicates // BLOCKS)
        found.append(measured.figures["phi"].bias_p)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=150)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    heads = [f"p ≤ {level:.0%} {when}" for level in LEVELS for when in ("before", "now")]
    lines = [f"| k | replicates | estimator | {' | '.join(heads)} |", "| --- " * (3 + len(heads)) + "|"]
    for k, replicates in CASES:
        for name in NAMES:
            found = torch.tensor([p_values(name, k, replicates, seed) for seed in range(arguments.runs)])
            shares = [f"{100 * float((column <= level).double().mean()):.1f}" for level in LEVELS for column in found.T]
            lines.append(f"| {k} | {replicates} | {name} | {' | '.join(shares)} |")
            print(lines[-1], flush=True)
    table = "\n".join(lines)
    if arguments.output:
        put(arguments.output, "tails", table)
    else:
        print(table)


if __name__ == "__main__":
    main()
