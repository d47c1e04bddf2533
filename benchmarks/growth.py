"""Does the cost of measuring grow linearly in replicates, in L and in the number of cells? Three tables.

    python benchmarks/growth.py [--rounds 5] [--cells 10 100 1000 10000] [--output docs/explanation/engine.md]

Replicates and L: pathwise on a VAE of 64 inputs, hidden 200, latent 20, batch 32, in float32: processor seconds of one
thread for block moments of 32 blocks by the engine, and for one plain backward pass over the same replicates at once
(the mean gradient alone).

Cells: ``gradbench run`` of so many of the cheapest cells there are (a cost of one Gaussian variable, 64 replicates),
and ``gradbench show`` of what it wrote: seconds of whole processes, with reference, files, verdicts and tables.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from competitors import Case, plain
from engine import task_of
from marked import put

from gradbench.engine.measure import measure_moments as measure

BLOCKS = 32
CASE = Case("gaussian-vae", "pathwise", 32, 64, 200, 20, 1, 512, loop=0, chunk=0)
REPLICATES, SAMPLES = (512, 1024, 2048, 4096), (1, 2, 4, 8, 16, 32)


def seconds(work: Callable[[], object], rounds: int) -> float:
    """The least processor time of several rounds, after one that is not counted."""
    work()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def both(case: Case, rounds: int) -> tuple[float, float]:
    """The engine and the plain pass."""
    task, generator = task_of(case, "cpu"), torch.Generator().manual_seed(0)
    reference = plain(task, 256, generator)
    engine = seconds(lambda: measure(task, range(BLOCKS), case.replicates // BLOCKS, reference), rounds)
    return engine, seconds(lambda: plain(task, case.replicates, generator), rounds)


def table(head: str, values: tuple[int, ...], cases: list[Case], rounds: int) -> list[str]:
    """A table in Markdown, with the price of a replicate and sample in the last lines."""
    found = [both(case, rounds) for case in cases]
    work = [case.replicates * case.samples for case in cases]
    lines = [f"| {head} | " + " | ".join(map(str, values)) + " |", "| --- " * (len(values) + 1) + "|"]
    for index, name in enumerate(("engine, ms", "one plain backward pass, ms")):
        lines.append(f"| {name} | " + " | ".join(f"{1e3 * one[index]:.0f}" for one in found) + " |")
    each = (f"{1e6 * one[0] / count:.0f}" for one, count in zip(found, work, strict=True))
    return [*lines, "| engine, µs for each replicate and sample | " + " | ".join(each) + " |"]


def command(*arguments: str | Path) -> float:
    """Seconds that a gradbench command takes. Raises CalledProcessError where it fails."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "gradbench", *map(str, arguments)], capture_output=True, check=True)
    return time.perf_counter() - start


def of_cells(counts: list[int]) -> list[str]:
    """The table of whole runs of so many cells."""
    runs, shows = [], []
    for count in counts:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            problem = (
                f'problem = "gaussian-cost"\nestimators = ["pathwise", "score-function"]\nk = {list(range(count // 2))}'
            )
            text = f'name = "cells"\n[measure]\nreplicates = 64\nblocks = 8\n[[grid]]\n{problem}\nsamples = 1\n'
            (folder / "suite.toml").write_text(text, encoding="utf-8")
            runs.append(command("run", folder / "suite.toml", "--out", folder / "run"))
            shows.append(command("show", folder / "run"))
            print(f"{count} cells: {runs[-1]:.1f} s, {shows[-1]:.1f} s", file=sys.stderr, flush=True)
    lines = ["| cells | " + " | ".join(map(str, counts)) + " |", "| --- " * (len(counts) + 1) + "|"]
    for name, found in (("gradbench run, s", runs), ("gradbench show, s", shows)):
        lines.append(f"| {name} | " + " | ".join(f"{value:.1f}" for value in found) + " |")
    each = [1e3 * (one - runs[0]) / (count - counts[0]) for one, count in zip(runs[1:], counts[1:], strict=True)]
    return [
        *lines,
        "| gradbench run, ms for each cell beyond the first column | – | "
        + " | ".join(f"{one:.0f}" for one in each)
        + " |",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cells", type=int, nargs="*", default=[10, 100, 1000, 10000], help="even numbers, rising")
    parser.add_argument("--output", type=Path, help="file in which to replace the tables between the markers")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = table("replicates (L = 1)", REPLICATES, [replace(CASE, replicates=r) for r in REPLICATES], options.rounds)
    lines += ["", *table("L (512 replicates)", SAMPLES, [replace(CASE, samples=s) for s in SAMPLES], options.rounds)]
    if options.cells:
        lines += ["", *of_cells(options.cells)]
    print("\n".join(lines))
    if options.output:
        put(options.output, "growth", "\n".join(lines))


if __name__ == "__main__":
    main()
