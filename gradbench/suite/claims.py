"""Claims that a suite makes of its own results (``[[expect]]``): published findings, made executable.

| kind     | what is claimed                                                                          |
| -------- | ---------------------------------------------------------------------------------------- |
| value    | ``figure`` of every row that ``select`` names lies in the band                             |
| ratio    | ``figure`` of those rows over that of the same rows with ``over`` instead lies in the band |
| ordering | ``figure`` rises from each estimator of ``order`` to the next                              |
| slope    | the slope of log ``figure`` against log ``against`` lies in the band                       |
| verdict  | the verdict of every row is ``verdict``                                                    |

``at`` holds estimators at equal cost, as many evaluations or seconds for each: a claim of the others is then about
``figure`` of the average of the independent gradients that one budget pays for.

The band is ``value`` ± ``tolerance`` (relative, but absolute for a slope), or everything ``above`` and ``below``.
A claim is *reproduced* where the 95 % interval lies within the band, *contradicted* where it lies outside, and
*unresolved* where it does neither; of several rows the worst counts. A claim about cells that failed, or are not
measured yet, is at best unresolved.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from gradbench.core.errors import UsageError
from gradbench.core.strict import StrictModel
from gradbench.results.columns import AVERAGED, AXES, BY_NAME, COMPARED, SLOPES, WITH_INTERVAL, listed
from gradbench.suite.equal_cost import EXAMPLE, EqualCost

if TYPE_CHECKING:
    import pandas as pd

ClaimKind = Literal["value", "ratio", "ordering", "slope", "verdict"]
FIGURES: dict[ClaimKind, tuple[str, ...]] = {
    "value": WITH_INTERVAL,
    "ratio": COMPARED,
    "ordering": COMPARED,
    "slope": tuple(SLOPES),
}
"""What each kind of claim may be about."""

FIGURES_AT_EQUAL_COST: dict[ClaimKind, tuple[str, ...]] = {
    "value": tuple(name for name in WITH_INTERVAL if name in AVERAGED),
    "ratio": tuple(name for name in COMPARED if name in AVERAGED),
    "ordering": tuple(name for name in COMPARED if name in AVERAGED),
    "slope": tuple(c.slope.figure for name in AVERAGED if (c := BY_NAME[name]).slope),
}
"""The same at equal cost."""

BAND = frozenset({"figure", "value", "tolerance", "above", "below"})
BELONGS: dict[ClaimKind, frozenset[str]] = {
    "value": BAND | {"at"},
    "ratio": BAND | {"over", "at"},
    "ordering": frozenset({"figure", "order", "at"}),
    "slope": BAND | {"against", "at"},
    "verdict": frozenset({"verdict"}),
}
"""Keys that a kind of claim has a use for; another's would be passed over in silence."""

REPRODUCED, CONTRADICTED, UNRESOLVED = "reproduced", "contradicted", "unresolved"


