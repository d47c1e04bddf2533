"""How fast the engine measures, beside what people would use instead, in one run.

    python benchmarks/engine.py [--device cpu] [--rounds 7] [--case TEXT] [--precision] [--json] [--output FILE …]

Every case is one estimator on one model with random binary data. In each round, one after the other:

- floor: noise, forward and one backward pass over the engine's replicates, all at once. It yields their mean gradient
  and nothing else, which is compared with the engine's.
- engine: this engine, producing every statistic of a row of results (block moments of 32 blocks, then all figures).
- loop: a Python loop over replicates with ``backward()``, its mean and squared norms; a part of the replicates, scaled.
- vmap: ``torch.func.vmap(grad)`` in chunks; a part of the replicates, scaled.
- jax: the same in JAX, ``jit(vmap(grad))``, after compilation, in chunks of the size that is fastest here; only where
  JAX is installed (``pip install gradbench[bench]``, or ``pip install jax``) and on the CPU.

Times are medians over rounds; each ratio is the median of the rounds' own ratios. With ``--precision``: how long the
engine and the loop take until the 95 % interval of the variance is 5 % wide to either side (`precision.py`).
"""

from __future__ import annotations

import argparse
import json
import statistics as stdlib_statistics
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from competitors import Case, looped, plain, reseeded, timed, vmapped
from marked import put

from gradbench.core.seeding import stream
from gradbench.core.types import Gradients
from gradbench.engine.general import block_stream
from gradbench.engine.measure import measure_moments as measure
from gradbench.engine.moments import Moments
from gradbench.engine.options import Options
from gradbench.engine.task import Task, join_noise
from gradbench.estimators import ESTIMATORS
from gradbench.objectives.chosen import ChosenObjective
from gradbench.problems import PROBLEMS
from gradbench.statistics import summarise
from gradbench.target.points import Axes, Point
from gradbench.target.reference import Reference

if TYPE_CHECKING:
    from jax_cases import JaxStep

BLOCKS = 32
TOLERANCE = 1e-4
"""Of the largest entry, that two means of the same gradients in float32 may differ by."""
CASES = (
    Case("gaussian-vae", "pathwise", 64, 784, 200, 20, 1, 128, loop=8, chunk=8),
    Case("gaussian-vae", "pathwise", 1, 784, 200, 20, 1, 1024, loop=64, chunk=16),
    Case("gaussian-vae", "pathwise", 16, 64, 32, 8, 1, 1024, loop=64, chunk=128),
    Case("gaussian-vae", "pathwise", 1, 16, 16, 4, 1, 4096, loop=64, chunk=512),
    Case("sigmoid-belief", "disarm", 50, 784, 200, 200, 4, 128, loop=4, chunk=4),
)


def task_of(case: Case, device: str) -> Task:
    """The case's model with random weights and random binary data."""
    kind = PROBLEMS[case.problem]
    keys: dict[str, int | str] = {"hidden": case.hidden, "latent": case.latent, "batch": case.batch}
    if case.problem == "sigmoid-belief":
        keys["decoder"] = "nonlinear"
    parameters = kind.Parameters(**keys)
    axes = Axes(case.problem, parameters, None, 0, 0)
    problem = kind(parameters, case.features, stream(0, "model")).to(torch.float32, device)
    x = (torch.rand(1, 1, case.batch, case.features, generator=stream(0, "x")) < 0.3).float().to(device)
    return Task(
        Point(axes, problem, x, device),
        ESTIMATORS[case.estimator],
        {},
        case.samples,
        ChosenObjective("elbo", "analytic"),
    )


