"""What every problem must keep, whatever its estimators: found in a few passes over a handful of rows.

A problem computes from what it is given and from its parameters, which it reaches through `Calls`: its modules draw
nothing, keep nothing, overwrite nothing, and treat rows of samples one by one. Its posterior is what it says. All of
it is tried on a copy, in float64, where a fault is of the order of 1 and rounding of 1e-14.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from gradbench.checking import laws, posteriors
from gradbench.checking.contract import Violation
from gradbench.checking.posteriors import finite, wrong, wrong_shape
from gradbench.checking.tracing import ModuleCall, Trace, memory, moved, random_states, same_bits
from gradbench.core.errors import BrokenProblemError, GradbenchError
from gradbench.core.seeding import stream
from gradbench.core.types import Gradients, Noise
from gradbench.engine import general, loop
from gradbench.engine.layers import recorded
from gradbench.engine.layers.trust import NeedsGeneralPathError
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.families.base import Family
from gradbench.objectives.base import has_closed_form_kl
from gradbench.objectives.chosen import ChosenObjective, natural
from gradbench.problems import PROBLEMS
from gradbench.problems.base import Problem, duplicate
from gradbench.problems.networks import DRAWS_REMEDY, Calls, NeedsLoopError
from gradbench.target import points
from gradbench.target.points import Axes, Point

REPLICATES, SAMPLES = 2, 2
MODEL_TOLERANCE = 1e-8
"""Relative, in float64: rounding is some 1e-14, a mistake is of the order of 1."""

STATE_REMEDY = "call .eval() on it; what a problem computes depends on its inputs and parameters alone"
ROWS_REMEDY = (
    "treat the rows [N, …] one by one, for samples and replicates are rows, too: LayerNorm or .eval() for BatchNorm, "
    "a softmax over the last axis"
)
CALLS_REMEDY = 'reach networks and parameters through the Calls given, phi.call("encoder", x), never through self'


def require(axes: Axes, device: str) -> None:
    """Raise BrokenProblemError where the problem of ``axes`` breaks its contract, if it is a user's own.

    It is looked at before training, on a copy: what is measured later is as if this had not been.
    """
    kind = PROBLEMS[axes.problem]
    if PROBLEMS.is_own(kind):
        return
    found = _found(kind, replace(axes, train_steps=0), device)
    if found is not None:
        raise BrokenProblemError(found.kind, found.seen, found.remedy)


@lru_cache(maxsize=64)
def _found(kind: type[Problem], axes: Axes, device: str) -> Violation | None:
    return fault(points.build(axes, device, torch.float64))


def fault(point: Point) -> Violation | None:
    """The first promise that the problem at ``point`` breaks; None where it keeps all. The point stays as it is."""
    try:
        _check(replace(point, problem=duplicate(point.problem)), duplicate(point.problem))
    except BrokenProblemError as broken:
        return Violation(broken.kind, point.axes.problem, broken.seen, broken.remedy)
    except GradbenchError:
        raise
    except Exception as error:  # whatever a user's code raises is the finding
        text = " ".join(str(error).split())
        return Violation("raises", point.axes.problem, f"{type(error).__name__}: {text[:160]}", _raise_remedy(text))
    return None


def _check(point: Point, fresh: Problem) -> None:
    x = None if point.x is None else point.x.clone()
    watched = _Watched(point)
    q = watched.run("posterior", lambda: point.problem.posterior(Calls(point.problem.phi), x), x)
    z = posteriors.posterior_samples(point, q, x)
    terms = _terms(point.problem, x, z, watched)
    _shapes(terms, x, z)
    _again(point, x, z, watched)
    _state(point, fresh, z)
    _outside(point, x, z)
    _rows(point, q, x, z)
    laws.check_law(q)
    _paths(point, q)


class _Watched:
    """Runs the methods of a problem, and finds what they do beside computing."""

    def __init__(self, point: Point) -> None:
        self.problem = point.problem
        self.records: list[ModuleCall] = []

    def run(self, method: str, call: Callable[[], Any], *inputs: Tensor | None) -> Any:
        """What ``call`` returns. Raises BrokenProblemError where it draws, or changes its inputs or the modules."""
        given = [value for value in inputs if value is not None]
        kept = [value.clone() for value in given]
        states, kept_modules = random_states(), _modules(self.problem)
        with Trace(self.problem) as trace:
            result = call()
        self.records = trace.records
        if drew := moved(states):
            where = next((one.module for one in trace.records if one.drew), method)
            raise BrokenProblemError("hidden randomness", f"{where} draws from {drew}", DRAWS_REMEDY)
        for name, value in _modules(self.problem).items():
            if name not in kept_modules or not same_bits(value, kept_modules[name]):
                raise BrokenProblemError(
                    "changes itself", f"{name} is another after {method}: {_owner(self.problem, name)}", STATE_REMEDY
                )
        for value, before in zip(given, kept, strict=True):
            if not same_bits(value, before):
                where = next((one.module for one in trace.records if memory(value) in one.overwrote), method)
                what = "the minibatch x" if value is inputs[0] else "the samples z"
                raise BrokenProblemError(
                    "changed in place", f"{where} overwrites {what}", "make a new tensor: x = x - 0.5, not x -= 0.5"
                )
        return result


def _modules(problem: Problem) -> dict[str, Tensor]:
    """Copies of all parameters and buffers by name."""
    roots = (("phi.", problem.phi), ("theta.", problem.theta))
    return {
        prefix + name: value.detach().clone()
        for prefix, root in roots
        for name, value in (*root.named_parameters(), *root.named_buffers())
    }


def _owner(problem: Problem, name: str) -> str:
    root, _, path = name.partition(".")
    module = getattr(problem, root).get_submodule(path.rpartition(".")[0])
    return f"a {type(module).__name__}" + (" in training mode" if module.training else "")


def _terms(
    problem: Problem, x: Tensor | None, z: Tensor, watched: _Watched | None = None, *, held: bool = False
) -> dict[str, Any]:
    """What an objective is made of, by the method that it is from."""

    def run(method: str, call: Callable[[], Any]) -> Any:
        return call() if watched is None else watched.run(method, call, x, z)

    phi, theta = Calls(problem.phi), Calls(problem.theta)
    if held:
        phi, theta = phi.held(), theta.held()
    q = problem.posterior(phi, x)
    found = {f"posterior: {name}": value for name, value in q.parameters.items()}
    found["posterior: log_prob"] = run("posterior: log_prob", lambda: q.log_prob(z))
    if problem.objective == "cost":
        return found | {"cost": run("cost", lambda: problem.cost(z))}
    assert x is not None
    found["log_likelihood"] = run("log_likelihood", lambda: problem.log_likelihood(theta, x, z))
    prior = run("prior", lambda: problem.prior(theta))
    if not callable(getattr(prior, "log_prob", None)):
        raise wrong(
            "prior",
            f"prior returns {type(prior).__name__}, without a log_prob",
            "return a Family, or anything with log_prob(z)",
        )
    found["prior: log_prob"] = run("prior: log_prob", lambda: prior.log_prob(z))
    if has_closed_form_kl(problem, theta, q):
        found["posterior: kl"] = run("posterior: kl", lambda: q.kl(prior))
    return found


def _shapes(terms: dict[str, Any], x: Tensor | None, z: Tensor) -> None:
    """Every term is [R, L, B], and finite; those of latents that the minibatch has in common are [R, L, 1]."""
    wanted = dict.fromkeys(OF_SAMPLES, tuple(z.shape[:3]))
    wanted["log_likelihood"] = (*z.shape[:2], 1 if x is None else x.shape[2])
    for name, value in terms.items():
        if not isinstance(value, Tensor):
            raise wrong("wrong shape", f"{name} returns {type(value).__name__}", "return a tensor [R, L, B]")
        if name in wanted and tuple(value.shape) != wanted[name]:
            raise wrong_shape(name, value, f"[R, L, B] = {list(wanted[name])}", SUMMED)
        if name == "posterior: kl" and (value.ndim != 3 or tuple(value.shape[:2]) != (1, 1)):
            raise wrong_shape(name, value, "[1, 1, B]", SUMMED)
        finite(value, name)


SUMMED = "sum over the features of one datapoint, .sum(-1), and over nothing else"


def _again(point: Point, x: Tensor | None, z: Tensor, watched: _Watched) -> None:
    """The same inputs must give the same values a second time."""
    problem = point.problem
    with Trace(problem) as first:
        before = _terms(problem, x, z)
    with Trace(problem) as second:
        after = _terms(problem, x, z)
    for name in before:
        if not _close(before[name], after[name]):
            where = _first(first, second) or name
            raise BrokenProblemError(
                "hidden randomness",
                f"{where} gives another value for the same input the second time",
                f"{DRAWS_REMEDY}; keep no state in a module",
            )


def _state(point: Point, fresh: Problem, z: Tensor) -> None:
    """What was computed before must not show: at other inputs, a problem gives what a fresh copy of it gives."""
    x = point.x
    if x is not None and point.rows is not None:
        x = point.rows[-x.shape[2] :][None, None].to(x)
    other = z.flip(0, 1)
    with Trace(point.problem) as first:
        used = _terms(point.problem, x, other)
    with Trace(fresh) as second:
        unused = _terms(fresh, x, other)
    for name in used:
        if not _close(used[name], unused[name]):
            where = _first(first, second) or name
            raise BrokenProblemError(
                "keeps state", f"{where} gives what depends on the calls before", "compute from the inputs alone"
            )


def _outside(point: Point, x: Tensor | None, z: Tensor) -> None:
    """With all parameters held by the Calls, nothing is left to differentiate."""
    problem = point.problem
    parameters = problem.named_parameters()
    terms = _terms(problem, x, z, held=True)
    phi, theta = Calls(problem.phi).held(), Calls(problem.theta).held()
    exact = problem.closed_form(phi, theta, x)
    if exact is not None:
        terms["closed_form"] = exact
    for name, value in terms.items():
        if value.requires_grad:
            found = torch.autograd.grad(value.sum(), tuple(parameters.values()), allow_unused=True)
            reached = [key for key, gradient in zip(parameters, found, strict=True) if gradient is not None]
            what = reached[0] if reached else "a tensor that requires a gradient"
            raise BrokenProblemError(
                "parameters outside", f"{name.split(':')[0]} reaches {what} by itself", CALLS_REMEDY
            )


def _rows(point: Point, q: Family, x: Tensor | None, z: Tensor) -> None:
    """What is given samples must treat each by itself.

    The first and the last stay as they are with all others replaced, and the first sample of the first replicate with
    none beside it; no gradient leads from one to another.
    """
    problem = point.problem
    noise = q.noise(REPLICATES, SAMPLES, stream(1, "contract", device=posteriors.device_of(q)))
    drawn = q.held().sample(noise)
    with Trace(problem) as first, torch.no_grad():
        before = _terms(problem, x, z)
    for place in (0, -1):
        other = drawn.clone()
        at = (place, place, place)
        other[at] = z[at]
        with Trace(problem) as second, torch.no_grad():
            after = _terms(problem, x, other)
        for name in OF_SAMPLES & before.keys():
            where = problem.independent_datapoints
            index = at if where else at[:2]
            if not _close(before[name][index], after[name][index], before[name]):
                raise _mixed(_mixing(first, second, place) or name)
    with Trace(problem) as second, torch.no_grad():
        after = _terms(problem, x, z[:1, :1])
    for name in OF_SAMPLES & before.keys():
        if not _close(before[name][:1, :1], after[name], before[name]):
            raise _mixed(_mixing(first, second, 0) or name)
    live = z.clone().requires_grad_()
    terms = _terms(problem, x, live, held=True)
    for name in sorted(OF_SAMPLES & terms.keys()):
        for place in (0, -1):
            value = terms[name][place, place, place]
            if not value.requires_grad:
                continue
            (slope,) = torch.autograd.grad(value, live, retain_graph=True, allow_unused=True)
            if slope is None:
                continue
            scale = float(slope.abs().max())
            rest = slope.clone()
            rest[place, place, place if problem.independent_datapoints else slice(None)] = 0
            if float(rest.abs().max()) > MODEL_TOLERANCE * scale:
                raise _mixed(name)


OF_SAMPLES = frozenset({"posterior: log_prob", "log_likelihood", "prior: log_prob", "cost"})


def _mixing(first: Trace, second: Trace, place: int) -> str | None:
    """The innermost module whose row at ``place`` changed although what it was given there did not."""

    def at(values: tuple[Tensor, ...]) -> list[Tensor]:
        return [value[place] if value.ndim else value for value in values]

    for a, b in first.pairs(second):
        if _all_close(at(a.inputs), at(b.inputs)) and not _all_close(at(a.outputs), at(b.outputs)):
            return a.module
    return None


def _mixed(where: str) -> BrokenProblemError:
    return BrokenProblemError("mixes rows", f"{where}: what it gives for one sample depends on the others", ROWS_REMEDY)


def _first(first: Trace, second: Trace) -> str | None:
    """The innermost module whose output differs between two traces although its inputs are alike."""
    for a, b in first.pairs(second):
        if _all_close(a.inputs, b.inputs) and not _all_close(a.outputs, b.outputs):
            return a.module
    return None


def _paths(point: Point, q: Family) -> None:
    """Replicates have the same gradients one by one, in one batch, together, and read off the layers.

    They are those of an estimator that is right wherever the problem keeps its contract.
    """
    judge = ESTIMATORS[q.judge.estimator]
    for chosen in treatments(point, q):
        task = Task(point, judge, judge.Parameters().model_dump(), SAMPLES, chosen)
        noise = task.noise(REPLICATES, stream(2, "contract", device=point.device))
        plain = loop.loop_gradients(task, noise, REPLICATES)
        for name, value in plain.items():
            finite(value, f"the gradient of {name}")
        everything = torch.cat([value.flatten() for value in plain.values()])
        for path in (_in_one_batch, general.together_gradients, recorded.layer_gradients):
            try:
                found = path(task, noise, REPLICATES)
            except (NeedsLoopError, NeedsGeneralPathError):
                continue
            for name, value in plain.items():
                if not _close(value.mean(0), found[name].mean(0), everything):
                    raise BrokenProblemError(
                        "mixes replicates",
                        f"the gradient of {name} of one replicate alone is not what it is with others",
                        f"{ROWS_REMEDY}; {CALLS_REMEDY}",
                    )


def treatments(point: Point, q: Family) -> list[ChosenObjective]:
    """The problem's own objective with each treatment of the KL that works at the point, the sampled one first."""
    chosen = natural(point.problem)
    closed = has_closed_form_kl(point.problem, Calls(point.problem.theta), q) if chosen.has_theta else False
    kls = chosen.kind.treatments(type(point.problem), point.axes.parameters)
    return [replace(chosen, kl=kl) for kl in reversed(kls) if kl != "analytic" or closed]


