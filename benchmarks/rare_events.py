"""Are right estimators called biased where an event is rare, and does the test of "no bias" hold its level in the tail?

    python benchmarks/rare_events.py [--runs 200] [--tail-runs 1000000] [--output docs/explanation/calibration.md]

The first table measures E[(b − t)²] of one bit, through the engine as a run does, with the bit's probability close to 0
or 1: gradients have few values, one of them all but certain. The second counts how often the test rejects at 5 %, 0.1 %
and 0.001 % where block differences have mean 0: normal ones, and means of 32 exponential ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from marked import put
from numpy.typing import NDArray

from gradbench.engine.measure import measure_moments as measure
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.objectives.chosen import ChosenObjective
from gradbench.problems import PROBLEMS
from gradbench.statistics import ALPHA, no_bias_p, summarise
from gradbench.target import points, reference
from gradbench.target.points import Axes

Array = NDArray[np.float64]
Law = Callable[[np.random.Generator, int], Array]
PRECISION = 2.0**-52
PROBABILITIES = (0.9, 0.99, 0.999, 0.9999, 0.03, 0.001, 0.0001)
BLOCKS = (4, 16, 32, 64)
PER_BLOCK = 32
NAMES = ("score-function", "score-function-loo", "disarm")
LEVELS = (ALPHA, 1e-3, 1e-5)
SUSPECT = 2.4
"""Mean differences of fewer standard errors than this are no candidates for a p value of 0.1 %."""
AT_ONCE, LOOKED_AT = 20_000, 500
"""Runs that are drawn together, and those of them that are tested whatever they are, for the level of 5 %."""


def bit(name: str, probability: float, blocks: int, runs: int) -> str:
    """One line: shares of runs, in percent, that reject at each level, and how often intervals hold."""
    kind = PROBLEMS["bernoulli-cost"]
    axes = Axes("bernoulli-cost", kind.Parameters(target=0.45, prob=probability), None, 0, 0)
    point = points.build(axes, "cpu", torch.float64)
    exact = reference.compute(point, ChosenObjective("cost"), 2, PER_BLOCK * blocks, blocks)
    truth, found = variance(name, probability), []
    for run in range(runs):
        here = replace(point, axes=replace(axes, seed=1000 + run))
        task = Task(here, ESTIMATORS[name], {}, 2, ChosenObjective("cost"))
        found.append(summarise(measure(task, range(blocks), PER_BLOCK, exact.gradient), exact, PRECISION)["phi"])
    shares = [np.mean([one.bias_p <= level for one in found]) for level in LEVELS]
    shares += [
        np.mean([one.bias_low == 0 for one in found]),
        np.mean([one.variance_low <= truth <= one.variance_high for one in found]),
    ]
    cells = [name, f"{probability:g}", f"{PER_BLOCK * blocks} / {blocks}", str(runs)]
    return "| " + " | ".join([*cells, *(f"{100 * share:.1f}" for share in shares)]) + " |"


def variance(name: str, p: float, target: float = 0.45) -> float:
    """The variance of the logit's gradient at L = 2, by enumeration of the pair."""
    zero, one = target**2, (1 - target) ** 2
    mean = p * (1 - p) * (one - zero)
    if name == "disarm":  # 0 or (f₁ − f₀) σ(|α|) / 2, where the antithetic bits differ
        return 2 * min(p, 1 - p) * ((one - zero) / 2 * max(p, 1 - p)) ** 2 - mean**2
    if name == "score-function-loo":  # 0 or (f₁ − f₀) / 2, where the two bits differ
        return 2 * p * (1 - p) * ((one - zero) / 2) ** 2 - mean**2
    return (p * (one * (1 - p)) ** 2 + (1 - p) * (zero * p) ** 2 - mean**2) / 2


def levels(law: Law, runs: int, seed: int) -> list[float]:
    """How often ``law``'s block differences [runs, K, P] are rejected at each of `LEVELS`, as a multiple of it."""
    generator = np.random.default_rng(seed)
    counts, looked_at, done = np.zeros(len(LEVELS)), 0, 0
    while done < runs:
        d = law(generator, min(AT_ONCE, runs - done))
        done += len(d)
        gram = d @ d.transpose(0, 2, 1)
        apart = gram - np.eye(gram.shape[-1]) * gram
        candidates = apart.sum((1, 2)) > SUSPECT * np.sqrt(2 * np.square(apart).sum((1, 2)))
        first = gram[:LOOKED_AT]
        looked_at += len(first)
        counts[0] += np.count_nonzero(no_bias_p(first) <= LEVELS[0])
        if candidates.any():
            p = no_bias_p(gram[candidates])
            counts[1:] += [np.count_nonzero(p <= level) for level in LEVELS[1:]]
    of = (looked_at, *[runs] * (len(LEVELS) - 1))
    return [float(count / n / level) for count, n, level in zip(counts, of, LEVELS, strict=True)]


def laws() -> Iterator[tuple[str, int, Law]]:
    """Names, the number of blocks, and block differences without a bias."""
    yield "normal, 1 parameter", 32, lambda g, n: g.standard_normal((n, 32, 1))
    yield "normal, 20 parameters", 32, lambda g, n: g.standard_normal((n, 32, 20))
    yield "exponential, 1 parameter", 32, lambda g, n: g.gamma(32.0, size=(n, 32, 1)) - 32
    yield "normal, 1 parameter", 64, lambda g, n: g.standard_normal((n, 64, 1))


RARE = """| L = 2 | prob | R / K | runs | p ≤ 5 % | p ≤ 0.1 % | p ≤ 0.001 % | bias_low is 0 | variance covered |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |"""
TAIL = """| block differences | K | runs | at 5 % | at 0.1 % | at 0.001 % |
| --- | --- | --- | --- | --- | --- |"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200, help="runs of each bit")
    parser.add_argument("--tail-runs", type=int, default=1_000_000, help="runs of each law of the second table")
    parser.add_argument("--output", type=Path, help="file in which to replace the tables between the markers")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rare, tail = [RARE], [TAIL]
    for name in NAMES:
        for probability in PROBABILITIES:
            for blocks in BLOCKS:
                rare.append(bit(name, probability, blocks, options.runs))
                print(rare[-1], flush=True)
    for seed, (name, blocks, law) in enumerate(laws()):
        shares = " | ".join(f"{share:.2f} ×" for share in levels(law, options.tail_runs, seed))
        tail.append(f"| {name} | {blocks} | {options.tail_runs} | {shares} |")
        print(tail[-1], flush=True)
    if options.output:
        for marker, lines in (("rare", rare), ("tail", tail)):
            put(options.output, marker, "\n".join(lines))


if __name__ == "__main__":
    main()
