"""Do the error bars hold? Intervals, tests and power over many independent runs of cases whose truth is known.

    python benchmarks/calibration.py [--runs 1000] [--engine-runs 500] [--output docs/explanation/calibration.md]

Noise is that of the score function on Σ_d z_d² with q = N(1, 1) per dimension: heavy-tailed, skewed, correlated
across parameters, with mean and variance known exactly. Replicates are drawn with numpy, so that a thousand runs take
seconds, and then go the way that every cell goes: `Moments`, `summarise`. Cases named "engine" measure a real problem
from end to end.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from marked import put
from numpy.typing import NDArray

from gradbench.engine.measure import measure_moments as measure
from gradbench.engine.moments import Moments
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.objectives.chosen import natural
from gradbench.problems import PROBLEMS
from gradbench.statistics import ALPHA, Figures, summarise
from gradbench.target import points, reference
from gradbench.target.points import Axes, Point
from gradbench.target.reference import Reference

Array = NDArray[np.float64]
PRECISION = 2.0**-52
RELATIVE_BIASES = (0.05, 0.2, 1.0)
SPREAD_BIAS = 1.0
"""A bias of this many standard deviations of one gradient: where the mean squared error is half bias."""


@dataclass(frozen=True)
class Case:
    """Runs of one problem: independent moments, with the true gradient and the true variance."""

    name: str
    replicates: int
    blocks: int
    gradient: Array
    variance: float
    moments: Callable[[int], Moments]
    group: str = "phi"


@dataclass
class Tally:
    """What happened over the runs of a case."""

    runs: int = 0
    rejected: int = 0
    variance_covered: int = 0
    mse_covered: int = 0
    mse_biased_covered: int = 0
    bias_covered: dict[float, int] | None = None
    power: dict[float, int] | None = None


def synthetic(dimensions: int, replicates: int, blocks: int, *, scale_too: bool = True) -> Case:
    """The score function of Σ z² with respect to the mean (and log scale) of N(1, 1) in each dimension."""
    parameters = dimensions * (2 if scale_too else 1)

    def moments(run: int) -> Moments:
        generator = np.random.default_rng([7, dimensions, parameters, replicates, blocks, run])
        noise = generator.standard_normal((replicates, dimensions))
        f = ((1 + noise) ** 2).sum(1, keepdims=True)
        scores = [noise, noise**2 - 1] if scale_too else [noise]
        return moments_of(np.concatenate([f * score for score in scores], 1), blocks, gradient)

    gradient = np.full(parameters, 2.0)
    name = f"{parameters} parameter{'s' if parameters > 1 else ''}"
    return Case(name, replicates, blocks, gradient, exact_variance(dimensions, scale_too), moments)


def exact_variance(dimensions: int, scale_too: bool) -> float:
    """The trace of the covariance of one gradient, by Gauss-Hermite quadrature (exact: all is polynomial)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(32)
    weights = weights / weights.sum()
    cost = (1 + nodes) ** 2
    score = nodes**2 + (nodes**2 - 1) ** 2 * scale_too

    def mean(values: Array) -> float:
        return float(weights @ values)

    others, f, s = dimensions - 1, mean(cost), mean(score)
    spread = mean(cost**2) - f**2
    second = mean(cost**2 * score) + 2 * mean(cost * score) * others * f + s * (others * spread + (others * f) ** 2)
    return dimensions * (second - 4.0 * (2 if scale_too else 1))


def moments_of(gradients: Array, blocks: int, gradient: Array) -> Moments:
    """Moments of replicates given as [R, P]."""
    per_block = len(gradients) // blocks
    centre = gradients[: min(64, len(gradients))].mean(0)
    away = gradients - centre
    squares = (away**2).sum(1).reshape(blocks, per_block)
    shift = ((away.reshape(blocks, per_block, -1).mean(1)) ** 2).sum(1)
    size = (gradients**2).sum(1).reshape(blocks, per_block)
    cosine = (gradients @ gradient).reshape(blocks, per_block) / np.sqrt(size) / np.linalg.norm(gradient)

    def groups(values: Array) -> dict[str, Array]:
        return dict.fromkeys(("all", "phi", "phi.g"), values)

    means = {"phi.g": gradients.reshape(blocks, per_block, -1).mean(1)}
    return Moments(
        per_block,
        means,
        groups(squares.sum(1)),
        groups((squares**2).sum(1)),
        groups(shift),
        groups(size.sum(1)),
        groups(cosine.mean(1)),
    )


