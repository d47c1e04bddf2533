"""What a user waits for: a whole run, beside a compiled JAX script and a plain loop, each a process of its own.

    python benchmarks/sweep.py [--case middle] [--rounds 5] [--threads 2] [--workers N] [--json] [--output FILE …]

A case is one model, several estimators, and L = 1 to 16 (`sweep_cases`). All start from the same parameters and the
same minibatch, and what they find must agree. In each round, one after the other:

- gradbench: ``gradbench run``, with reference, verdicts, intervals, costs and files;
- JAX: `sweep_jax`, which finds ‖mean‖² and variance; what it spends compiling is stated;
- loop: `sweep_loop`, the same in PyTorch, on a part of the replicates: what its loop took is scaled to all of them.

*Steady* is without start-up and compiling, at 16 384 replicates: the engine's moments and figures beside JAX's chunks,
both timed on a part and scaled. *To a decision* is a cell of each estimator alone, at the fewest samples it takes,
until its bias is decided at a margin of 5 % and its variance known to 5 %: ``gradbench run --decide --precision 0.05``,
whole process, beside the loop's seconds for as many replicates as the textbook asks for: for the bias
R = 1.96² variance / (0.05 ‖g‖)², for the variance R = (1.96 / 0.05)² (kurtosis − 1), both at the loop's own figures.

Times are medians over rounds; ratios are medians of the rounds' own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from marked import put
from sweep_cases import SWEEPS, Sweep, prepare, read

HERE = Path(__file__).parent
STEADY, STEADY_PART = 16384, 2048
MARGIN, PRECISION, POINT = 0.05, 0.05, 1.96
AGREE = 0.35
"""Largest difference of two variances of one cell, relative; the noisiest have a tenth of that as standard error."""
DECISION_PART = 512


def environment(threads: int) -> dict[str, str]:
    """Of the processes: so many threads, and the program beside this file."""
    found = dict(os.environ, OMP_NUM_THREADS=str(threads), PYTHONPATH=str(HERE.parent))
    if threads == 1:
        found |= {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1", "NPROC": "1"}
    return found


def process(threads: int, *arguments: str | Path) -> tuple[float, str]:
    """The seconds that a Python process takes from start to end, and what it prints. Raises where it fails."""
    start = time.perf_counter()
    command = [sys.executable, *map(str, arguments)]
    ended = subprocess.run(command, env=environment(threads), capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if ended.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{ended.stderr[-2000:]}")
    return seconds, ended.stdout


def rows_of(run: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """φ's row of each cell of a run."""
    import gradbench

    frame = gradbench.load(run)
    rows: list[dict[str, Any]] = json.loads(frame[frame.group == "phi"].to_json(orient="records", date_format="iso"))
    return {(row["estimator"], row["samples"]): row for row in rows}


def agree(ours: dict[tuple[str, int], dict[str, Any]], theirs: dict[str, Any], who: str) -> None:
    """Raise AssertionError where a variance of φ is another one."""
    for estimator, samples, _, variance, *_ in theirs["cells"]:
        own = ours[estimator, samples]["variance"]
        assert abs(variance / own - 1) <= AGREE, f"{who}: {estimator}, L = {samples}: {variance:g}, not {own:g}"


def whole(sweep: Sweep, folder: Path, threads: int, workers: int | None, index: int) -> dict[str, float | None]:
    """One round of whole processes at equal replicates."""
    run = folder / f"run-{index}"
    more = [] if workers is None else ["--workers", workers]
    own, _ = process(threads, "-m", "gradbench", "run", folder / "suite.toml", "--out", run, *map(str, more))
    found: dict[str, float | None] = {"gradbench_s": own, "jax_s": None, "jax_compile_s": None}
    ours = rows_of(run)
    if has_jax():
        found["jax_s"], printed = process(threads, HERE / "sweep_jax.py", folder)
        told = json.loads(printed)
        agree(ours, told, "JAX")
        found["jax_compile_s"] = told["compile_s"]
    part, printed = process(threads, HERE / "sweep_loop.py", folder)
    told = json.loads(printed)
    each = sum(cell[-1] for cell in told["cells"])
    found["loop_s"] = part - told["timed_s"] + each * sweep.replicates
    return found


@cache
def has_jax() -> bool:
    """Whether JAX is installed."""
    return find_spec("jax") is not None


def steady(folder: Path, threads: int) -> dict[str, float | None]:
    """One round without start-up and compiling."""
    _, printed = process(threads, HERE / "sweep.py", "--engine", folder)
    found: dict[str, float | None] = {"engine_steady_s": float(printed) * STEADY / STEADY_PART, "jax_steady_s": None}
    if has_jax():
        _, printed = process(threads, HERE / "sweep_jax.py", folder, "--replicates", str(STEADY_PART))
        found["jax_steady_s"] = json.loads(printed)["steady_s"] * STEADY / STEADY_PART
    return found


