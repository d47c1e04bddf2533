"""Passes are planned from what an estimator evaluates."""

from __future__ import annotations

from dataclasses import replace

from gradbench.engine.passes import replicates_at_once
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.base import Evaluations
from tests.helpers import point_of, task_of

POINT = {"hidden": 200, "latent": 20, "batch": 16}


def test_a_pass_takes_fewer_replicates_of_an_estimator_that_evaluates_more():
    point = point_of("gaussian-vae", **POINT)
    plain = ESTIMATORS["pathwise"]
    many = replace(plain, evaluations=lambda setting: 50.0 * setting.samples)
    gradients = replace(plain, evaluations=lambda setting: Evaluations(setting.samples, 49.0 * setting.samples))
    few = [replicates_at_once(task_of(point, one, 2)) for one in (many, gradients)]
    assert few[0] == few[1]
    assert 20 * few[0] < replicates_at_once(task_of(point, plain, 2))


def test_an_estimator_that_evaluates_less_than_its_samples_keeps_their_activations():
    point = point_of("gaussian-vae", **POINT)
    less = replace(ESTIMATORS["pathwise"], evaluations=lambda setting: 1.0)
    assert replicates_at_once(task_of(point, less, 8)) == replicates_at_once(task_of(point, ESTIMATORS["pathwise"], 8))


def test_noise_beside_the_samples_counts_where_it_is_more_than_their_activations():
    point = point_of("sigmoid-belief", latent=200, batch=50)
    one, few, many = (
        replicates_at_once(task_of(point, "gumbel-rao", 1, inner_samples=count)) for count in (1, 50, 200)
    )
    assert one == replicates_at_once(task_of(point, "straight-through", 1))
    assert one > 6 * few
    assert many * 201 * 200 * 50 * 8 < 2**25 + 201 * 200 * 50 * 8
