"""How long until a variance is known to 5 %, for the engine and for a loop; and do the intervals hold there?

    python benchmarks/precision.py [--rounds 9] [--seeds 400] [--threads 1] [--json]
        [--output docs/explanation/calibration.md]

The digits model (64 inputs, hidden 200, latent 20, batch 32, L = 1, float32), as initialised and after 500 training
steps. Known to 5 %: the 95 % interval that is reported of the variance is 5 % wide to either side, for half of the
seeds. "all": that of the whole gradient. "every": those of every row, φ, θ and each parameter tensor.

- The loop takes n replicates, as many as its interval needs: Student's t on the squared distances of its gradients from
  their mean. Its time is n times that of a step that keeps the sums which the interval is made of.
- The engine takes K blocks of m, the fastest of those that suffice with K = 8, 16 or 32; its time has everything that
  it makes of them, all figures of all rows. ``floor``: one plain backward pass over as many replicates.

Times are medians over rounds, the ratio is the median of the rounds' own. Coverage is counted over seeds, against one
run of the engine of 131072 replicates.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from competitors import looped, plain, reseeded, timed
from marked import put
from numpy.typing import NDArray
from scipy.stats import t as student

from gradbench.core.types import Gradients
from gradbench.engine.general import replicate_gradients
from gradbench.engine.measure import measure_moments as measure
from gradbench.engine.moments import groups_of
from gradbench.engine.task import Task, slice_noise
from gradbench.estimators import ESTIMATORS
from gradbench.objectives.chosen import ChosenObjective
from gradbench.problems import PROBLEMS
from gradbench.statistics import Figures, summarise
from gradbench.target.points import Axes, build
from gradbench.target.reference import Reference

Array = NDArray[np.float64]
HALF_WIDTH = 0.05
ESTIMATOR_NAMES = ("pathwise", "score-function")
TRAIN_STEPS = (0, 500)
ROWS = ("all", "every")
BLOCKS = (8, 16, 32)
PER_BLOCK = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
SEARCHED = 25
"""Seeds whose median half-width must suffice."""
PILOT = 2048
"""Gradients that say how many replicates the loop needs."""
TIMED = 64
"""Steps that the loop is timed on."""
CHUNK = 64
TRUTH = (512, 256)
"""Blocks, and replicates in each, behind the true variance."""


@dataclass(frozen=True)
class Setting:
    """An estimator at a point, with the reference that the engine takes bias from."""

    task: Task
    reference: Reference

    def figures(self, blocks: int, per_block: int, seed: int) -> dict[str, Figures]:
        """What the engine makes of its replicates, by row."""
        # groups of no more blocks than there are, so that none is evaluated in vain
        task = replace(reseeded(self.task, seed), together=2 ** math.ceil(math.log2(blocks)))
        moments = measure(task, range(blocks), per_block, self.reference.gradient)
        return summarise(moments, self.reference, torch.finfo(self.task.point.dtype()).eps)


def setting(estimator: str, train_steps: int, device: str = "cpu") -> Setting:
    """The digits model after ``train_steps``."""
    kind = PROBLEMS["gaussian-vae"]
    axes = Axes(kind.name, kind.Parameters(hidden=200, latent=20, batch=32), "digits", train_steps, 0)
    task = Task(build(axes, device, torch.float32), ESTIMATORS[estimator], {}, 1, ChosenObjective("elbo", "analytic"))
    generator = torch.Generator(device=device).manual_seed(0)
    return Setting(task, Reference("closed-form", {n: v.double() for n, v in plain(task, 256, generator).items()}))


def relative_half_width(figures: dict[str, Figures], rows: str) -> float:
    """Of the interval of the variance; of ``every`` row, the widest."""
    chosen = [figures["all"]] if rows == "all" else figures.values()
    return max((one.variance_high - one.variance_low) / 2 / one.variance for one in chosen)


def engine_needs(given: Setting, rows: str) -> tuple[int, int]:
    """Blocks, and replicates in each: the fastest that suffice."""
    found = []
    for blocks in BLOCKS:
        for per_block in PER_BLOCK:
            seconds, widths = [], []
            for seed in range(SEARCHED):
                start = time.perf_counter()
                figures = given.figures(blocks, per_block, 1000 + seed)
                seconds.append(time.perf_counter() - start)
                widths.append(relative_half_width(figures, rows))
            if statistics.median(widths) <= HALF_WIDTH:
                found.append((statistics.median(seconds), blocks, per_block))
                break
    _, blocks, per_block = min(found)
    return blocks, per_block


def squared_distances(task: Task, replicates: int, seed: int, centre: Gradients | None = None) -> dict[str, Array]:
    """‖ĝ − centre‖² of so many gradients by row, [replicates].

    Without a ``centre``: from their own mean, and n / (n − 1) times as much, so that the mean is the unbiased variance.
    """
    noise = task.noise(replicates, torch.Generator(device=task.point.device).manual_seed(seed))
    parts = []
    for start in range(0, replicates, CHUNK):
        some = slice(start, min(start + CHUNK, replicates))
        gradients = replicate_gradients(task, slice_noise(noise, some), some.stop - start)
        if centre is not None:
            gradients = {n: (g - centre[n].flatten()).square().sum(1, True) for n, g in gradients.items()}
        parts.append(gradients)
    joined = {name: torch.cat([part[name] for part in parts]) for name in task.point.names}
    if centre is None:
        scale = replicates / (replicates - 1)
        joined = {name: scale * (value - value.mean(0)).square().sum(1) for name, value in joined.items()}
    away = {name: value.flatten().double().cpu().numpy() for name, value in joined.items()}
    groups = groups_of(task.point.names)
    return {row: np.sum([away[name] for name in members], axis=0) for row, members in groups.items()}


def loop_needs(task: Task, rows: str) -> int:
    """Replicates whose interval, Student's t on squared distances, is as narrow as is asked, by a pilot."""
    centre = plain(task, PILOT, torch.Generator(device=task.point.device).manual_seed(1))
    away = squared_distances(task, PILOT, 2, centre)
    spread = max(float(away[row].std() / away[row].mean()) for row in (away if rows == "every" else ["all"]))
    count = 2
    while float(student.ppf(0.975, count - 1)) * spread / math.sqrt(count) > HALF_WIDTH:
        count += 1
    return count


