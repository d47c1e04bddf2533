"""What ``--decide`` says of blocks whose bias is known: how often it is wrong, stopping as soon as it may.

    python benchmarks/deciding.py [--runs 2000] [--blocks 32]

Blocks of normal and of exponential noise, in one parameter and in twenty, with no bias, with half of the margin, with
the margin itself and with twice that: the rule is followed block by block, twice as many at each look, to the most
blocks that a cell has. In each row are the shares of runs that end as ``biased`` (at the level that verdicts of a run
of one row have), as ``unbiased`` and undecided, the share whose interval of ‖bias‖ holds it, and the mean of blocks.
"""

from __future__ import annotations

import argparse

import numpy as np

from gradbench.runner.aims import DOUBTFUL, FOUND_AT, LONGER_ARM
from gradbench.statistics.bias import bias_of
from gradbench.statistics.levels import ALPHA
from gradbench.suite.measure import MOST_BLOCKS

MARGIN = 1.0
"""The margin in units of bias; noise is scaled so that a typical run takes several looks."""
NOISE = 4.0
"""The norm of the standard deviations of a block, in margins."""


def stopped(values: np.ndarray, first: int) -> tuple[str, float, float, int]:
    """The verdict at which the rule stops on block differences [most blocks, P], the interval there, and the blocks."""
    blocks = first
    while True:
        some = values[:blocks]
        found = bias_of((some @ some.T)[None], 0.0)
        p, norm, low, high = (float(value[0]) for value in (found.p, found.norm, found.low, found.high))
        small = p > DOUBTFUL and norm + LONGER_ARM * (high - norm) <= MARGIN
        if p <= FOUND_AT or small or blocks == len(values):
            verdict = "biased" if p <= ALPHA else "unbiased" if high <= MARGIN else "unresolved"
            return verdict, low, high, blocks
        blocks = min(2 * blocks, len(values))


def study(law: str, parameters: int, bias: float, runs: int, first: int, generator: np.random.Generator) -> str:
    """One row of the table."""
    direction = np.ones(parameters) / np.sqrt(parameters)
    said, covered, spent = {"biased": 0, "unbiased": 0, "unresolved": 0}, 0, 0
    for _ in range(runs):
        shape = (MOST_BLOCKS, parameters)
        noise = generator.standard_normal(shape) if law == "normal" else generator.standard_exponential(shape) - 1
        verdict, low, high, blocks = stopped(noise * NOISE / np.sqrt(parameters) + bias * direction, first)
        said[verdict] += 1
        covered += low <= bias <= high
        spent += blocks
    shares = " | ".join(f"{100 * said[name] / runs:.1f} %" for name in said)
    return f"| {law} | {parameters} | {bias:g} | {shares} | {100 * covered / runs:.1f} % | {spent / runs:.0f} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--blocks", type=int, default=32)
    given = parser.parse_args()
    generator = np.random.default_rng(0)
    print("| noise | parameters | bias / margin | biased | unbiased | undecided | interval holds it | blocks |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for law in ("normal", "exponential"):
        for parameters in (1, 20):
            for bias in (0.0, 0.5, 1.0, 2.0):
                print(study(law, parameters, bias, given.runs, given.blocks, generator), flush=True)


if __name__ == "__main__":
    main()