def engine(folder: Path) -> float:
    """Seconds that the engine takes for moments and figures of all cells, after one that is not counted.

    As in a run, what cells with the same samples have in common is made once.
    """
    import torch

    from gradbench.engine.layers.likelihoods import Likelihoods
    from gradbench.engine.measure import measure_moments
    from gradbench.engine.task import Task
    from gradbench.estimators import ESTIMATORS
    from gradbench.statistics import summarise
    from gradbench.suite.suites import load_suite
    from gradbench.target import points
    from gradbench.target.reference import TargetReference

    cells = [cell for cell in load_suite(str(folder / "suite.toml")).cells if cell.skip is None]
    first = cells[0]
    point = points.build(first.axes, "cpu", torch.float32).under(first.objective)
    source = TargetReference(point, first.objective, 1, STEADY_PART // 32, 2**30)
    reference = source.upto(32)
    total, likelihoods = 0.0, Likelihoods()
    for index, cell in enumerate((first, *cells)):
        known = likelihoods if index else None
        task = Task(point, ESTIMATORS[cell.estimator], cell.estimator_params, cell.samples, cell.objective).fitted()
        clock = time.perf_counter()
        moments = measure_moments(task, range(32), STEADY_PART // 32, reference.gradient, likelihoods=known)
        summarise(moments, reference, torch.finfo(torch.float32).eps)
        total += time.perf_counter() - clock if index else 0.0
    return total


def decision(sweep: Sweep, folder: Path, threads: int, index: int) -> dict[str, float]:
    """One round to a decision: loop / gradbench, by estimator."""
    part, printed = process(threads, HERE / "sweep_loop.py", folder, "--part", str(DECISION_PART), "--fewest")
    told = json.loads(printed)
    start_up = part - told["timed_s"]
    found = {}
    for estimator, samples, _, variance, kurtosis, each in told["cells"]:
        run = folder / f"decided-{estimator}-{index}"
        select = ["--select", f"estimator={estimator}", "--select", f"samples={samples}"]
        limits = ["--decide", "--precision", str(PRECISION)]
        own, _ = process(threads, "-m", "gradbench", "run", folder / "suite.toml", "--out", run, *select, *limits)
        row = rows_of(run)[estimator, samples]
        if row["verdict"] == "unresolved":
            found[estimator] = float("nan")  # as many blocks as there may be did not decide it
            continue
        for_bias = POINT**2 * variance / (MARGIN * row["gradient_norm"]) ** 2
        for_variance = (POINT / PRECISION) ** 2 * (kurtosis - 1)
        found[estimator] = (start_up + each * max(for_bias, for_variance)) / own
    return found


def compared(sweep: Sweep, rounds: int, threads: int, workers: int | None) -> dict[str, Any]:
    """One object of the output."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(sweep, folder)
        found: list[dict[str, Any]] = [
            whole(sweep, folder, threads, workers, index) | steady(folder, threads) for index in range(rounds)
        ]
        decided = [decision(sweep, folder, threads, index) for index in range(rounds)]

    def median(values: list[Any]) -> float | None:
        known = [value for value in values if value is not None and np.isfinite(value)]
        return statistics.median(known) if len(known) == len(values) else None

    def ratio(above: str, below: str) -> float | None:
        pairs = [(one[above], one[below]) for one in found]
        return median([None if a is None or b is None else a / b for a, b in pairs])

    times = ("gradbench_s", "jax_s", "jax_compile_s", "loop_s", "engine_steady_s", "jax_steady_s")
    return {
        "case": sweep.name,
        "threads": threads,
        "workers": workers,
        "rounds": rounds,
        **{name: median([one[name] for one in found]) for name in times},
        "jax_over_gradbench": ratio("jax_s", "gradbench_s"),
        "loop_over_gradbench": ratio("loop_s", "gradbench_s"),
        "jax_over_engine_steady": ratio("jax_steady_s", "engine_steady_s"),
        "decision": {name: median([one[name] for one in decided]) for name in decided[0]},
    }


HEADER = """| sweep | gradbench run, s | JAX script, s (compiling) | loop, s | JAX / gradbench | loop / gradbench | steady: JAX / engine | to a decision: loop / gradbench |
| --- | --- | --- | --- | --- | --- | --- | --- |"""  # noqa: E501


def line(one: dict[str, Any]) -> str:
    """A row of the table."""

    def shown(value: float | None) -> str:
        return "–" if value is None else f"{value:.2f}" if value < 10 else f"{value:,.0f}".replace(",", " ")

    jax = "–" if one["jax_s"] is None else f"{shown(one['jax_s'])} ({shown(one['jax_compile_s'])})"
    ratios = (one[name] for name in ("jax_over_gradbench", "loop_over_gradbench", "jax_over_engine_steady"))
    decided = ", ".join(f"{name} {shown(value)}" for name, value in one["decision"].items())
    return f"| {one['case']} | {shown(one['gradbench_s'])} | {jax} | {shown(one['loop_s'])} | " + " | ".join(
        [*map(shown, ratios), decided + " |"]
    )


def main() -> None:
    """Print the table, or JSON, as each case is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", default="", help="only cases whose name contains this")
    parser.add_argument("--rounds", type=int, default=5, help="paired rounds (default 5)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of every process")
    parser.add_argument("--workers", type=int, help="of gradbench run")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--output", type=Path, nargs="*", default=[], help="files to put the table in, between markers")
    parser.add_argument("--engine", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.engine is not None:
        read(given.engine)
        print(engine(given.engine))
        return
    found = [compared(one, given.rounds, given.threads, given.workers) for one in SWEEPS if given.case in one.name]
    table = "\n".join([HEADER, *map(line, found)])
    print(json.dumps(found, indent=2) if given.json else table)
    for file in given.output:
        put(file, "sweep", table)


if __name__ == "__main__":
    main()
