"""Does compare cry wolf, and does it see what it should? Runs of 100 cells compared with runs of which nothing, or
one cell, is different.

    python benchmarks/compare_aa.py [--repetitions 300] [--output docs/explanation/calibration.md]

Each cell is a score-function gradient with respect to the mean of N(m, 1) of z², m spread over the cells, so that
the tails are as heavy as those of real runs (kurtosis 10 to 50). Block values go through the ratios, p values and
Holm's correction that `gradbench compare` uses. "shared noise": both runs have the same seed, and the changed
cell's gradient has noise of its own added, a tenth of its variance. "other noise": nothing is shared.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from marked import put
from numpy.typing import NDArray

from gradbench.results.compare import UNDECIDED, WORSE, marked, paired_ratio
from gradbench.statistics import ALPHA, holm, no_bias_p

Array = NDArray[np.float64]
CELLS = 100
CHANGE = 0.1


def gradients(generator: np.random.Generator, replicates: int, offset: float) -> Array:
    """Replicates of z² times the score, z = offset + noise: mean 2 · offset."""
    noise = generator.standard_normal(replicates)
    return (offset + noise) ** 2 * noise


def block_values(values: Array, blocks: int) -> Array:
    """The variance block by block."""
    return ((values - values.mean()) ** 2).reshape(blocks, -1).mean(1)


def repetition(seed: int, replicates: int, blocks: int, *, shared: bool, changed: bool) -> tuple[bool, bool, bool]:
    """One pair of runs: any false mark, the changed cell found, any false bias in the second run."""
    records, p_bias = [], []
    for cell in range(CELLS):
        offset = 1 + 4 * cell / CELLS
        first = gradients(np.random.default_rng([seed, cell, 0]), replicates, offset)
        own = np.random.default_rng([seed, cell, 1])
        second = first.copy() if shared else gradients(own, replicates, offset)
        if changed and cell == 0:
            second = second + np.sqrt(CHANGE * exact_variance(offset)) * own.standard_normal(replicates)
        ratio = paired_ratio(block_values(first, blocks), block_values(second, blocks))
        records.append({"group": "phi", "variance_ratio": ratio.value, "variance_p": ratio.p})
        differences = (second - 2 * offset).reshape(blocks, -1).mean(1, keepdims=True)
        p_bias.append(no_bias_p(differences @ differences.T))
    marks = marked(pd.DataFrame(records))["mark"]
    others = marks.iloc[1:] if changed else marks
    return (
        bool((others != UNDECIDED).any()),
        bool(marks.iloc[0] == WORSE),
        bool((holm(np.array(p_bias)) <= ALPHA).any()),
    )


def exact_variance(offset: float) -> float:
    """Of (offset + ε)² ε: a⁴ + 14 a² + 15."""
    return offset**4 + 14 * offset**2 + 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--output", type=Path, help="file in which to replace the table between the markers")
    options = parser.parse_args()
    lines = [
        f"| replicates / blocks | noise | change | repetitions | any false mark of {CELLS} | found | any false bias |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    cases = [(1024, 32, False, False), (4096, 32, False, False), (1024, 32, True, True), (4096, 32, True, True)]
    cases += [(16384, 64, False, True)]
    for replicates, blocks, shared, changed in cases:
        outcomes = np.array(
            [
                repetition(seed, replicates, blocks, shared=shared, changed=changed)
                for seed in range(options.repetitions)
            ]
        )
        false, found, biased = (f"{100 * share:.1f} %" for share in outcomes.mean(0))
        noise, change = "shared" if shared else "other", "+10 % in one cell" if changed else "none"
        lines.append(
            f"| {replicates} / {blocks} | {noise} | {change} "
            f"| {options.repetitions} | {false} | {found if changed else '–'} | {biased} |"
        )
        print(lines[-1], flush=True)
    if options.output:
        put(options.output, "compare", "\n".join(lines))


if __name__ == "__main__":
    main()
