"""What a page tells of one run, ready for its templates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from gradbench.core.errors import RunError
from gradbench.core.printable import one_line, visible
from gradbench.report.claims import measured_words
from gradbench.report.hints import hints
from gradbench.report.html.advised import AdviceTold, advice_told
from gradbench.report.html.environment import Fact, command_of, environment
from gradbench.report.html.in_words import Verdicts, verdicts_on, what_is_biased, what_was_measured
from gradbench.report.html.losses import LostCells, lost_cells
from gradbench.report.html.suite_text import suite_text
from gradbench.report.labels import estimator_label, varying_parameters
from gradbench.report.words import group_title
from gradbench.results.cell_counts import NOT_MEASURED, cell_counts
from gradbench.results.outcomes import claims_of, verify
from gradbench.results.store import Run
from gradbench.statistics import MARGIN
from gradbench.suite.claims import ClaimOutcome

GROUPS_TOLD = ("phi", "theta")
"""The parts of the gradient that the summary is about."""


@dataclass(frozen=True)
class GroupTold:
    """What is told of the gradient of one group of parameters."""

    group: str
    title: str
    sentences: list[str]
    verdicts: list[Verdicts]


@dataclass(frozen=True)
class ClaimTold:
    """A claim and what became of it."""

    words: str
    source: str
    measured: str
    status: str


@dataclass(frozen=True)
class RunTold:
    """What is told of one run."""

    name: str
    heading: str
    warnings: list[str]
    measured: list[str]
    groups: list[GroupTold]
    advice: list[AdviceTold]
    advice_left: int
    """Targets that no advice is given on."""
    cautions: list[str]
    lost: list[LostCells]
    missing: int
    claims: list[ClaimTold]
    environment: list[Fact]
    command: str
    suite: str | None
    """A suite of its cells, as text; None where they are of none."""
    suite_file: str
    brought: bool
    """Whether data files or plugins took part."""


def told_of(name: str, run: Run) -> RunTold:
    """What is told of ``run``, which its page calls ``name``."""
    manifest = run.manifest
    suite = manifest["suite_resolved"]
    title = one_line(str(suite.get("title") or ""))
    warnings = [one_line(said) for said in run.warnings]
    try:
        claims = [_claim(outcome) for outcome in verify(run, claims_of(run))]
    except RunError as error:  # the rest of the run can be told all the same
        claims, warnings = [], [*warnings, one_line(error)]
    groups = list(_groups(run))
    advice, left = advice_told(run, groups[0].group) if groups else ([], 0)
    text = suite_text(manifest)
    return RunTold(
        name=one_line(name),
        heading=f"{one_line(name)}: {title}" if title else one_line(name),
        warnings=warnings,
        measured=what_was_measured(run),
        groups=groups,
        advice=advice,
        advice_left=left,
        cautions=list(_cautions(run)),
        lost=lost_cells(run),
        missing=cell_counts(run)[NOT_MEASURED],
        claims=claims,
        environment=environment(run),
        command=command_of(manifest),
        suite=None if text is None else visible(text),
        suite_file=f"{_file_name(suite.get('name') or 'suite')}.toml",
        brought=bool(manifest.get("data") or manifest.get("plugins")),
    )


def _groups(run: Run) -> Iterator[GroupTold]:
    rows = run.ok()
    varying = varying_parameters(rows)
    margin = run.manifest["suite_resolved"].get("measure", {}).get("margin")
    margin = margin if isinstance(margin, float) else MARGIN
    for group in _groups_told(rows):
        there = rows[rows.group == group]
        pairs = zip(there.estimator, there.estimator_params, strict=True)
        labels = there.estimator.copy()
        labels[:] = [estimator_label(*pair, varying) for pair in pairs]
        sentences = what_is_biased(verdicts_on(there, there.estimator.map(one_line)), group, margin)
        yield GroupTold(group, group_title(group), sentences, verdicts_on(there, labels))


def _cautions(run: Run) -> Iterator[str]:
    """What stands against the verdicts."""
    rows = run.ok()
    for group in _groups_told(rows):
        yield from (f"{group_title(group)}-gradient: {said}" for said in hints(rows[rows.group == group]))
    notes = run.manifest.get("notes")
    yield from (one_line(note) for note in (notes if isinstance(notes, list) else []))


def _groups_told(rows: pd.DataFrame) -> list[str]:
    """The groups that the summary is about."""
    there = list(dict.fromkeys(rows.group))
    return [name for name in GROUPS_TOLD if name in there] or there[:1]


def _claim(outcome: ClaimOutcome) -> ClaimTold:
    claim = outcome.claim
    measured = " ".join(word for word in (measured_words(outcome), outcome.note) if word)
    source = ", ".join(word for word in (claim.paper, claim.where, claim.published) if word)
    return ClaimTold(one_line(claim.claim), one_line(source), one_line(measured), outcome.status)


def _file_name(text: str) -> str:
    return (
        "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "-" for char in text).strip(".-")
        or "suite"
    )
