"""From blocks to figures: bias, variance and mean squared error, each with its interval, and verdicts.

Everything follows from K independent blocks. ``parts`` has the variance and what it is made of, ``spread`` its
interval, ``bias`` the debiased ‖bias‖² and the interval of ‖bias‖, ``no_bias`` its test, by sign flips (``signflip``),
``equal`` what was not seen to vary, ``verdict`` what is said of a run after correcting for the number of its rows,
``figures`` puts them together for one cell. Each is imported when a name of it is first asked for: to correct the
verdicts of a kept run takes none of the engine.
"""

from typing import TYPE_CHECKING

from gradbench.core.lazy import lazy

if TYPE_CHECKING:
    from gradbench.statistics.bias import Bias as Bias
    from gradbench.statistics.bias import bias_of as bias_of
    from gradbench.statistics.figures import Figures as Figures
    from gradbench.statistics.figures import summarise as summarise
    from gradbench.statistics.levels import ALPHA as ALPHA
    from gradbench.statistics.levels import LEVEL as LEVEL
    from gradbench.statistics.levels import MARGIN as MARGIN
    from gradbench.statistics.no_bias import no_bias_p as no_bias_p
    from gradbench.statistics.parts import block_variances as block_variances
    from gradbench.statistics.signflip import sign_flip_p as sign_flip_p
    from gradbench.statistics.signflip import smallest_p as smallest_p
    from gradbench.statistics.spread import log_interval as log_interval
    from gradbench.statistics.spread import signed_interval as signed_interval
    from gradbench.statistics.spread import skewed_interval as skewed_interval
    from gradbench.statistics.spread import sum_interval as sum_interval
    from gradbench.statistics.verdict import blocks_needed as blocks_needed
    from gradbench.statistics.verdict import holm as holm
    from gradbench.statistics.verdict import replicates_needed as replicates_needed
    from gradbench.statistics.verdict import verdict_families as verdict_families
    from gradbench.statistics.verdict import verdicts as verdicts

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Bias": "gradbench.statistics.bias",
        "bias_of": "gradbench.statistics.bias",
        "Figures": "gradbench.statistics.figures",
        "summarise": "gradbench.statistics.figures",
        "ALPHA": "gradbench.statistics.levels",
        "LEVEL": "gradbench.statistics.levels",
        "MARGIN": "gradbench.statistics.levels",
        "no_bias_p": "gradbench.statistics.no_bias",
        "block_variances": "gradbench.statistics.parts",
        "sign_flip_p": "gradbench.statistics.signflip",
        "smallest_p": "gradbench.statistics.signflip",
        "log_interval": "gradbench.statistics.spread",
        "signed_interval": "gradbench.statistics.spread",
        "skewed_interval": "gradbench.statistics.spread",
        "sum_interval": "gradbench.statistics.spread",
        "blocks_needed": "gradbench.statistics.verdict",
        "verdict_families": "gradbench.statistics.verdict",
        "holm": "gradbench.statistics.verdict",
        "replicates_needed": "gradbench.statistics.verdict",
        "verdicts": "gradbench.statistics.verdict",
    },
)
