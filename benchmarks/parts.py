"""Where the time of a run goes: the middle sweep in one process, each part by the clock.

    python benchmarks/parts.py [--case middle-gaussian] [--rounds 3] [--output docs/explanation/engine.md]

*Passes* are what figures are made of: those of the engine, of the control that bias is measured through, of the
reference, and of timings. All else is around them: start-up, statistics, files, tables. Medians over rounds, each a
process of its own with ``--workers 0`` and one thread.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from marked import put
from sweep_cases import SWEEPS, prepare

PASSES = ("engine", "control", "reference", "timing")


def clocked(module: Any, name: str, part: str, spent: dict[str, float]) -> None:
    """Count the seconds of a function to ``part``, and take them from the part that calls it."""
    inner = getattr(module, name)

    @functools.wraps(inner)
    def outer(*given: Any, **more: Any) -> Any:
        before, start = dict(spent), time.perf_counter()
        try:
            return inner(*given, **more)
        finally:
            within = sum(spent.values()) - sum(before.values())
            spent[part] = spent.get(part, 0.0) + time.perf_counter() - start - within

    setattr(module, name, outer)


def one_round(folder: Path) -> dict[str, float]:
    """The seconds of each part of a run in this process."""
    start, spent = time.perf_counter(), dict[str, float]()
    from gradbench.core.isolation.importing import uncollected

    with uncollected():  # as the command does
        from gradbench.cli import main, views
        from gradbench.engine import control, timing
        from gradbench.report import tables  # noqa: F401
        from gradbench.results import store
        from gradbench.runner import cell_statistics, kept_moments, runs  # noqa: F401
        from gradbench.target import reference

    spent["start-up"] = time.perf_counter() - start
    clocked(cell_statistics, "measure_moments", "engine", spent)
    clocked(control, "adjusted", "control", spent)
    clocked(timing, "cost", "timing", spent)
    clocked(reference.TargetReference, "upto", "reference", spent)
    clocked(cell_statistics, "summarise", "statistics", spent)
    clocked(kept_moments.KeptMoments, "write", "files", spent)
    clocked(store, "write_cell", "files", spent)
    clocked(store, "finish", "files", spent)
    clocked(store, "write_table", "files", spent)
    clocked(views, "print_run", "tables", spent)
    try:
        main(["run", str(folder / "suite.toml"), "--workers", "0", "--out", str(folder / f"run-{os.getpid()}")])
    except SystemExit as end:
        if end.code:
            raise
    spent["all else"] = time.perf_counter() - start - sum(spent.values())
    return spent


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", default="middle-gaussian")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="file to put the table in, between markers")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.folder is not None:
        found = one_round(given.folder)
        print(json.dumps(found), file=sys.stderr)
        return
    (sweep,) = (one for one in SWEEPS if one.name == given.case)
    with tempfile.TemporaryDirectory() as name:
        prepare(sweep, Path(name))
        environment = dict(os.environ, OMP_NUM_THREADS="1", PYTHONPATH=str(Path(__file__).parents[1]))
        command = [sys.executable, __file__, "--folder", name]
        rounds = [
            json.loads(
                subprocess.run(
                    command, env=environment, capture_output=True, text=True, check=True
                ).stderr.splitlines()[-1]
            )
            for _ in range(given.rounds)
        ]
    parts = {part: statistics.median(one.get(part, 0.0) for one in rounds) for part in rounds[0]}
    total = sum(parts.values())
    outside = 1 - sum(parts[part] for part in PASSES) / total
    order = [*PASSES, *(part for part in parts if part not in PASSES)]
    table = [
        "| " + " | ".join(["part", *order, "together"]) + " |",
        "| --- " * (len(order) + 2) + "|",
        "| " + " | ".join(["seconds", *(f"{parts[part]:.2f}" for part in order), f"{total:.1f}"]) + " |",
        "| " + " | ".join(["share", *(f"{parts[part] / total:.0%}" for part in order), "100%"]) + " |",
        "",
        f"Outside the passes: {outside:.0%}.",
    ]
    print("\n".join(table))
    if given.output:
        put(given.output, "parts", "\n".join(table))


if __name__ == "__main__":
    main()
