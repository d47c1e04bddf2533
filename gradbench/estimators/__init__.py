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
        "implicit": "pathwise.implicit:ESTIMATOR",
        "pathwise-antithetic": "pathwise.pathwise_antithetic:ESTIMATOR",
        "pathwise-qmc": "pathwise.pathwise_qmc:ESTIMATOR",
        "pathwise-hvp-cv": "pathwise.pathwise_hvp_cv:ESTIMATOR",
        "pathwise-quadratic-cv": "pathwise.pathwise_quadratic_cv:ESTIMATOR",
        "zv-cv": "pathwise.zv_cv:ESTIMATOR",
        "sticking-the-landing": "pathwise.sticking_the_landing:ESTIMATOR",
        "generalized-reparam": "pathwise.generalized_reparam:ESTIMATOR",
        "rejection-reparam": "pathwise.rejection_reparam:ESTIMATOR",
        "r2g2": "pathwise.r2g2:ESTIMATOR",
        "joint-cv": "pathwise.joint_cv:ESTIMATOR",
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
        "iwae-gdreg": "bounds.iwae_gdreg:ESTIMATOR",
        "vr-iwae-rep": "bounds.vr_iwae_rep:ESTIMATOR",
        "vr-iwae-drep": "bounds.vr_iwae_drep:ESTIMATOR",
        "arm": "discrete.arm:ESTIMATOR",
        "disarm": "discrete.disarm:ESTIMATOR",
        "arms": "discrete.arms:ESTIMATOR",
        "bitflip": "discrete.bitflip:ESTIMATOR",
        "ugc": "discrete.ugc:ESTIMATOR",
        "stochastic-triple": "discrete.stochastic_triple:ESTIMATOR",
        "disarm-categorical": "discrete.disarm_categorical:ESTIMATOR",
        "carms": "discrete.carms:ESTIMATOR",
        "arsm": "discrete.arsm:ESTIMATOR",
        "local-expectation": "discrete.local_expectation:ESTIMATOR",
        "indecater": "discrete.indecater:ESTIMATOR",
        "unordered-set": "discrete.unordered_set:ESTIMATOR",
        "rao-blackwell": "discrete.rao_blackwell:ESTIMATOR",
        "gumbel-softmax": "discrete.gumbel_softmax:ESTIMATOR",
        "straight-through": "discrete.straight_through:ESTIMATOR",
        "st-gumbel-softmax": "discrete.st_gumbel_softmax:ESTIMATOR",
        "gumbel-rao": "discrete.gumbel_rao:ESTIMATOR",
        "gapped-st": "discrete.gapped_st:ESTIMATOR",
        "reinmax": "discrete.reinmax:ESTIMATOR",
        "reinmax-cv": "discrete.reinmax_cv:ESTIMATOR",
        "reinmax-rao": "discrete.reinmax_rao:ESTIMATOR",
    },
)
