"""How fast the engine measures, beside what people would use instead, in one run.

    python benchmarks/engine.py [--device cpu] [--rounds 7] [--case TEXT] [--precision] [--json]

Every case is one estimator on one model with random binary data. In each round, one after the other:

- floor: noise, forward and one backward pass over all replicates at once. It yields the mean gradient and nothing else.
- engine: this engine, producing every statistic of a row of results (block moments of 32 blocks, then all figures).
- loop: a Python loop over replicates with ``backward()``, its mean and squared norms; a part of the replicates, scaled.
- vmap: ``torch.func.vmap(grad)`` in chunks; a part of the replicates, scaled.
- jax: the same in JAX, ``jit(vmap(grad))``, after compilation, in chunks of the size that is fastest here; only where
  JAX is installed (``pip install gradbench[bench]``, or ``pip install jax``) and on the CPU.

Times are medians over rounds; each ratio is the median of the rounds' own ratios. With ``--precision``: how long the
engine and the loop take until the 95 % interval of the variance is 5 % wide to either side.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics as stdlib_statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from gradbench.engine.general import replicate_gradients
from gradbench.engine.measure import measure
from gradbench.engine.options import Options
from gradbench.engine.task import Task, slice_noise
from gradbench.estimators import ESTIMATORS
from gradbench.networks import Calls
from gradbench.problems import PROBLEMS
from gradbench.reference import Reference
from gradbench.seeding import stream
from gradbench.stage import Axes, Point, build
from gradbench.statistics import summarise

if TYPE_CHECKING:
    from jax_cases import JaxStep

BLOCKS = 32
HALF_WIDTH = 0.05


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    problem: str
    estimator: str
    batch: int
    features: int
    hidden: int
    latent: int
    samples: int
    replicates: int
    loop: int
    """Replicates that the loop is timed on."""
    chunk: int
    """Replicates per chunk of vmap(grad): the fastest of 8, 16, …, 512 on the machine this was written on."""

    @property
    def name(self) -> str:
        """The row's label."""
        return (
            f"{self.problem} {self.estimator} batch={self.batch} data={self.features} hidden={self.hidden} "
            f"latent={self.latent} L={self.samples} replicates={self.replicates}"
        )


