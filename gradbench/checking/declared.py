"""Whether the samples of q that an estimator declares to draw are samples of q.

The test of bias takes their score for a number of mean 0. Were they of another law, an estimator would be measured
against a bias of our own making.
"""

from __future__ import annotations

import torch

from gradbench.checking import laws
from gradbench.checking.violation import BrokenError
from gradbench.core.errors import BrokenProblemError
from gradbench.core.seeding import stream
from gradbench.engine.task import Task
from gradbench.estimators.draws import SAMPLES

DECLARED_REMEDY = (
    "latents(q, noise) gives the L independent samples of q in the noise, [R, L, B, *event]; else leave it out"
)


def samples_of_q(task: Task) -> None:
    """Raise BrokenError where what a law of the estimator's own declares as samples of q is not.

    The first and the last of the L samples of the first datapoint are looked at; of layers, none.
    """
    draws, q = task.estimator.draws, task.held_q
    if draws.latents is None or draws is SAMPLES:
        return
    try:
        one = q.mapped(lambda value: value[:1, :1, :1])
    except NotImplementedError:
        return
    generator = stream(0, "declared", device=task.point.device)
    with torch.no_grad():
        z = draws.latents(one, draws.noise(one, laws.DRAWS, task.samples, generator, *task.given))
        wanted = (laws.DRAWS, task.samples, 1, *one.event)
        if tuple(z.shape) != wanted:
            raise BrokenError(
                "declared samples", f"latents gives {list(z.shape)}, expected {list(wanted)}", DECLARED_REMEDY
            )
        for place in (0, -1):
            try:
                laws.check_samples(one, z[:, place, None])
            except BrokenProblemError as fault:
                raise BrokenError(
                    "declared samples", f"latents gives no samples of q: {fault.seen}", DECLARED_REMEDY
                ) from fault
