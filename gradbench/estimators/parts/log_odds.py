"""Each importance weight against those of the other samples, with no digit lost in a small weight or a large one."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gradbench.core.types import PerSample


def log_odds(log_w: PerSample) -> Tensor:
    """log w_l − log Σ_{j≠l} w_j of each of L ≥ 2 samples, [R, L, B], in float64.

    Its logistic function is the normalised weight w̃_l. One minus a weight near 1 is the sum of the others, and not a
    difference: log (1 − w̃_l) is right at both ends.

    >>> log_odds(torch.tensor([0.0, 0.0, math.log(2), 800.0])[None, :, None]).flatten().tolist()
    [-800.0, -800.0, -799.306852..., 798.613705...]
    """
    log_w = log_w.double()
    total = log_w.logsumexp(1, keepdim=True)
    share = (log_w - total).exp()
    heaviest = torch.zeros_like(share, dtype=torch.bool).scatter(1, share.argmax(1, keepdim=True), value=True)
    others = log_w.masked_fill(heaviest, -math.inf).logsumexp(1, keepdim=True)
    # only the heaviest can have more than half; the clamp keeps the branch that is not taken finite
    rest = torch.where(share > 0.5, others - total, torch.log1p(-share.clamp_max(0.5)))
    return log_w - total - rest


def surplus(odds: Tensor) -> Tensor:
    """−log (1 − w̃) − w̃ of weights with these log odds: what is left of a bound once the others' part is taken off.

    It is about w̃² / 2 for a small weight, and about the log odds for one near 1.
    """
    return torch.logaddexp(odds, torch.zeros_like(odds)) - odds.sigmoid()
