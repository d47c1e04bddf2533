from __future__ import annotations

import pandas as pd
import pytest

from gradbench.results.compare.marks import BETTER, UNDECIDED, WORSE, marked


@pytest.mark.parametrize(
    ("ratio", "threshold", "mark"),
    [
        (1 + 2.5e-7, 0.0, UNDECIDED),  # what another processor rounds otherwise
        (1 - 2.5e-7, 0.0, UNDECIDED),
        (1.001, 0.0, WORSE),
        (0.999, 0.0, BETTER),
        (1.001, 0.01, UNDECIDED),
        (1.02, 0.01, WORSE),
    ],
)
def test_a_certain_difference_is_marked_beyond_rounding_and_the_threshold(ratio, threshold, mark):
    table = pd.DataFrame({"group": ["phi"], "variance_ratio": [ratio], "variance_p": [1e-12]})
    assert list(marked(table, threshold=threshold)["mark"]) == [mark]
