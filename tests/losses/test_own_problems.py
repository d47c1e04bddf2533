"""Plain torch losses of models that are problems here: figures are those of the estimator, within intervals."""

from __future__ import annotations

import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

import gradbench as gb
from gradbench import statistics
from gradbench.engine.measure import measure_moments
from tests.helpers import F64, point_of, reference_of_point, task_of


def test_the_pathwise_gradient_of_a_gaussian_vae():
    point = point_of("gaussian-vae", hidden=4, latent=2, batch=3)
    encoder, decoder = point.problem.phi.get_submodule("encoder"), point.problem.theta.get_submodule("decoder")
    assert point.x is not None
    x = point.x[0, 0]

    def loss() -> torch.Tensor:
        mean, log_scale = encoder(x).chunk(2, -1)
        q = Normal(mean, log_scale.exp())
        fit = Bernoulli(logits=decoder(q.rsample())).log_prob(x).sum(-1)
        return (kl_divergence(q, Normal(torch.zeros((), dtype=F64), 1.0)).sum(-1) - fit).mean()

    exact = reference_of_point(point)
    assert exact.exact
    parameters = {"phi": point.problem.phi, "theta": point.problem.theta}
    down = {name: -value for name, value in exact.gradient.items()}
    found = gb.measure({"loss": loss}, parameters, reference=down, replicates=2048, timed=False)
    moments = measure_moments(task_of(point, "pathwise"), range(32), 64, exact.gradient)
    own = statistics.summarise(moments, exact, torch.finfo(F64).eps)
    rows = found.frame.set_index("group")
    assert set(rows.index) == set(own)
    assert not (rows.verdict == "biased").any()
    for group, figures in own.items():
        row = rows.loc[group]
        assert abs(row.gradient_norm - figures.gradient_norm) <= 1e-9 * figures.gradient_norm
        assert row.variance_low <= figures.variance_high, group
        assert figures.variance_low <= row.variance_high, group
    wrong = gb.measure({"loss": loss}, parameters, reference=exact.gradient, replicates=512, timed=False)
    assert wrong.row("loss").verdict == "biased"
