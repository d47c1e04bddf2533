"""A Gaussian z whose hold is dropped in the score function: the mean's gradient stays right, the scale's does not."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from gradbench.explaining.bench import Bench
from gradbench.explaining.surrogates import Line
from gradbench.problems.networks import Calls

COST_K, COST_MEAN = 3.0, 1.0
"""The cost is (z − COST_K)², under N(COST_MEAN, 1)."""
SCALE_PARTS = ("phi.mean", "phi.log_scale")
LOOKS_FOR_COST = 4
"""A cost is cheap, and its score function noisy in log σ."""
ROWS_SHOWN = (
    ("pathwise", frozenset()),
    ("score-function", frozenset()),
    ("score-function", frozenset({"z"})),
    ("double-counted", frozenset()),
)


@dataclass(frozen=True)
class ScaleCase:
    """Gradients in μ and in log σ of the mean of (z − k)² under N(μ, 1)."""

    k: float
    mean: float
    cost: float
    """E f."""
    exact: dict[str, float]
    """The exact gradient, by tensor."""
    rows: list[tuple[str, frozenset[str], dict[str, Line]]]
    """Estimator, holds that were dropped, lines by tensor."""

    def gradient(self, line: Line) -> tuple[float, float]:
        """The mean gradient of one tensor and its standard error: how often the exact one is in it, times that."""
        assert line.counted is not None
        assert line.counted_error is not None
        exact = self.exact[line.part]
        return line.counted * exact, line.counted_error * abs(exact)

    def data(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        found = {name: value for name, value in asdict(self).items() if name != "rows"}
        rows = [
            {"estimator": name, "dropped": sorted(drop), "gradient": self.gradient(line)[0], **line.data()}
            for name, drop, lines in self.rows
            for line in lines.values()
        ]
        return {**found, "rows": rows}


def measure_scale(bench: Bench) -> ScaleCase:
    """Measure the score function with its hold of z and without."""
    target = bench.cost(COST_K, COST_MEAN)
    problem = target.point.problem
    phi = Calls(problem.phi)
    objective = target.chosen.at(problem, Calls(problem.theta), None)
    cost = objective.closed_form(phi, problem.posterior(phi, None))
    assert cost is not None
    return ScaleCase(
        k=COST_K,
        mean=COST_MEAN,
        cost=float(cost.detach()),
        exact={part: float(target.reference(1).gradient[part]) for part in SCALE_PARTS},
        rows=[(name, drop, bench.lines(target, name, drop, SCALE_PARTS, LOOKS_FOR_COST)) for name, drop in ROWS_SHOWN],
    )