def measured(name: str, problem: str, parameters: dict, replicates: int, blocks: int, samples: int = 1) -> Case:
    """The score function measured by the engine; its variance from one long run.

    Of several samples and datapoints, the variance is from a part of the replicates of each block.
    """
    kind = PROBLEMS[problem]
    axes = Axes(problem, kind.Parameters(**parameters), kind.data, 0, 0)
    point = points.build(axes, "cpu", torch.float64)
    objective = natural(kind, None if kind.objective == "cost" else "analytic")
    exact = reference.compute(point, objective, samples, replicates, blocks)
    assert exact.exact

    def at(seed: int) -> Point:
        return Point(replace(axes, seed=seed), point.problem, point.x, point.device)

    def moments(run: int, replicates: int = replicates, blocks: int = blocks) -> Moments:
        task = Task(at(1000 + run), ESTIMATORS["score-function"], {}, samples, objective)
        return measure(task, range(blocks), replicates // blocks, exact.gradient)

    long = summarise(moments(-1, 2**18, 256), exact, PRECISION)["phi"]
    gradient = np.concatenate(
        [value.flatten().numpy() for key, value in exact.gradient.items() if key.startswith("phi.")]
    )
    return Case(f"engine: {name}", replicates, blocks, gradient, long.variance, moments)


def shifted(moments: Moments, case: Case, bias: float) -> Figures:
    """The figures where every gradient carries a bias of norm ``bias``, along the gradient (or anywhere, if 0)."""
    direction = case.gradient / (np.linalg.norm(case.gradient) or 1.0)
    gradient, start = {}, 0
    for name, means in moments.means.items():
        values = np.zeros(means.shape[1])
        if name.startswith("phi."):
            values = case.gradient[start : start + means.shape[1]] - bias * direction[start : start + means.shape[1]]
            start += means.shape[1]
        gradient[name] = torch.as_tensor(values)
    return summarise(moments, Reference("closed-form", gradient), PRECISION)[case.group]


def study(case: Case, runs: int) -> Tally:
    """Run ``case`` ``runs`` times."""
    tally = Tally(bias_covered=dict.fromkeys(RELATIVE_BIASES, 0), power=dict.fromkeys(RELATIVE_BIASES, 0))
    assert tally.bias_covered is not None
    assert tally.power is not None
    norm = float(np.linalg.norm(case.gradient))
    for run in range(runs):
        moments = case.moments(run)
        none = shifted(moments, case, 0.0)
        tally.runs += 1
        tally.rejected += none.bias_p <= ALPHA
        tally.variance_covered += none.variance_low <= case.variance <= none.variance_high
        tally.mse_covered += none.mse_low <= case.variance <= none.mse_high
        for relative in RELATIVE_BIASES:
            figures = shifted(moments, case, relative * norm)
            tally.bias_covered[relative] += figures.bias_low <= relative * norm <= figures.bias_high
            tally.power[relative] += figures.bias_p <= ALPHA
        large = shifted(moments, case, SPREAD_BIAS * case.variance**0.5)
        tally.mse_biased_covered += large.mse_low <= case.variance * (1 + SPREAD_BIAS**2) <= large.mse_high
    return tally


def row(case: Case, tally: Tally) -> str:
    """One line of the table, shares in percent."""
    assert tally.bias_covered is not None
    assert tally.power is not None
    shares = [tally.rejected, tally.variance_covered, tally.mse_covered, tally.mse_biased_covered]
    shares += [tally.bias_covered[relative] for relative in RELATIVE_BIASES]
    shares += [tally.power[relative] for relative in RELATIVE_BIASES]
    kurtosis = shifted(case.moments(0), case, 0.0).kurtosis or 0.0
    cells = [case.name, f"{case.replicates} / {case.blocks}", f"{kurtosis:.0f}", str(tally.runs)]
    return "| " + " | ".join(cells + [f"{100 * share / tally.runs:.1f}" for share in shares]) + " |"


def cases() -> Iterator[tuple[Case, bool]]:
    """Every case, and whether it goes through the engine."""
    for replicates, blocks in ((1024, 32), (4096, 32), (4096, 64)):
        yield synthetic(1, replicates, blocks, scale_too=False), False
        yield synthetic(1, replicates, blocks), False
        yield synthetic(10, replicates, blocks), False
    yield synthetic(100, 1024, 32), False
    yield synthetic(100, 2**14, 32), False
    yield synthetic(1, 2**16, 32, scale_too=False), False
    # one tuple of states in a hundred: with more of it, equal blocks would be a proof, and nothing be tested
    yield measured("bernoulli-cost, L = 2", "bernoulli-cost", {"target": 0.45, "prob": 0.1}, 1024, 32, 2), True
    yield measured("gaussian-cost", "gaussian-cost", {"k": -3.0}, 4096, 32), True
    yield measured("gaussian-vae", "gaussian-vae", {"hidden": 8, "latent": 2, "batch": 4}, 1024, 32), True
    several = {"hidden": 8, "latent": 2, "batch": 8}
    yield measured("gaussian-vae, L = 4", "gaussian-vae", several, 1024, 32, 4), True
    yield measured("gaussian-vae, L = 16", "gaussian-vae", several, 1024, 32, 16), True
    yield measured("sigmoid-belief, L = 8", "sigmoid-belief", {"latent": 4, "batch": 8}, 1024, 32, 8), True


HEADER = """| case | R / K | kurtosis | runs | rejected, no bias | variance | MSE, no bias | MSE, bias 1 sd | ‖bias‖ 5 % | ‖bias‖ 20 % | ‖bias‖ 100 % | power 5 % | power 20 % | power 100 % |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"""  # noqa: E501


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000, help="runs of each synthetic case")
    parser.add_argument("--engine-runs", type=int, default=500, help="runs of each case that the engine measures")
    parser.add_argument("--output", type=Path, help="file in which to replace the table between the markers")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = [HEADER]
    print(HEADER)
    for case, slow in cases():
        lines.append(row(case, study(case, options.engine_runs if slow else options.runs)))
        print(lines[-1], flush=True)
    if options.output:
        put(options.output, "table", "\n".join(lines))


if __name__ == "__main__":
    main()
