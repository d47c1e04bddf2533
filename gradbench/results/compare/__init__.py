"""Runs against runs, and estimators against a baseline: ratios with intervals, and marks with an error rate.

``ratios`` has the statistics of one ratio, ``match`` finds what can be compared and says why the rest cannot,
``marks`` decides after Holm's correction, ``where`` filters.
"""

from gradbench.results.compare.marks import BETTER, INCOMPARABLE, UNDECIDED, WORSE, alarms, marked
from gradbench.results.compare.match import IGNORABLE, compare_runs, of_group, only_in_one, rank, usual_baseline
from gradbench.results.compare.ratios import Ratio, paired_ratio, unpaired_ratio
from gradbench.results.compare.where import where

__all__ = [
    "BETTER",
    "IGNORABLE",
    "INCOMPARABLE",
    "UNDECIDED",
    "WORSE",
    "Ratio",
    "alarms",
    "compare_runs",
    "marked",
    "of_group",
    "only_in_one",
    "paired_ratio",
    "rank",
    "unpaired_ratio",
    "usual_baseline",
    "where",
]
