"""From blocks to figures: bias, variance and mean squared error, each with its interval, and verdicts.

Everything follows from K independent blocks. ``parts`` has the variance and what it is made of, ``spread`` its
interval, ``bias`` the debiased ‖bias‖² and the interval of ‖bias‖, ``no_bias`` its test, by sign flips (``signflip``),
``equal`` what was not seen to vary, ``verdict`` what is said of a run after correcting for the number of its rows,
``figures`` puts them together for one cell.
"""

from gradbench.statistics.bias import Bias, bias_of
from gradbench.statistics.figures import Figures, summarise
from gradbench.statistics.levels import ALPHA, LEVEL, MARGIN
from gradbench.statistics.no_bias import no_bias_p
from gradbench.statistics.parts import Parts, block_variances, parts
from gradbench.statistics.signflip import sign_flip_p, smallest_p
from gradbench.statistics.spread import log_interval, signed_interval, skewed_interval, sum_interval
from gradbench.statistics.verdict import blocks_needed, families, holm, replicates_needed, verdicts

__all__ = [
    "ALPHA",
    "LEVEL",
    "MARGIN",
    "Bias",
    "Figures",
    "Parts",
    "bias_of",
    "block_variances",
    "blocks_needed",
    "families",
    "holm",
    "log_interval",
    "no_bias_p",
    "parts",
    "replicates_needed",
    "sign_flip_p",
    "signed_interval",
    "skewed_interval",
    "smallest_p",
    "sum_interval",
    "summarise",
    "verdicts",
]
