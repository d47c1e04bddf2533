"""How long a command takes to answer, beside what importing torch takes: whole processes, in interleaved rounds.

    python benchmarks/startup.py [--rounds 15] [--run results/reference/quick] [--most 0.4] [--json]

In each round every command is run once, one after the other, each as a process of its own from its start to its end;
``python -c 'import torch'`` is one of them. Times are medians over rounds, and each ratio is that of two medians, with
the quartiles of the rounds' own ratios. The exit code is 1 where the ratio of ``--help`` is ``--most`` or more.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
TORCH = "import torch"


def commands(run: Path) -> dict[str, list[str]]:
    """What is timed, by its name: the arguments of a Python process."""
    gradbench = ["-m", "gradbench"]
    return {
        TORCH: ["-c", TORCH],
        "gradbench --help": [*gradbench, "--help"],
        "gradbench list suites": [*gradbench, "list", "suites"],
        "gradbench show RUN": [*gradbench, "show", str(run)],
        "gradbench export RUN": [*gradbench, "export", str(run)],
    }


def seconds(arguments: list[str]) -> float:
    """From the start of a process to its end. Raises CalledProcessError where it fails."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def measured(timed: dict[str, list[str]], rounds: int) -> dict[str, list[float]]:
    """The seconds of each command, round by round, after one round that is not counted."""
    found: dict[str, list[float]] = {name: [] for name in timed}
    for index in range(rounds + 1):
        for name, arguments in timed.items():
            took = seconds(arguments)
            if index:
                found[name].append(took)
    return found


def compared(name: str, times: list[float], beside: list[float]) -> dict:
    """One object of the output: a command's median, and its ratio to the median of importing torch."""
    low, _, high = statistics.quantiles([one / other for one, other in zip(times, beside, strict=True)], n=4)
    median = statistics.median(times)
    return {
        "kind": "startup",
        "command": name,
        "rounds": len(times),
        "seconds": median,
        "over_torch": median / statistics.median(beside),
        "over_torch_quartiles": [low, high],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="counted rounds, at least 2 (default 15)")
    parser.add_argument("--run", type=Path, default=ROOT / "results" / "reference" / "quick", help="run folder to read")
    parser.add_argument("--most", type=float, default=0.4, help="the ratio that --help must stay below (default 0.4)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.rounds < 2:
        parser.error("--rounds: quartiles take 2 rounds or more")
    times = measured(commands(options.run.resolve()), options.rounds)
    found = [compared(name, some, times[TORCH]) for name, some in times.items()]
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        print("| process | median, ms | over import torch | quartiles |", "| --- | --- | --- | --- |", sep="\n")
        for one in found:
            low, high = one["over_torch_quartiles"]
            ratio = f"{one['over_torch']:.3f} | {low:.3f}–{high:.3f}"
            print(f"| {one['command']} | {1e3 * one['seconds']:.0f} | {ratio} |")
    ratio = next(one["over_torch"] for one in found if one["command"] == "gradbench --help")
    if ratio >= options.most:
        sys.exit(f"gradbench --help takes {ratio:.2f} of import torch; it is to stay below {options.most:g}")


if __name__ == "__main__":
    main()