def loop_interval(values: Array) -> tuple[float, float]:
    """The 95 % interval of the mean of squared distances."""
    arm = float(student.ppf(0.975, len(values) - 1)) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean()) - arm, float(values.mean()) + arm


def paired(given: Setting, blocks: int, per_block: int, loop: int, rounds: int) -> Iterator[tuple[float, float, float]]:
    """Seconds of the engine, the loop and the floor, round by round, after one round that is not counted."""
    device = given.task.point.device
    generator = torch.Generator(device=device).manual_seed(0)
    for seed in range(rounds + 1):
        engine_s = timed(partial(given.figures, blocks, per_block, seed), device)
        loop_s = timed(lambda: looped(given.task, TIMED, generator), device) * loop / TIMED
        floor_s = timed(lambda: plain(given.task, blocks * per_block, generator), device)
        if seed:
            yield engine_s, loop_s, floor_s


def compared(device: str, rounds: int) -> Iterator[dict]:
    """An object of the output for each estimator, point and choice of rows."""
    for train_steps, estimator, rows in itertools.product(TRAIN_STEPS, ESTIMATOR_NAMES, ROWS):
        given = setting(estimator, train_steps, device)
        blocks, per_block = engine_needs(given, rows)
        loop = loop_needs(given.task, rows)
        found = list(paired(given, blocks, per_block, loop, rounds))
        engine_s, loop_s, floor_s = (statistics.median(column) for column in zip(*found, strict=True))
        yield {
            "kind": "precision",
            "case": f"{estimator} on digits, batch=32 hidden=200 latent=20 L=1, train_steps={train_steps}",
            "estimator": estimator,
            "train_steps": train_steps,
            "rows": rows,
            "device": device,
            "half_width": HALF_WIDTH,
            "loop_replicates": loop,
            "engine_replicates": blocks * per_block,
            "engine_blocks": blocks,
            "loop_s": loop_s,
            "engine_s": engine_s,
            "floor_s": floor_s,
            "loop_over_engine": statistics.median(loop / engine for engine, loop, _ in found),
            "loop_over_floor": statistics.median(loop / floor for _, loop, floor in found),
        }


