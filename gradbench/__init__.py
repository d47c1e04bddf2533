"""gradbench: bias and variance of ELBO gradient estimators, with error bars, against exact gradients.

``import gradbench as gb`` is all that plugins, notebooks and tests of plugins need; the modules behind it may move.
Names are imported when they are first asked for: the import alone takes neither torch nor pandas.
"""

from typing import TYPE_CHECKING

from gradbench.core.lazy import lazy
from gradbench.core.version import VERSION

if TYPE_CHECKING:
    import gradbench.testing  # noqa: F401  the module itself, as gb.testing
    from gradbench.checking.kinds import check
    from gradbench.core.errors import (
        ContractError,
        GradbenchError,
        MeasurementError,
        NoClosedFormError,
        PluginError,
        RunError,
        UnknownNameError,
        UsageError,
    )
    from gradbench.core.types import Latents, Noise, PerSample, Values, hold, live
    from gradbench.estimators import ESTIMATORS
    from gradbench.estimators.base import (
        Estimator,
        EstimatorParameters,
        Evaluations,
        Factor,
        Setting,
        differentiated,
        held,
        needs_log_q,
        needs_pairs,
    )
    from gradbench.estimators.draws import NOTHING, PAIRS, SAMPLES, Draws
    from gradbench.estimators.scope import Scope, Unbiased, unbiased
    from gradbench.families import FAMILIES
    from gradbench.families.base import Family, Use
    from gradbench.families.bernoulli import Bernoulli
    from gradbench.families.beta import Beta
    from gradbench.families.categorical import Categorical
    from gradbench.families.dirichlet import Dirichlet
    from gradbench.families.full_rank_gaussian import FullRankGaussian
    from gradbench.families.gamma import Gamma
    from gradbench.families.gaussian import Gaussian
    from gradbench.families.layered import Layered
    from gradbench.families.poisson import Poisson
    from gradbench.families.support import Support, along_path, digits
    from gradbench.families.von_mises import VonMises
    from gradbench.families.weak import WeakDerivative, replaced
    from gradbench.losses.measuring import measure
    from gradbench.losses.results_of_losses import MeasuredLosses
    from gradbench.losses.tracker import Tracker
    from gradbench.objectives import OBJECTIVES
    from gradbench.objectives.base import Objective, ObjectiveParameters, average, has_closed_form_kl
    from gradbench.objectives.chosen import ChosenObjective
    from gradbench.objectives.elbo import model_needed
    from gradbench.problems import PROBLEMS
    from gradbench.problems.base import Free, ModelParameters, Problem, ProblemParameters, Small, linear, mlp
    from gradbench.problems.networks import Calls
    from gradbench.report.picture import draw_what_moves
    from gradbench.report.plots import plot
    from gradbench.results.columns import CSV_TYPES
    from gradbench.results.compare import compare_runs, rank
    from gradbench.results.store import load, load_run
    from gradbench.testing import assert_less_variance, assert_unbiased

__version__ = VERSION

