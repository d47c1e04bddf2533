"""The estimators. To add one: one file here, and one line below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradbench.core.registry import Registry

if TYPE_CHECKING:
    from gradbench.estimators.base import Estimator

ESTIMATORS: Registry[Estimator] = Registry(
    "estimator",
    __name__,
    {
        "fixed-sample": "controls.fixed_sample:ESTIMATOR",
        "double-counted": "controls.double_counted:ESTIMATOR",
        "exact": "discrete.exact:ESTIMATOR",
        "score-function": "score.score_function:ESTIMATOR",
        "score-function-loo": "score.score_function_loo:ESTIMATOR",
        "score-function-ema": "score.score_function_ema:ESTIMATOR",
        "score-function-learned": "score.score_function_learned:ESTIMATOR",
        "score-function-optimal": "score.score_function_optimal:ESTIMATOR",
        "measure-valued": "score.measure_valued:ESTIMATOR",
        "lax": "score.lax:ESTIMATOR",
        "pathwise": "pathwise.pathwise:ESTIMATOR",
        "pathwise-antithetic": "pathwise.pathwise_antithetic:ESTIMATOR",
        "sticking-the-landing": "pathwise.sticking_the_landing:ESTIMATOR",
        "generalized-reparam": "pathwise.generalized_reparam:ESTIMATOR",
        "rejection-reparam": "pathwise.rejection_reparam:ESTIMATOR",
        "iwae-pathwise": "bounds.iwae_pathwise:ESTIMATOR",
        "iwae-score": "bounds.iwae_score:ESTIMATOR",
        "vimco-arithmetic": "bounds.vimco_arithmetic:ESTIMATOR",
        "vimco-geometric": "bounds.vimco_geometric:ESTIMATOR",
        "iwae-stl": "bounds.iwae_stl:ESTIMATOR",
        "iwae-dreg": "bounds.iwae_dreg:ESTIMATOR",
        "ovis-mc": "bounds.ovis_mc:ESTIMATOR",
        "ovis-asymptotic": "bounds.ovis_asymptotic:ESTIMATOR",
        "rws-wake-phi": "bounds.rws_wake_phi:ESTIMATOR",
        "rws-dreg": "bounds.rws_dreg:ESTIMATOR",
        "disarm": "discrete.disarm:ESTIMATOR",
        "muprop": "discrete.muprop:ESTIMATOR",
        "rebar": "discrete.rebar:ESTIMATOR",
        "relax": "discrete.relax:ESTIMATOR",
        "double-cv": "discrete.double_cv:ESTIMATOR",
        "rodeo": "discrete.rodeo:ESTIMATOR",
        "gumbel-softmax": "discrete.gumbel_softmax:ESTIMATOR",
    },
)
