"""Slopes: the errors of logarithms that they are fitted with, by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from gradbench.results.columns import AXES, COLUMNS, SLOPES
from gradbench.results.slopes import LINE, figure_values, slopes
from tests.helpers import run_grids

POINT = t.ppf(0.975, 8)
ROW = {"blocks": 9, "variance": 2.0, "variance_low": 1.0, "variance_high": 4.0, "snr": 9.0, "gradient_norm": 4.0}
ROW |= {"reference_se": 0.4, "bias_sq": 0.5, "bias_sq_se": 0.1, "bias_low": 0.3, "bias_p": 0.01}
VARIANCE_ERROR = math.log(4.0) / 2 / POINT


@pytest.mark.parametrize(
    ("figure", "value", "error"),
    [
        ("variance", 2.0, VARIANCE_ERROR),
        ("bias_sq", 0.5, 0.2),
        ("snr_root", 3.0, math.hypot(VARIANCE_ERROR / 2, 0.1)),
    ],
)
def test_a_figure_has_the_error_of_its_logarithm(figure, value, error):
    found = figure_values(pd.DataFrame([ROW]), figure)
    assert (found[0][0], found[1][0]) == pytest.approx((value, error))


@pytest.mark.parametrize(
    ("figure", "change"),
    [
        ("variance", {"variance": 0.0, "variance_low": 0.0, "variance_high": 0.0}),
        ("snr_root", {"variance": 0.0, "variance_low": 0.0, "variance_high": 0.0}),
        ("bias_sq", {"bias_low": 0.0}),
        ("bias_sq", {"bias_p": 0.06}),
    ],
)
def test_a_row_without_a_logarithm_takes_no_part(figure, change):
    assert math.isnan(figure_values(pd.DataFrame([ROW | change]), figure)[1][0])


def test_a_run_has_slopes_of_declared_figures_against_declared_axes(tmp_path):
    grid = {"problem": "gaussian-cost", "samples": [1, 2, 4, 8], "dim": [1, 4], "estimators": ["pathwise"]}
    run = run_grids(tmp_path / "run", grid, replicates=256, blocks=8).run
    found = slopes(run.ok())
    assert tuple(found.columns) == LINE
    assert list(dict.fromkeys(found.against)) == list(AXES) == ["samples", "num_parameters"]
    assert set(found.figure) == {"variance", "snr_root"} <= set(SLOPES)
    whole = found[(found.group == "all") & (found.against == "samples") & (found.figure == "variance")]
    assert len(whole) == 2
    assert (whole.slope_low < -1).all()
    assert (whole.slope_high > -1).all()
    assert np.allclose(whole.slope, -1, atol=0.3)
    assert found[found.against == "samples"].samples.isna().all()
    assert set(LINE) & set(COLUMNS) >= {"problem", "objective_params", "group"}
