"""What the estimators of rows declare of their bias, which a verdict that is not reached yet says nothing of."""

from __future__ import annotations

import json

import pandas as pd
from pydantic import ValidationError

from gradbench.estimators import ESTIMATORS
from gradbench.estimators.scope import Part
from gradbench.objectives import OBJECTIVES

_KEYS = ["estimator", "estimator_params", "objective", "samples", "group"]


def declared_biased(rows: pd.DataFrame) -> pd.Series:
    """Which of ``rows`` are of an estimator that declares a bias of that part of the gradient at that L.

    False where nothing is known of it: of a loss, or of the estimator of a plugin that is not loaded.
    """
    keys = list(rows[_KEYS].itertuples(index=False, name=None))
    found = {key: _is_declared_biased(*key) for key in dict.fromkeys(keys)}
    return pd.Series([found[key] for key in keys], rows.index, dtype=bool)


def _is_declared_biased(name: str, parameters: str, objective: str, samples: int, group: str) -> bool:
    if name not in ESTIMATORS or objective not in OBJECTIVES:
        return False
    estimator = ESTIMATORS[name]
    try:
        given = estimator.Parameters(**json.loads(parameters))
    except ValidationError:  # another version's
        return False
    if estimator.scopes(objective) is None:
        return False
    parts: tuple[Part, ...] = ("phi", "theta")
    about: list[Part] = [part for part in parts if group == "all" or group.partition(".")[0] == part]
    return not all(estimator.is_unbiased(objective, part, int(samples), given) for part in about)
