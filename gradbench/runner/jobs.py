"""What is sent to whoever measures a cell, and what comes back: plain data that every process can unpack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gradbench.core.errors import ContractError, GradbenchError, message_of
from gradbench.suite.cell import Cell
from gradbench.suite.measure import Measure

Phase = Literal["whole", "statistics", "timing"]
"""``whole`` is both: statistics, and the timing after them."""
LONGEST = 1000
"""Characters of a message that are kept."""


@dataclass(frozen=True)
class Setup:
    """What all jobs of a run have in common."""

    folder: Path
    """The run's, absolute: trained parameters, references and moments are kept in it."""
    suite: str
    measure: Measure
    threads: int
    """Of statistics, whose last bits may depend on it."""
    timing_threads: int
    plugins: tuple[tuple[str, str], ...] = ()
    """Files and packages that a process must load first, with their versions."""
    keep: int = 0
    """Bytes that the moments of finished cells may take."""


@dataclass(frozen=True)
class Job:
    """One cell, and what is to be measured of it; ``seconds`` is its share of a budget."""

    cell: Cell
    phase: Phase
    seconds: float | None = None
    growing: bool = False
    """Whether blocks of it are there already."""
    looks: int | None = None
    """How many times blocks may be added before others have their turn; None: as often as it takes."""
    each: float = 0.0
    """Seconds that a block took, as far as that is known."""


@dataclass(frozen=True)
class Failure:
    """Why a cell could not be measured: the kind of error, and a message no longer than a reader's patience."""

    kind: str
    message: str

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """What an exception says."""
        kind = (error.raised if isinstance(error, ContractError) else None) or type(error).__name__
        said = message_of(error) or "no message"
        text = said if len(said) <= LONGEST else f"{said[:LONGEST]} …"
        return cls(kind, text if isinstance(error, GradbenchError) else f"{kind}: {text}")


@dataclass(frozen=True)
class Outcome:
    """What came of a job: rows, or the columns of cost after a timing alone, or a failure."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    cost: dict[str, Any] | None = None
    failure: Failure | None = None
    of_target: bool = False
    """Whether it was the target that failed, and all its cells with it."""
    spoilt: bool = False
    """Whether user code left the process so that nothing more can be measured in it."""


@dataclass(frozen=True)
class Told:
    """What a measurement tells of while it is at it."""

    tick: Callable[[int], None] = lambda done: None
    """Single-sample replicates done."""
    reference: Callable[[float], None] = lambda share: None
    """A share of a reference over a whole data set done."""
    ready: Callable[[], None] = lambda: None
    """The target is there, and others may measure at it."""
