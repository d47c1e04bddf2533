"""Claims that a suite makes of its own results (``[[expect]]``): published findings, made executable.

| kind     | what is claimed                                                                          |
| -------- | ---------------------------------------------------------------------------------------- |
| value    | ``figure`` of every row that ``select`` names lies in the band                             |
| ratio    | ``figure`` of those rows over that of the same rows with ``over`` instead lies in the band |
| ordering | ``figure`` rises from each estimator of ``order`` to the next                              |
| slope    | the slope of log ``figure`` against log ``against`` lies in the band                       |
| verdict  | the verdict of every row is ``verdict``                                                    |

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

from gradbench.core.strict import StrictModel
from gradbench.results.columns import AXES, COMPARED, SLOPES, WITH_INTERVAL, listed

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

BAND = frozenset({"figure", "value", "tolerance", "above", "below"})
BELONGS: dict[ClaimKind, frozenset[str]] = {
    "value": BAND,
    "ratio": BAND | {"over"},
    "ordering": frozenset({"figure", "order"}),
    "slope": BAND | {"against"},
    "verdict": frozenset({"verdict"}),
}
"""Keys that a kind of claim has a use for; another's would be passed over in silence."""

REPRODUCED, CONTRADICTED, UNRESOLVED = "reproduced", "contradicted", "unresolved"


class Claim(StrictModel):
    """One ``[[expect]]`` table."""

    claim: Annotated[str, Field(min_length=1)]
    """What is claimed, in words."""
    paper: str = ""
    where: str = ""
    """Section, figure or table of the paper."""
    published: str = ""
    """What was published there."""
    kind: ClaimKind
    select: dict[str, Any]
    """Columns, and parameters of problem and estimator, that name the rows; a list means any of them."""
    figure: str = "variance"
    over: dict[str, Any] = Field({})
    order: list[str] = Field([])
    against: str = "samples"
    verdict: Literal["unbiased", "biased"] | None = None
    value: float | None = None
    tolerance: Annotated[float, Field(ge=0)] = 0.05
    above: float | None = None
    below: float | None = None

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
        if self.kind == "slope" and self.against not in AXES:
            raise ValueError(f"a slope is against {listed(tuple(AXES))}, not {self.against}")
        return self

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