@cache
def true_variances(*point: Any) -> dict[str, float]:
    """The variance of each row at a point, given as `setting` takes it, from a long run."""
    return {row: found.variance for row, found in setting(*point).figures(*TRUTH, -1).items()}


def coverage(one: dict, seeds: int) -> dict:
    """How often the intervals of one object of `compared` cover, each with its median half-width.

    Of "every" row: the share over seeds and rows, and that of the row that is covered least.
    """
    given = setting(one["estimator"], one["train_steps"], one["device"])
    truth = true_variances(one["estimator"], one["train_steps"], one["device"])
    rows = ["all"] if one["rows"] == "all" else list(truth)
    blocks, per_block = one["engine_blocks"], one["engine_replicates"] // one["engine_blocks"]
    covered: dict[str, list[list[bool]]] = {"engine": [], "loop": []}
    widths: dict[str, list[float]] = {"engine": [], "loop": []}
    for seed in range(seeds):
        figures = given.figures(blocks, per_block, 10_000 + seed)
        away = squared_distances(given.task, one["loop_replicates"], 10_000 + seed)
        ends = {
            "engine": {row: (figures[row].variance_low, figures[row].variance_high) for row in rows},
            "loop": {row: loop_interval(away[row]) for row in rows},
        }
        for who, intervals in ends.items():
            covered[who].append([low <= truth[row] <= high for row, (low, high) in intervals.items()])
            middle = {row: figures[row].variance if who == "engine" else float(away[row].mean()) for row in rows}
            widths[who].append(max((high - low) / 2 / middle[row] for row, (low, high) in intervals.items()))
    found: dict = {"seeds": seeds}
    for who in covered:
        by_row = np.array(covered[who]).mean(0)
        found |= {f"{who}_coverage": float(by_row.mean()), f"{who}_least_coverage": float(by_row.min())}
        found[f"{who}_half_width"] = statistics.median(widths[who])
    return found


COLUMNS = [
    "estimator | train_steps | rows",
    "loop: replicates",
    "ms",
    "half-width",
    "covered",
    "engine: replicates / blocks",
    "ms",
    "half-width",
    "covered",
    "floor, ms",
    "loop / engine",
    "loop / floor",
]


def line(one: dict) -> str:
    """One line of the table."""

    def percent(value: float) -> str:
        return f"{100 * value:.1f}"

    def share(who: str) -> str:
        least = f" (least {percent(one[f'{who}_least_coverage'])})" if one["rows"] == "every" else ""
        return percent(one[f"{who}_coverage"]) + least

    cells = [one["estimator"], str(one["train_steps"]), one["rows"]]
    cells += [str(one["loop_replicates"]), f"{1e3 * one['loop_s']:.0f}", percent(one["loop_half_width"]), share("loop")]
    cells += [f"{one['engine_replicates']} / {one['engine_blocks']}", f"{1e3 * one['engine_s']:.1f}"]
    cells += [percent(one["engine_half_width"]), share("engine"), f"{1e3 * one['floor_s']:.1f}"]
    cells += [f"{one['loop_over_engine']:.1f}", f"{one['loop_over_floor']:.1f}"]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=9, help="paired rounds (default 9)")
    parser.add_argument("--seeds", type=int, default=400, help="behind coverage (default 400)")
    parser.add_argument("--threads", type=int, help="of torch; default: all cores")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--output", type=Path, help="file in which to replace the table between the markers")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    found = [{**one, **coverage(one, options.seeds)} for one in list(compared(options.device, options.rounds))]
    lines = ["| " + " | ".join(COLUMNS) + " |", "| --- " * sum(name.count("|") + 1 for name in COLUMNS) + "|"]
    lines += [line(one) for one in found]
    print(json.dumps(found, indent=2) if options.json else "\n".join(lines))
    if options.output:
        put(options.output, "precision", "\n".join(lines))


if __name__ == "__main__":
    main()
