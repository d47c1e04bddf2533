"""float32 against float64 on the same noise, where the variance is a hundred-thousandth of the squared mean."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gradbench.engine.measure import measure_moments as measure
from gradbench.engine.options import Options
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.draws import own
from gradbench.statistics import summarise
from gradbench.target.reference import Reference
from tests.helpers import F64, point_of, task_of


def same_noise(q, replicates, samples, generator):
    """Drawn in float64 and rounded to float32, whatever the precision of q: float32 would draw other numbers."""
    return (
        q.mapped(lambda value: value.to(F64))
        .noise(replicates, samples, generator)
        .float()
        .to(next(iter(q.parameters.values())).dtype)
    )


NARROW = 5.2
"""How much less the log scale of q is: its noise moves the gradient by some three thousandths of itself."""

PATHWISE = replace(ESTIMATORS["pathwise"], draws=own(same_noise))


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("variance", ["datapoint", "whole"])
@pytest.mark.parametrize("engine", ["layers", "general"])
def test_the_variance_is_right_to_a_percent_in_float32(engine, variance, samples):
    # wide enough for Gram matrices to be the cheaper way, in which the loss of digits lies
    point = point_of("gaussian-vae", hidden=48, latent=4, batch=3)
    with torch.no_grad():
        point.problem.phi.get_parameter("encoder.output.bias")[4:] -= NARROW
    point = point.to(torch.float32)
    figures = {}
    for dtype in (F64, torch.float32):
        task = task_of(point.to(dtype), PATHWISE, samples)
        any_ = {name: value.detach().double() for name, value in task.point.problem.named_parameters().items()}
        reference = Reference("closed-form", any_)
        moments = measure(task, range(4), 32, reference.gradient, options=Options(engine, variance))
        assert moments.engine == engine
        assert bool(moments.by_datapoint) == (variance == "datapoint")
        size = {group: value.sum() / moments.replicates for group, value in moments.size.items()}
        figures[dtype] = summarise(moments, reference, torch.finfo(dtype).eps)
    ratios = {group: one.variance / size[group] for group, one in figures[F64].items()}
    assert 3e-6 < ratios["all"] < 3e-5
    for group, exact in figures[F64].items():
        found = figures[torch.float32][group]
        assert found.variance == pytest.approx(exact.variance, rel=0.01), (group, ratios[group])
        assert found.variance_low == pytest.approx(exact.variance_low, rel=0.01)
        assert found.variance_high == pytest.approx(exact.variance_high, rel=0.01)
