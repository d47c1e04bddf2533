"""Gaussian latents with a full covariance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from gradbench.core.errors import NoClosedFormError
from gradbench.core.seeding import stream
from gradbench.families.bernoulli import Bernoulli
from gradbench.families.full_rank_gaussian import FullRankGaussian
from gradbench.families.gaussian import Gaussian

F64 = torch.float64
LOC, SCALE = [0.5, -1.0], [[0.8, 0.0], [-1.1, 0.4]]


def q_of(loc=LOC, scale=SCALE) -> FullRankGaussian:
    return FullRankGaussian(
        loc=torch.tensor(loc, dtype=F64)[None, None, None], scale_tril=torch.tensor(scale, dtype=F64)[None, None, None]
    )


def test_its_density_is_scipys():
    q = q_of()
    z = q.sample(q.noise(5, 3, stream(0)))
    assert z.shape == (5, 3, 1, 2)
    scale = np.array(SCALE)
    expected = stats.multivariate_normal(LOC, scale @ scale.T).logpdf(z)
    np.testing.assert_allclose(q.log_prob(z).squeeze(-1), expected, rtol=1e-12)
    assert q.event == (2,)


def test_its_path_is_affine_and_has_an_inverse():
    q, noise = q_of(), torch.tensor([1.0, -2.0], dtype=F64)[None, None, None]
    assert q.sample(noise).flatten().tolist() == pytest.approx([0.5 + 0.8, -1.0 - 1.1 - 0.8])
    torch.testing.assert_close(q.noise_of(q.sample(noise)), noise)
    torch.testing.assert_close(q.opposite(noise), -noise)
    uniforms = torch.full_like(noise, 0.2)
    torch.testing.assert_close(torch.special.ndtr(q.from_uniforms(uniforms)), uniforms)


def test_what_stands_above_the_diagonal_is_not_looked_at():
    q, other = q_of(), q_of(scale=[[0.8, 7.0], [-1.1, 0.4]])
    noise = q.noise(3, 1, stream(0))
    z = q.sample(noise)
    torch.testing.assert_close(other.sample(noise), z)
    torch.testing.assert_close(other.log_prob(z), q.log_prob(z))
    torch.testing.assert_close(other.noise_of(z), noise)
    torch.testing.assert_close(other.kl(q), torch.zeros(1, 1, 1, dtype=F64), rtol=0, atol=1e-14)


def test_its_kl_is_the_textbook_one():
    q, covariance = q_of(), np.array(SCALE) @ np.array(SCALE).T
    for scale in ([1.0, 1.0], [0.5, 2.0]):
        diagonal = Gaussian(
            loc=torch.zeros(1, 1, 1, 2, dtype=F64), scale=torch.tensor(scale, dtype=F64)[None, None, None]
        )
        precision = np.diag(1 / np.array(scale) ** 2)
        quadratic = np.trace(precision @ covariance) + np.array(LOC) @ precision @ np.array(LOC) - 2
        expected = 0.5 * (quadratic - np.log(np.linalg.det(precision @ covariance)))
        full = q_of([0.0, 0.0], np.diag(scale).tolist())
        for prior in (diagonal, full):
            assert q.kl(prior).shape == (1, 1, 1)
            assert float(q.kl(prior)) == pytest.approx(expected, rel=1e-12)
    with pytest.raises(NoClosedFormError, match="use kl = 'monte-carlo'"):
        q.kl(Bernoulli(logits=torch.zeros(1, 1, 1, 2, dtype=F64)))


def test_a_diagonal_one_is_the_diagonal_family():
    q = q_of(scale=[[0.8, 0.0], [0.0, 0.4]])
    diagonal = Gaussian(loc=q.parameters["loc"], scale=torch.tensor([0.8, 0.4], dtype=F64)[None, None, None])
    noise = q.noise(4, 2, stream(1))
    torch.testing.assert_close(q.sample(noise), diagonal.sample(noise))
    torch.testing.assert_close(q.log_prob(q.sample(noise)), diagonal.log_prob(q.sample(noise)))


def test_a_grid_has_its_mean_and_covariance():
    q = q_of()
    z, mass = q.grid(48).all()
    mean = (mass[..., None] * z).sum((0, 1, 2))
    away = z[0, :, 0] - mean
    covariance = (mass[0] * away).T @ away
    torch.testing.assert_close(mean, torch.tensor(LOC, dtype=F64), rtol=1e-12, atol=0)
    np.testing.assert_allclose(covariance, np.array(SCALE) @ np.array(SCALE).T, rtol=1e-10)