CASES = (
    Case("gaussian-vae", "pathwise", 64, 784, 200, 20, 1, 128, loop=8, chunk=8),
    Case("gaussian-vae", "pathwise", 1, 784, 200, 20, 1, 1024, loop=64, chunk=16),
    Case("gaussian-vae", "pathwise", 16, 64, 32, 8, 1, 1024, loop=64, chunk=128),
    Case("gaussian-vae", "pathwise", 1, 16, 16, 4, 1, 4096, loop=64, chunk=512),
    Case("sigmoid-belief", "disarm", 50, 784, 200, 200, 4, 128, loop=4, chunk=4),
)
PRECISION_CASES = (
    Case("gaussian-vae", "pathwise", 32, 64, 200, 20, 1, 0, loop=128, chunk=0),
    Case("gaussian-vae", "score-function", 32, 64, 200, 20, 1, 0, loop=128, chunk=0),
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
    return Task(Point(axes, problem, x, device), ESTIMATORS[case.estimator], {}, case.samples, "analytic")


def plain(task: Task, replicates: int, generator: torch.Generator) -> dict[str, Tensor]:
    """The floor: the mean gradient of all replicates by one backward pass."""
    return task.gradient(task.noise(replicates, generator))


def reference_of(task: Task, replicates: int, generator: torch.Generator) -> Reference:
    """A gradient to measure bias against: from so many replicates that the bias is that of noise."""
    means = [plain(task, replicates // 16, generator) for _ in range(16)]
    return Reference("closed-form", {n: torch.stack([one[n] for one in means]).double().mean(0) for n in means[0]})


def looped(task: Task, replicates: int, generator: torch.Generator) -> tuple[list[float], float]:
    """The naive loop: each replicate's squared norm, and the squared norm of the mean."""
    parameters = list(task.point.problem.named_parameters().values())
    phi, theta = Calls(task.point.problem.phi), Calls(task.point.problem.theta)
    total = [torch.zeros_like(value) for value in parameters]
    norms = []
    for _ in range(replicates):
        for value in parameters:
            value.grad = None
        task.values(task.noise(1, generator), phi, theta).sum().backward()
        norms.append(sum(float(value.grad.square().sum()) for value in parameters if value.grad is not None))
        for kept, value in zip(total, parameters, strict=True):
            if value.grad is not None:
                kept += value.grad
    for value in parameters:
        value.grad = None
    return norms, sum(float((value / replicates).square().sum()) for value in total)


class FunctionalCalls(Calls):
    """Calls with parameters passed in, as `torch.func` wants them."""

    def __init__(self, module: torch.nn.Module, parameters: dict[str, Tensor]) -> None:
        super().__init__(module)
        self.parameters_ = parameters

    def call(self, name: str, *inputs: Tensor) -> Tensor:
        own = {key[len(name) + 1 :]: value for key, value in self.parameters_.items() if key.startswith(name + ".")}
        lead = torch.broadcast_shapes(*(value.shape[:3] for value in inputs))
        flat = tuple(value.expand(*lead, *value.shape[3:]).flatten(0, 2) for value in inputs)
        return functional_call(self.module.get_submodule(name), own, flat).unflatten(0, lead)

    def free(self, name: str) -> Tensor:
        return self.parameters_[name][None, None, None]


def vmapped(task: Task, chunk: int) -> Callable[[int, torch.Generator], None]:
    """vmap(grad) over replicates, with the sums of gradients and of squared norms."""
    problem = task.point.problem
    phi, theta = (dict(module.named_parameters()) for module in (problem.phi, problem.theta))

    def value(parameters: tuple[dict[str, Tensor], dict[str, Tensor]], noise: Tensor) -> Tensor:
        calls = FunctionalCalls(problem.phi, parameters[0]), FunctionalCalls(problem.theta, parameters[1])
        return task.values(noise[None], *calls).sum()

    each = vmap(grad(value), in_dims=(None, 0))

    def run(replicates: int, generator: torch.Generator) -> None:
        noise = task.noise(replicates, generator)
        for start in range(0, replicates, chunk):
            found = each((phi, theta), slice_noise(noise, slice(start, start + chunk)))  # pyright: ignore
            for gradients in found:
                for gradient in gradients.values():
                    gradient.flatten(1).square().sum(1)
                    gradient.sum(0)

    return run


def timed(work: Callable[[], object], device: str) -> float:
    """Seconds of wall time."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start


def in_jax(case: Case, task: Task, threads: int | None) -> JaxStep | None:
    """The competitor in JAX; None without JAX, or on a GPU."""
    if find_spec("jax") is None or task.point.device != "cpu":
        return None
    import jax_cases

    jax_cases.start(threads)
    return jax_cases.jax_step(case, task)


def rounds(case: Case, task: Task, count: int, jax: JaxStep | None) -> Iterator[dict[str, float | None]]:
    """The seconds of each competitor, round by round, after one round that is not counted."""
    device = task.point.device
    generator = torch.Generator(device=device).manual_seed(0)
    reference = reference_of(task, 8 * case.replicates, generator)
    per_block = case.replicates // BLOCKS
    vmap_run = vmapped(task, case.chunk)
    few = max(case.chunk, case.replicates // 8)

    def engine() -> None:
        moments = measure(task, range(BLOCKS), per_block, reference.gradient, options=Options())
        assert moments.engine == "layers"
        summarise(moments, reference, torch.finfo(torch.float32).eps)

    def moments_alone() -> None:
        measure(task, range(BLOCKS), per_block, reference.gradient, options=Options())

    for index in range(count + 1):
        seconds = {
            "floor_s": timed(lambda: plain(task, case.replicates, generator), device),
            "engine_s": timed(engine, device),
            "moments_s": timed(moments_alone, device),
            "loop_s": timed(lambda: looped(task, case.loop, generator), device) * case.replicates / case.loop,
            "vmap_s": timed(lambda: vmap_run(few, generator), device) * case.replicates / few,
            "jax_s": None if jax is None else timed(jax.run, device),
        }
        if index:
            yield seconds


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


def precision(case: Case, device: str, count: int) -> dict:
    """Time until the half-width of the 95 % interval of the variance is 5 %, for the engine and for the loop.

    Both need 1/width² times as many replicates as a pilot's width says. The loop's interval is that of a mean of
    squared distances, from its own replicates.
    """
    parameters = PROBLEMS[case.problem].Parameters(hidden=case.hidden, latent=case.latent, batch=case.batch)
    point = build(Axes(case.problem, parameters, "digits", 0, 0), device, torch.float32)
    task = Task(point, ESTIMATORS[case.estimator], {}, case.samples, "analytic")
    generator = torch.Generator(device=device).manual_seed(0)
    reference = Reference("closed-form", {n: v.double() for n, v in plain(task, 64, generator).items()})
    eps = torch.finfo(torch.float32).eps

    def figures(replicates: int):
        moments = measure(task, range(BLOCKS), replicates // BLOCKS, reference.gradient, options=Options())
        return summarise(moments, reference, eps)["all"]

    figures(1024)
    pilot = figures(8192)
    wide = math.log(pilot.variance_high / pilot.variance_low) / 2
    needed = max(2 * BLOCKS, math.ceil(8192 * (wide / math.log1p(HALF_WIDTH)) ** 2 / BLOCKS) * BLOCKS)
    loop_needed = loop_replicates(task, generator)
    pairs = []
    for _ in range(count):
        loop = timed(lambda: looped(task, case.loop, generator), device) * loop_needed / case.loop
        pairs.append((timed(lambda: figures(needed), device), loop))
    return {
        "kind": "precision",
        "case": f"{case.estimator} on digits, batch={case.batch} hidden={case.hidden} latent={case.latent} L=1",
        "device": device,
        "half_width": HALF_WIDTH,
        "engine_replicates": needed,
        "loop_replicates": loop_needed,
        "engine_s": stdlib_statistics.median(engine for engine, _ in pairs),
        "loop_s": stdlib_statistics.median(loop for _, loop in pairs),
        "loop_over_engine": stdlib_statistics.median(loop / engine for engine, loop in pairs),
    }


def loop_replicates(task: Task, generator: torch.Generator, pilot: int = 4096) -> int:
    """Replicates whose squared distances from their mean have a mean known to 5 %; their spread is from a pilot."""
    chunk, away = 64, []
    noise = task.noise(pilot, generator)
    parts = [replicate_gradients(task, slice_noise(noise, slice(s, s + chunk)), chunk) for s in range(0, 512, chunk)]
    centre = {name: torch.cat([part[name] for part in parts]).mean(0) for name in parts[0]}
    for start in range(0, pilot, chunk):
        found = replicate_gradients(task, slice_noise(noise, slice(start, start + chunk)), chunk)
        away.append(sum((value - centre[name]).square().sum(1) for name, value in found.items()))
    values = torch.cat(away).double().cpu().numpy()
    return math.ceil((1.96 * values.std() / values.mean() / HALF_WIDTH) ** 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=7, help="paired rounds (default 7)")
    parser.add_argument("--threads", type=int, help="of torch; default: all cores")
    parser.add_argument("--case", default="", help="only cases whose name contains this")
    parser.add_argument("--precision", action="store_true", help="also time to a 5 %% half-width of the variance")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    chosen = [case for case in CASES if arguments.case in case.name]
    found = [compared(case, arguments.device, arguments.rounds, arguments.threads) for case in chosen]
    if arguments.precision:
        found += [precision(case, arguments.device, arguments.rounds) for case in PRECISION_CASES]
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    for one in found:
        print(one["case"])
        print("   ", ", ".join(f"{key} {value:.4g}" for key, value in one.items() if isinstance(value, float)))


if __name__ == "__main__":
    main()