class Claim(StrictModel):
    """One ``[[expect]]`` table."""

    claim: Annotated[str, Field(min_length=1)]
    """What is claimed, in words."""
    paper: str = ""
    """Where it was published."""
    where: str = ""
    """Section, figure or table of the paper."""
    published: str = ""
    """What was published there."""
    kind: ClaimKind
    """``value``: a figure lies in a band; ``ratio``: over that of the same rows with ``over`` instead; ``ordering``: it
    rises along ``order``; ``slope``: of log figure against log ``against``; ``verdict``."""
    select: dict[str, Any]
    """Keys of the grid, parameters of problem and estimator, and ``group`` (else ``phi``), that name the rows; a list
    means any of them."""
    figure: str = "variance"
    """The column that it is about."""
    over: dict[str, Any] = Field({})
    """Of a ratio: the keys that the other side changes."""
    order: list[str] = Field([])
    """Of an ordering: estimators, from the smallest figure to the largest."""
    against: str = "samples"
    """Of a slope: ``samples`` or ``num_parameters``."""
    verdict: Literal["unbiased", "biased"] | None = None
    """Of a claim of kind ``verdict``: what every row's is."""
    at: str | None = None
    """``evaluations`` or ``seconds``, alone or with a budget: estimators are held at as much of it for each."""
    value: float | None = None
    """The middle of the band."""
    tolerance: Annotated[float, Field(ge=0)] = 0.05
    """How far the band reaches to either side of ``value``: relative, but absolute for a slope."""
    above: float | None = None
    """The lower end of the band."""
    below: float | None = None
    """Its upper end."""

    @model_validator(mode="after")
    def _complete(self) -> Claim:
        needs = {"ratio": "over", "ordering": "order", "verdict": "verdict"}.get(self.kind)
        if needs and not getattr(self, needs):
            raise ValueError(f"a claim of kind {self.kind!r} needs {needs}")
        if (
            self.kind in ("value", "ratio", "slope")
            and self.value is None
            and self.above is None
            and self.below is None
        ):
            raise ValueError(f"a claim of kind {self.kind!r} needs value (with tolerance), above or below")
        if self.kind == "ordering" and len(self.order) < 2:
            raise ValueError("order needs two estimators or more")
        if len(set(self.order)) < len(self.order):
            raise ValueError("order names an estimator twice")
        if self.kind == "ordering" and "estimator" in self.select:
            raise ValueError("order names the estimators; drop select.estimator")
        for key in sorted(self.model_fields_set & set().union(*BELONGS.values()) - BELONGS[self.kind]):
            homes = " or ".join(kind for kind, keys in BELONGS.items() if key in keys)
            raise ValueError(f"{key} belongs to a claim of kind {homes}; drop it from this one of kind {self.kind!r}")
        low, high = self.band()
        if low > high:
            raise ValueError(f"no figure lies above {low:g} and below {high:g}")
        allowed = FIGURES.get(self.kind)
        if allowed and self.figure not in allowed:
            raise ValueError(f"a claim of kind {self.kind!r} is about {', '.join(allowed)}, not {self.figure}")
        if self.at is not None:
            self._at_equal_cost(self.at)
        if self.kind == "slope" and self.against not in AXES:
            raise ValueError(f"a slope is against {listed(tuple(AXES))}, not {self.against}")
        return self

    def _at_equal_cost(self, at: str) -> None:
        """Raise ValueError unless ``at`` can be understood, and the figure is known there."""
        try:
            cost = EqualCost.of(at, where="at")
        except UsageError as error:
            raise ValueError(str(error)) from error
        allowed = FIGURES_AT_EQUAL_COST[self.kind]
        if self.figure not in allowed:
            raise ValueError(
                f"a claim of kind {self.kind!r} at equal {cost.unit} is about {listed(allowed)}, not {self.figure}"
            )
        if cost.budget is None and (self.kind == "value" or self.figure == "mse"):
            of = "the value of a figure" if self.kind == "value" else "the mean squared error, of which bias stays,"
            raise ValueError(f"{of} at equal {cost.unit} depends on the budget; give one, such as at = '{EXAMPLE}'")

    @property
    def cost(self) -> EqualCost | None:
        """What ``at`` says; None where it is left out."""
        return None if self.at is None else EqualCost.of(self.at)

    @property
    def group(self) -> str:
        """The parameters that it is about."""
        return str(self.select.get("group", "phi"))

    def band(self) -> tuple[float, float]:
        """Within what the figure must lie."""
        low, high = -math.inf, math.inf
        if self.value is not None:
            width = self.tolerance if self.kind == "slope" else self.tolerance * abs(self.value)
            low, high = self.value - width, self.value + width
        return max(low, -math.inf if self.above is None else self.above), min(
            high, math.inf if self.below is None else self.below
        )

    def selections(self) -> list[dict[str, Any]]:
        """Every set of rows that it names, without ``group``."""
        own = {key: value for key, value in self.select.items() if key != "group"}
        if self.kind == "ordering":
            return [{**own, "estimator": name} for name in self.order]
        return [own, {**own, **self.over}] if self.kind == "ratio" else [own]


@dataclass(frozen=True)
class ClaimOutcome:
    """A claim with what was measured."""

    claim: Claim
    status: str
    figure: float | None = None
    low: float | None = None
    high: float | None = None
    note: str = ""
    gradient_norm: float | None = None
    """Of a verdict, whose figure is ‖bias‖: the ‖g‖ that it is shown as a share of; None where that is 0."""

    def record(self) -> dict[str, Any]:
        """As plain data."""
        named = {"status": self.status, "figure": self.figure, "low": self.low, "high": self.high, "note": self.note}
        return {**self.claim.model_dump(exclude_defaults=True), **{f"measured_{k}": v for k, v in named.items()}}


def matches(values: dict[str, Any], selection: dict[str, Any]) -> bool:
    """Whether ``values`` (columns and parameters, flat) have what ``selection`` asks for."""
    return all(key in values and _same(values[key], wanted) for key, wanted in selection.items())


def _same(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, list):
        return any(_same(value, one) for one in wanted)
    if isinstance(wanted, (int, float)) and isinstance(value, (int, float)):
        return math.isclose(value, wanted, rel_tol=1e-9)
    return value == wanted


def judge(low: float, high: float, band: tuple[float, float]) -> str:
    """What an interval says of a band."""
    if band[0] <= low and high <= band[1]:
        return REPRODUCED
    return CONTRADICTED if high < band[0] or low > band[1] else UNRESOLVED


def worst(outcomes: Iterable[ClaimOutcome], band: tuple[float, float] = (-math.inf, math.inf)) -> ClaimOutcome:
    """The outcome that decides where a claim is about several rows; of those alike, the one with the least room."""
    rank = {CONTRADICTED: 0, UNRESOLVED: 1, REPRODUCED: 2}

    def room(outcome: ClaimOutcome) -> float:
        low, high = (math.nan if end is None else end for end in (outcome.low, outcome.high))
        least = min(low - band[0], band[1] - high)
        return math.inf if math.isnan(least) else least

    return min(outcomes, key=lambda outcome: (rank[outcome.status], room(outcome)))


def rows_of(flat: list[dict[str, Any]], frame: pd.DataFrame, selection: dict[str, Any], group: str) -> pd.DataFrame:
    """The measured rows of ``frame`` that ``selection`` names; ``flat`` has its rows with parameters beside columns."""
    return frame[[matches(values, {**selection, "group": group}) for values in flat]]
