"""Both engines on every estimator: the layers path against the general path, in float64 and on the same noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradbench.core.seeding import stream
from gradbench.engine.measure import measure_moments as measure
from gradbench.engine.options import Options
from tests.estimators.trials import SOME


def close(found, expected, scale):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9 * scale)


@SOME
@pytest.mark.parametrize("variance", ["whole", "datapoint"])
def test_both_see_the_same_gradients(trial, variance):
    task = trial.task()
    together = task.estimator.mixes_datapoints or not task.point.problem.independent_datapoints
    apart = not (task.estimator.deterministic or together)
    if variance == "datapoint" and not apart:
        return
    generator = stream(0, "reference")
    reference = {
        name: torch.randn(value.shape, generator=generator, dtype=value.dtype)
        for name, value in task.point.problem.named_parameters().items()
    }
    per_block = 1 if task.estimator.deterministic else 8
    general, found = (
        measure(task, range(3), per_block, reference, options=Options(engine, variance))
        for engine in ("general", "layers")
    )
    assert (general.engine, found.engine) == ("general", "layers")
    for name, means in general.means.items():
        np.testing.assert_allclose(found.means[name], means, rtol=1e-5, atol=1e-9 * np.abs(means).max())
    for group in general.square:
        if variance == "datapoint":
            close(found.by_datapoint[group], general.by_datapoint[group], general.size[group].max())
        else:
            close(found.within([group])[0], general.within([group])[0], general.size[group].max())