def _in_one_batch(task: Task, noise: Noise, replicates: int) -> Gradients:
    """The mean gradient [1, P] from one plain pass, as references and timings take it."""
    return {name: value.detach().flatten()[None] for name, value in task.gradient(noise).items()}


def _all_close(a: Any, b: Any) -> bool:
    return len(a) == len(b) and all(_close(one, other) for one, other in zip(a, b, strict=True))


def _close(a: Tensor, b: Tensor, scale: Tensor | None = None) -> bool:
    if a.shape != b.shape:
        return False
    a, b = a.detach(), b.detach()
    size = max((float(value.abs().max()) for value in (a, b) if value.numel()), default=0.0)
    if scale is not None and scale.numel():
        size = max(size, float(scale.detach().abs().max()))
    return torch.allclose(a.double(), b.double(), rtol=0, atol=MODEL_TOLERANCE * size, equal_nan=True)


def _raise_remedy(text: str) -> str:
    if "more than 1 value per channel" in text:
        return "BatchNorm in training mode cannot take one row: call .eval() on it"
    if "dtype" in text or "Double" in text:
        return "make constants in the precision of their inputs, torch.zeros_like(z): references are found in float64"
    if "size" in text or "shape" in text or "dimension" in text:
        return "shapes are [1, 1, B, features] for x, [R, L, B, *event] for z; a module sees rows [N, features]"
    return "try posterior, prior and log_likelihood alone, with Calls(problem.phi) and Calls(problem.theta)"