def reference_of(task: Task, replicates: int, generator: torch.Generator) -> Reference:
    """A gradient to measure bias against: from so many replicates that the bias is that of noise."""
    means = [plain(task, replicates // 16, generator) for _ in range(16)]
    return Reference("closed-form", {n: torch.stack([one[n] for one in means]).double().mean(0) for n in means[0]})


def in_jax(case: Case, task: Task, threads: int | None) -> JaxStep | None:
    """The competitor in JAX; None without JAX, or on a GPU."""
    if find_spec("jax") is None or task.point.device != "cpu":
        return None
    import jax_cases

    jax_cases.start(threads)
    return jax_cases.jax_step(case, task)


def floor(task: Task, per_block: int) -> Gradients:
    """The mean gradient over the replicates of all blocks, by one backward pass."""
    return task.gradient(join_noise(task.noises(per_block, [block_stream(task, block) for block in range(BLOCKS)])))


def agree(mean: Gradients, moments: Moments) -> None:
    """Raises AssertionError where the engine's block means have another mean than ``mean``."""
    for name, value in mean.items():
        found = torch.from_numpy(np.asarray(moments.means[name])).mean(0).reshape(value.shape)
        away = float((found - value.cpu()).abs().max())
        assert away <= TOLERANCE * float(value.abs().max()), f"{name}: the engine's mean is off by {away}"


def rounds(case: Case, task: Task, count: int, jax: JaxStep | None) -> Iterator[dict[str, float | None]]:
    """The seconds of each competitor, round by round, after one round that is not counted."""
    device = task.point.device
    generator = torch.Generator(device=device).manual_seed(0)
    reference = reference_of(task, 8 * case.replicates, generator)
    per_block = case.replicates // BLOCKS
    vmap_run = vmapped(task, case.chunk)
    few = max(case.chunk, case.replicates // 8)

    def engine(task: Task) -> None:
        summarise(moments(task), reference, torch.finfo(torch.float32).eps)

    def moments(task: Task) -> Moments:
        return measure(task, range(BLOCKS), per_block, reference.gradient, options=Options())

    for index in range(count + 1):
        own = reseeded(task, index)
        seconds = {
            "floor_s": timed(partial(floor, own, per_block), device),
            "engine_s": timed(partial(engine, own), device),
            "moments_s": timed(partial(moments, own), device),
            "loop_s": timed(lambda: looped(task, case.loop, generator), device) * case.replicates / case.loop,
            "vmap_s": timed(lambda: vmap_run(few, generator), device) * case.replicates / few,
            "jax_s": None if jax is None else timed(jax.run, device),
        }
        if index:
            yield seconds
        else:
            assert moments(own).engine == "layers"
            agree(floor(own, per_block), moments(own))


def compared(case: Case, device: str, count: int, threads: int | None = None) -> dict:
    """One object of the output."""
    task = task_of(case, device)
    jax = in_jax(case, task, threads)
    found = list(rounds(case, task, count, jax))

    def ratio(above: str, below: str) -> float | None:
        pairs = [(one[above], one[below]) for one in found]
        return None if None in pairs[0] else stdlib_statistics.median(a / b for a, b in pairs)  # pyright: ignore

    def median(name: str) -> float | None:
        values = [one[name] for one in found]
        return None if values[0] is None else stdlib_statistics.median(values)  # pyright: ignore

    return {
        "kind": "speed",
        "case": case.name,
        "device": device,
        "rounds": count,
        "threads": torch.get_num_threads(),
        "jax_chunk": None if jax is None else jax.chunk,
        **{name: median(name) for name in ("floor_s", "engine_s", "moments_s", "loop_s", "vmap_s", "jax_s")},
        "engine_over_floor": ratio("engine_s", "floor_s"),
        "moments_over_floor": ratio("moments_s", "floor_s"),
        "loop_over_engine": ratio("loop_s", "engine_s"),
        "vmap_over_engine": ratio("vmap_s", "engine_s"),
        "jax_over_engine": ratio("jax_s", "engine_s"),
    }


HEADER = """| problem, estimator | batch | data | hidden | latent | L | replicates | floor, ms | engine, ms | engine / floor | loop / engine | vmap / engine | JAX / engine |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"""  # noqa: E501


def line(case: Case, one: dict) -> str:
    """A row of the table."""
    sizes = (case.batch, case.features, case.hidden, case.latent, case.samples, case.replicates)
    times = (f"{1e3 * one[name]:.1f}" for name in ("floor_s", "engine_s"))
    names = ("engine_over_floor", "loop_over_engine", "vmap_over_engine", "jax_over_engine")
    ratios = (one[name] for name in names)
    shown = ("–" if value is None else f"{value:.2f}" if value < 10 else f"{value:.0f}" for value in ratios)
    return "| " + " | ".join([f"{case.problem}, {case.estimator}", *map(str, sizes), *times, *shown]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=7, help="paired rounds (default 7)")
    parser.add_argument("--threads", type=int, help="of torch; default: all cores")
    parser.add_argument("--case", default="", help="only cases whose name contains this")
    parser.add_argument("--precision", action="store_true", help="also time to a 5 %% half-width of the variance")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--output", type=Path, nargs="*", default=[], help="files to put the table in, between markers")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    chosen = [case for case in CASES if arguments.case in case.name]
    found = [compared(case, arguments.device, arguments.rounds, arguments.threads) for case in chosen]
    if arguments.precision:
        from precision import compared as precision

        found += precision(arguments.device, arguments.rounds)
    table = "\n".join([HEADER, *(line(case, one) for case, one in zip(chosen, found, strict=False))])
    print(json.dumps(found, indent=2) if arguments.json else table)
    if not arguments.json:
        for one in found[len(chosen) :]:
            print(", ".join(f"{key} {value}" for key, value in one.items()))
    for file in arguments.output:
        put(file, "speed", table)


if __name__ == "__main__":
    main()
