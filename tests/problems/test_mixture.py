"""The mixture of Gaussians: its exact gradients beside sums over clusters written out in numpy, and its data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import norm

from gradbench.core.errors import UsageError
from gradbench.core.seeding import stream
from gradbench.objectives.chosen import ChosenObjective
from gradbench.problems.mixture import Mixture
from gradbench.target.exact import exactly
from gradbench.target.points import Point, check_data_rows
from tests.helpers import objective_of, point_of, reference_of_point

CLUSTERS = 5


def point() -> Point:
    one = point_of("mixture", clusters=CLUSTERS, hidden=3, batch=4, start="far")
    with torch.no_grad():  # away from saturated units, and from a q that is sure of one cluster
        for value in one.problem.phi.parameters():
            value.mul_(0.1)
    return one


def arrays(one: Point) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy() for name, value in one.problem.named_parameters().items()}


def by_cluster(one: Point) -> tuple[np.ndarray, ...]:
    """x [B], the tanh units [B, H], q(c|x) and p(x|c) [B, C], π [C], by textbook formulas."""
    assert one.x is not None
    p, x = arrays(one), one.x[0, 0, :, 0].numpy()
    units = np.tanh(x[:, None] * p["phi.encoder.hidden1.weight"][:, 0] + p["phi.encoder.hidden1.bias"])
    q = softmax(units @ p["phi.encoder.output.weight"].T + p["phi.encoder.output.bias"], axis=-1)
    likelihood = norm.pdf(x[:, None], 10 * np.arange(q.shape[1]), 5)
    return x, units, q, likelihood, softmax(p["theta.logits"])


def gradients(one: Point, by_q: np.ndarray, by_log_masses: np.ndarray) -> dict[str, np.ndarray]:
    """Of an objective with the derivatives ``by_q`` in q(c|x) and ``by_log_masses`` in log π_c, each [B, C]."""
    x, units, q, _, masses = by_cluster(one)
    by_logits = q * (by_q - (q * by_q).sum(-1, keepdims=True)) / len(x)
    back = (by_logits @ arrays(one)["phi.encoder.output.weight"]) * (1 - units**2)
    return {
        "phi.encoder.hidden1.weight": (back * x[:, None]).sum(0)[:, None],
        "phi.encoder.hidden1.bias": back.sum(0),
        "phi.encoder.output.weight": by_logits.T @ units,
        "phi.encoder.output.bias": by_logits.sum(0),
        "theta.logits": (by_log_masses - masses * by_log_masses.sum(-1, keepdims=True)).mean(0),
    }


def same(found: dict[str, torch.Tensor], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name].numpy(), value, rtol=1e-9, atol=1e-12, err_msg=name)
        assert np.abs(value).max() > 1e-4


@pytest.mark.parametrize("kl", ["analytic", "monte-carlo"])
def test_the_gradient_of_the_elbo_is_the_sum_over_clusters(kl):
    one = point()
    _, _, q, likelihood, masses = by_cluster(one)
    found = exactly(one, ChosenObjective("elbo", kl), 1)
    assert found is not None
    assert found[0] == "enumeration"
    same(found[1], gradients(one, np.log(likelihood * masses / q) - 1, q))


def test_the_gradient_of_the_bound_of_two_samples_is_the_sum_over_pairs_of_clusters():
    one = point()
    _, _, q, likelihood, masses = by_cluster(one)
    w = likelihood * masses / q
    bound = np.log((w[:, :, None] + w[:, None, :]) / 2)
    share = w[:, :, None] / (w[:, :, None] + w[:, None, :])
    # a sample's weight falls with its q, to which the bound's mean is linear
    by_q = 2 * (q[:, None, :] * bound).sum(-1) - 2 * (q[:, None, :] * share).sum(-1)
    by_log_masses = 2 * q * (q[:, None, :] * share).sum(-1)
    found = exactly(one, objective_of(one, 2), 2)
    assert found is not None
    assert found[0] == "enumeration"
    same(found[1], gradients(one, by_q, by_log_masses))


def test_the_size_of_the_papers_is_enumerated_for_up_to_seven_samples_and_sampled_for_eight():
    """657 800 sets of seven of twenty states; of eight there are more than are summed over."""
    one = point_of("mixture", batch=2)
    assert Mixture.states(one.axes.parameters) == 20
    assert reference_of_point(one, 64, 8).kind == "enumeration"
    assert reference_of_point(one, 64, 8, 2).kind == "enumeration"
    assert reference_of_point(one, 64, 8, 7).kind == "enumeration"
    assert reference_of_point(one, 64, 8, 8).kind == "monte-carlo"


def test_the_data_are_of_the_true_mixture():
    rows = 200_000
    x = Mixture(Mixture.Parameters(), 0, stream(0, "test")).synthesise(rows, stream(1, "test"))
    assert x.shape == (rows, 1)
    masses = np.arange(5, 25) / np.arange(5, 25).sum()
    means = 10 * np.arange(20)
    mean = masses @ means
    variance = masses @ (means - mean) ** 2 + 25
    # 4 standard errors each, error rate 6e-5
    assert abs(float(x.mean()) - mean) < 4 * np.sqrt(variance / rows)
    bins = np.arange(-5.0, 205.0, 10.0)
    found = np.histogram(x.numpy(), bins)[0] / rows
    expected = np.diff((masses * norm.cdf(bins[:, None], means, 5)).sum(-1))
    assert (np.abs(found - expected) < 4.6 * np.sqrt(expected / rows)).all(), "20 bins at a rate of 8e-5 in all"


def test_start_and_encoder_leave_the_data_as_they_are():
    plain, far = point_of("mixture", batch=8), point_of("mixture", batch=8, start="far")
    points = [plain, far, point_of("mixture", batch=8, hidden=4, layers=2)]
    for one in points[1:]:
        assert one.x is not None
        assert points[0].x is not None
        assert torch.equal(one.x, points[0].x)
    assert not arrays(plain)["theta.logits"].any()
    np.testing.assert_array_equal(arrays(far)["theta.logits"], np.arange(19, -1, -1))


def test_the_true_masses_are_where_the_model_wants_to_be():
    """At q = the posterior, and with the true masses, the θ-gradient of many datapoints is their sampling error."""
    one = point_of("mixture", batch=1000)
    assert one.x is not None
    x, masses = one.x[0, 0].numpy(), np.arange(5, 25) / np.arange(5, 25).sum()
    posterior = masses * norm.pdf(x, 10 * np.arange(20), 5)
    posterior /= posterior.sum(-1, keepdims=True)
    assert (np.abs(posterior.mean(0) - masses) < 4.6 * posterior.std(0) / np.sqrt(1000)).all()


def test_rows_of_several_numbers_are_refused():
    with pytest.raises(UsageError, match=r"models one number, and these rows have 3; name one column"):
        check_data_rows(Mixture, Mixture.Parameters(), "file:a.npy", torch.zeros(4, 3))
