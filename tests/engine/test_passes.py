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