_WHERE: dict[str, str] = {
    # an estimator
    "Estimator": "gradbench.estimators.base",
    "EstimatorParameters": "gradbench.estimators.base",
    "Factor": "gradbench.estimators.base",
    "held": "gradbench.estimators.base",
    "differentiated": "gradbench.estimators.base",
    "Setting": "gradbench.estimators.base",
    "needs_log_q": "gradbench.estimators.base",
    "needs_pairs": "gradbench.estimators.base",
    "Evaluations": "gradbench.estimators.base",
    "Draws": "gradbench.estimators.draws",
    "SAMPLES": "gradbench.estimators.draws",
    "PAIRS": "gradbench.estimators.draws",
    "NOTHING": "gradbench.estimators.draws",
    "Scope": "gradbench.estimators.scope",
    "Unbiased": "gradbench.estimators.scope",
    "unbiased": "gradbench.estimators.scope",
    "hold": "gradbench.core.types",
    "live": "gradbench.core.types",
    # a problem
    "Problem": "gradbench.problems.base",
    "ProblemParameters": "gradbench.problems.base",
    "ModelParameters": "gradbench.problems.base",
    "Small": "gradbench.problems.base",
    "Free": "gradbench.problems.base",
    "linear": "gradbench.problems.base",
    "mlp": "gradbench.problems.base",
    "Calls": "gradbench.problems.networks",
    # a family
    "Family": "gradbench.families.base",
    "Use": "gradbench.families.base",
    "Gaussian": "gradbench.families.gaussian",
    "Bernoulli": "gradbench.families.bernoulli",
    "Categorical": "gradbench.families.categorical",
    "Gamma": "gradbench.families.gamma",
    "FullRankGaussian": "gradbench.families.full_rank_gaussian",
    "Beta": "gradbench.families.beta",
    "Dirichlet": "gradbench.families.dirichlet",
    "VonMises": "gradbench.families.von_mises",
    "Poisson": "gradbench.families.poisson",
    "Layered": "gradbench.families.layered",
    "Support": "gradbench.families.support",
    "along_path": "gradbench.families.support",
    "digits": "gradbench.families.support",
    "WeakDerivative": "gradbench.families.weak",
    "replaced": "gradbench.families.weak",
    # an objective
    "Objective": "gradbench.objectives.base",
    "ObjectiveParameters": "gradbench.objectives.base",
    "average": "gradbench.objectives.base",
    "has_closed_form_kl": "gradbench.objectives.base",
    "ChosenObjective": "gradbench.objectives.chosen",
    "model_needed": "gradbench.objectives.elbo",
    # shapes
    "Latents": "gradbench.core.types",
    "Noise": "gradbench.core.types",
    "PerSample": "gradbench.core.types",
    "Values": "gradbench.core.types",
    # what there is, by name
    "ESTIMATORS": "gradbench.estimators",
    "PROBLEMS": "gradbench.problems",
    "FAMILIES": "gradbench.families",
    "OBJECTIVES": "gradbench.objectives",
    # checks
    "check": "gradbench.checking.kinds",
    "assert_unbiased": "gradbench.testing",
    "assert_less_variance": "gradbench.testing",
    # losses as they are
    "measure": "gradbench.losses.measuring",
    "MeasuredLosses": "gradbench.losses.results_of_losses",
    "Tracker": "gradbench.losses.tracker",
    # results
    "load": "gradbench.results.store",
    "CSV_TYPES": "gradbench.results.columns",
    "load_run": "gradbench.results.store",
    "compare_runs": "gradbench.results.compare",
    "rank": "gradbench.results.compare",
    # figures
    "plot": "gradbench.report.plots",
    # pictures
    "draw_what_moves": "gradbench.report.picture",
    # errors
    "GradbenchError": "gradbench.core.errors",
    "UsageError": "gradbench.core.errors",
    "UnknownNameError": "gradbench.core.errors",
    "PluginError": "gradbench.core.errors",
    "RunError": "gradbench.core.errors",
    "MeasurementError": "gradbench.core.errors",
    "ContractError": "gradbench.core.errors",
    "NoClosedFormError": "gradbench.core.errors",
}
"""Each public name, with the module that has it."""

if not TYPE_CHECKING:  # which would take any name for one of the package's
    __getattr__, __dir__ = lazy(__name__, _WHERE, ("testing",))

__all__ = [
    "CSV_TYPES",
    "ESTIMATORS",
    "FAMILIES",
    "NOTHING",
    "OBJECTIVES",
    "PAIRS",
    "PROBLEMS",
    "SAMPLES",
    "Bernoulli",
    "Beta",
    "Calls",
    "Categorical",
    "ChosenObjective",
    "ContractError",
    "Dirichlet",
    "Draws",
    "Estimator",
    "EstimatorParameters",
    "Evaluations",
    "Factor",
    "Family",
    "Free",
    "FullRankGaussian",
    "Gamma",
    "Gaussian",
    "GradbenchError",
    "Latents",
    "Layered",
    "MeasuredLosses",
    "MeasurementError",
    "ModelParameters",
    "NoClosedFormError",
    "Noise",
    "Objective",
    "ObjectiveParameters",
    "PerSample",
    "PluginError",
    "Poisson",
    "Problem",
    "ProblemParameters",
    "RunError",
    "Scope",
    "Setting",
    "Small",
    "Support",
    "Tracker",
    "Unbiased",
    "UnknownNameError",
    "UsageError",
    "Use",
    "Values",
    "VonMises",
    "WeakDerivative",
    "__version__",
    "along_path",
    "assert_less_variance",
    "assert_unbiased",
    "average",
    "check",
    "compare_runs",
    "differentiated",
    "digits",
    "draw_what_moves",
    "has_closed_form_kl",
    "held",
    "hold",
    "linear",
    "live",
    "load",
    "load_run",
    "measure",
    "mlp",
    "model_needed",
    "needs_log_q",
    "needs_pairs",
    "plot",
    "rank",
    "replaced",
    "unbiased",
]
