"""Whether a posterior is what its problem says: its family, its layers, the shapes of its parameters and samples."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradbench.core.errors import BrokenProblemError
from gradbench.core.seeding import stream
from gradbench.families import FAMILIES
from gradbench.families.base import Family, states_of
from gradbench.families.support import number_of
from gradbench.target.points import Point

REPLICATES, SAMPLES = 2, 2


def posterior_samples(point: Point, q: Any, x: Tensor | None) -> Tensor:
    """Samples of q [R, L, B, *event], held. Raises BrokenProblemError where q is not what it says."""
    problem = point.problem
    if not isinstance(q, Family):
        known = ", ".join(FAMILIES)
        raise wrong("posterior", f"posterior returns {type(q).__name__}", f"return a Family ({known}), or Layered")
    for name, value in q.parameters.items():
        finite(value, f"posterior: {name}")
        if value.ndim < 4 or value.shape[1] != 1:
            raise wrong_shape(f"posterior: {name}", value, "[1, 1, B, *event]", "keep the axes that phi.call gives")
    batch = 1 if x is None else x.shape[2]
    noise = q.noise(REPLICATES, SAMPLES, stream(0, "contract", device=device_of(q)))
    parts = q.chain(noise)
    _as_declared(point, q, [one for one, _ in parts])
    z = q.sample(noise)
    own = z.shape[2] if not problem.independent_datapoints else batch
    if tuple(z.shape[:3]) != (REPLICATES, SAMPLES, own) or z.ndim < 4:
        wanted = f"[{REPLICATES}, {SAMPLES}, {own}, *event] for R, L, B = {REPLICATES}, {SAMPLES}, {batch}"
        raise wrong_shape("posterior: a sample", z, wanted, "sample and noise keep the axes R, L, B first")
    for one, part in parts:
        if part.shape[3:] != one.event:
            wanted = f"[R, L, B, {', '.join(map(str, one.event))}], as its parameters say"
            remedy = "a law that draws more than its parameters tell is Layered, or says its own event"
            raise wrong_shape("posterior: a sample", part, wanted, remedy)
    finite(z, "posterior: a sample")
    held = q.held()
    if held.log_prob(z.detach()).requires_grad or held.sample(noise).requires_grad:
        remedy = "pass every tensor of it on to __init__ as a parameter: super().__init__(loc=loc, scale=scale, …)"
        if len(parts) > 1:
            remedy = "reach the parameters of each layer through the calls that its function is given"
        raise wrong("posterior", f"{type(q).__name__}.held() leaves parameters that are differentiated", remedy)
    return z.detach()


def _as_declared(point: Point, q: Family, conditionals: list[Family]) -> None:
    """The posterior has the family, the layers and the number of states that its problem declares."""
    problem = point.problem
    layers = problem.layers(point.axes.parameters)
    if len(conditionals) != layers:
        raise wrong(
            "posterior",
            f"posterior has {len(conditionals)} layer{'s' * (len(conditionals) != 1)} of latents; "
            f"the class says {layers}",
            "declare what posterior returns: layers(cls, parameters)",
        )
    for number, one in enumerate(conditionals, 1):
        if one.name != problem.family:
            what = "posterior returns" if layers == 1 else f"layer {number} of posterior is"
            raise wrong(
                "posterior",
                f"{what} a {type(one).__name__}, of family {one.name!r}; the class says {problem.family!r}",
                "declare the family of what posterior returns" + (", one for all layers" if layers > 1 else ""),
            )
    support, states = states_of(q), problem.states(point.axes.parameters)
    if support is not None and support.size != states:
        raise wrong(
            "posterior",
            f"posterior has {number_of(support.size)} states; the class says {number_of(states)}",
            "declare how many there are: states(cls, parameters), and latent_dim(cls, parameters)",
        )


def device_of(q: Family) -> torch.device:
    """Where its parameters are."""
    return next(iter(q.parameters.values())).device


def wrong(kind: str, seen: str, remedy: str) -> BrokenProblemError:
    """A broken promise of a problem."""
    return BrokenProblemError(kind, seen, remedy)


def wrong_shape(name: str, value: Tensor, wanted: str, remedy: str) -> BrokenProblemError:
    """A tensor of a shape that was not expected."""
    return BrokenProblemError("wrong shape", f"{name} is {list(value.shape)}, expected {wanted}", remedy)


def finite(value: Tensor, what: str) -> None:
    """Raise BrokenProblemError where a value is NaN or infinite."""
    if not torch.isfinite(value).all():
        raise BrokenProblemError(
            "not finite", f"{what} is NaN or infinite", "look for a log or a division at 0, or an exp that overflows"
        )
