"""The estimators. To add one: one file here, and one line below."""

from __future__ import annotations

from gradbench.estimators import (
    disarm,
    double_counted,
    exact,
    fixed_sample,
    gumbel_softmax,
    iwae_dreg,
    iwae_pathwise,
    pathwise,
    pathwise_antithetic,
    score_function,
    score_function_learned,
    score_function_loo,
    sticking_the_landing,
)
from gradbench.estimators.base import Estimator

ESTIMATORS: dict[str, Estimator] = {
    estimator.name: estimator
    for estimator in (
        fixed_sample.ESTIMATOR,
        double_counted.ESTIMATOR,
        exact.ESTIMATOR,
        score_function.ESTIMATOR,
        score_function_loo.ESTIMATOR,
        score_function_learned.ESTIMATOR,
        pathwise.ESTIMATOR,
        pathwise_antithetic.ESTIMATOR,
        sticking_the_landing.ESTIMATOR,
        iwae_pathwise.ESTIMATOR,
        iwae_dreg.ESTIMATOR,
        disarm.ESTIMATOR,
        gumbel_softmax.ESTIMATOR,
    )
}
