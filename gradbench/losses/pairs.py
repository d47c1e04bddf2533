"""Losses against each other: whether the means of their gradients differ, and whose variance is the smaller."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from gradbench.losses.against import reference_of_moments
from gradbench.losses.blocks import Shape
from gradbench.losses.grouped import group_figures
from gradbench.losses.taking import TakenLoss
from gradbench.results.compare.ratios import paired_ratio
from gradbench.statistics import verdicts

PAIR_VERDICTS = {"biased": "differ", "unbiased": "agree", "unresolved": "unresolved"}
"""What the verdict on a bias says of two losses."""


def compared_losses(taken: Mapping[str, TakenLoss], shape: Shape, precision: float, margin: float) -> pd.DataFrame:
    """Every pair of losses, a row for each group: the difference of their mean gradients, and the ratio of variances.

    Blocks are paired, as they have the same seeds. ``difference`` is ‖E a − E b‖ with its 95 % interval, and
    ``relative_difference`` its share of the norm of b's mean. ``verdict`` is ``differ`` (Holm-corrected over the
    pairs), ``agree`` (certainly below the ``margin``) or ``unresolved``. ``variance_ratio`` is a over b.
    """
    rows: list[dict[str, Any]] = []
    for (name, a), (other, b) in combinations(taken.items(), 2):
        if a.moments.moments.blocks != b.moments.moments.blocks:
            continue
        reference = reference_of_moments(b.moments.moments, shape, draws=b.draws)
        spread = {one.group: one for one in group_figures(b.moments, reference, precision)}
        for one in group_figures(a.moments, reference, precision):
            figures, theirs = one.figures, spread[one.group]
            ratio = paired_ratio(theirs.variances, one.variances)
            rows.append(
                {
                    "a": name,
                    "b": other,
                    "group": one.group,
                    "difference": figures.bias_norm,
                    "difference_low": figures.bias_low,
                    "difference_high": figures.bias_high,
                    "relative_difference": figures.relative_bias,
                    "relative_difference_high": figures.relative_bias_high,
                    "p": figures.bias_p,
                    "gradient_norm": figures.gradient_norm,
                    "variance_ratio": ratio.value,
                    "variance_ratio_low": ratio.low,
                    "variance_ratio_high": ratio.high,
                    "variance": theirs.figures.variance,
                }
            )
    frame = pd.DataFrame(rows)
    if frame.empty:
        return frame
    numbers = (frame[name].to_numpy(float) for name in ("p", "difference_high", "gradient_norm", "variance"))
    said = verdicts(*numbers, margin=margin, groups=frame.group.to_numpy(object))
    frame.insert(9, "verdict", [PAIR_VERDICTS[one] for one in said])
    return frame.drop(columns=["variance"]).replace({np.nan: None})
