"""Whether the samples of q that an estimator declares to draw are samples of q, independent where it says so.

The test of bias takes functions of them for numbers of mean 0. Were they of another law, an estimator would be measured
against a bias of our own making.
"""

from __future__ import annotations

import math

import torch
from scipy.special import stdtrit

from gradbench.checking import laws
from gradbench.checking.violation import BrokenError
from gradbench.core.errors import BrokenProblemError
from gradbench.core.seeding import stream
from gradbench.engine.features import Features
from gradbench.engine.passes import replicates_at_once
from gradbench.engine.task import Task
from gradbench.estimators.draws import SAMPLES

DECLARED_REMEDY = (
    "latents(q, noise) gives samples of q that are in the noise, [R, any, B, *event]; else leave it out; "
    "say coupled=True where they depend on one another"
)
BLOCKS, PER_BLOCK = 64, 64
"""Blocks of replicates on which the mean of what must have mean 0 is looked at."""
MEAN_FALSE_ALARMS = 1e-7
"""The chance that right samples are refused for it, at most, in all their features together."""


def samples_of_q(task: Task) -> None:
    """Raise BrokenError where what a law of the estimator's own declares as samples of q is not.

    The first and the last sample of the first datapoint are looked at; of layers, none. Of samples with weights, only
    what has mean 0 for such.
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
        if z.dim() < 3 or z.shape[1] < 1 or (z.shape[0], *z.shape[2:]) != (laws.DRAWS, 1, *one.event):
            wanted = [laws.DRAWS, "any", 1, *one.event]
            raise BrokenError(
                "declared samples",
                f"latents gives {list(z.shape)}, expected [{', '.join(map(str, wanted))}]",
                DECLARED_REMEDY,
            )
        for place in () if draws.weights else (0, -1):
            try:
                laws.check_samples(one, z[:, place, None])
            except BrokenProblemError as fault:
                raise BrokenError(
                    "declared samples", f"latents gives no samples of q: {fault.seen}", DECLARED_REMEDY
                ) from fault
    _features_have_mean_zero(task)


def _features_have_mean_zero(task: Task) -> None:
    """Raise BrokenError where what the test of bias takes for numbers of mean 0 has another mean, by t tests."""
    features = Features(task)
    scales = features.scales(task.noise(PER_BLOCK, stream(0, "features", device=task.point.device)))
    rows: list[dict[str, torch.Tensor]] = []
    step = max(1, min(replicates_at_once(task), PER_BLOCK))
    for block in range(BLOCKS):
        generator = stream(block, "features", device=task.point.device)
        total: dict[str, torch.Tensor] = {}
        for start in range(0, PER_BLOCK, step):
            count = min(step, PER_BLOCK - start)
            for name, value in features(task.noise(count, generator)).items():
                total[name] = total.get(name, 0) + value.double().sum(1)
        rows.append(total)
    for name in rows[0]:
        means = torch.stack([row[name] for row in rows]).flatten(1)
        error = means.std(0) / math.sqrt(BLOCKS)
        away = (means.mean(0).abs() / error.clamp_min(torch.finfo(error.dtype).tiny)).nan_to_num()
        scale = (scales[name].double().flatten() * torch.finfo(scales[name].dtype).eps).sqrt() * PER_BLOCK
        away = torch.where(means.mean(0).abs() <= scale, 0.0, away)  # where its terms cancel, it is its own rounding
        if float(away.max()) > -float(stdtrit(BLOCKS - 1, MEAN_FALSE_ALARMS / 2 / means.shape[1])):
            raise BrokenError(
                "declared samples",
                f"the samples that latents gives are not independent, or not of q: what has mean 0 for such is "
                f"{float(away.max()):.3g} standard errors off",
                DECLARED_REMEDY,
            )
