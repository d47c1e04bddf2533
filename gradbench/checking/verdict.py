"""The whole check of one estimator: contract, measurement, verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from gradbench.checking import contract, diagnosis, sequential
from gradbench.checking.diagnosis import Diagnosis
from gradbench.checking.sequential import Finding, Look
from gradbench.checking.targets import Target, targets
from gradbench.checking.violation import Violation
from gradbench.core.errors import ContractError, MeasurementError, UsageError
from gradbench.core.isolation.guard import Guard
from gradbench.core.isolation.kept import Kept
from gradbench.engine.task import Task
from gradbench.estimators.base import Estimator
from gradbench.estimators.scope import Part
from gradbench.families import FAMILIES

PARTS: tuple[Part, ...] = ("phi", "theta")


@dataclass(frozen=True)
class LeftOut:
    """Why nothing was measured at a target."""

    cause: str
    """What of the target that is about: its objective, its latents, its layers, its KL, or the estimator's needs."""
    what: str
    """The name of that, or of the problem."""
    reason: str
    """In full."""


@dataclass(frozen=True)
class Result:
    """What `gradbench check` found out."""

    estimator: str
    verdict: str
    """``violation``, ``biased``, ``unbiased`` or ``unresolved``."""
    parts: dict[str, str]
    """The verdict of the φ- and of the θ-gradient."""
    declared: dict[str, bool]
    """Whether each is declared unbiased."""
    violations: list[Violation] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    diagnoses: list[Diagnosis] = field(default_factory=list)
    left_out: dict[str, LeftOut] = field(default_factory=dict)
    """Targets at which it cannot work, with the reason."""
    margin: float = sequential.CHECK_MARGIN
    false_alarms: float = sequential.FALSE_ALARMS

    @property
    def bound(self) -> float | None:
        """The bias is certainly below this share of the exact gradient, in every tensor; None if nothing is certain."""
        bounds = [finding.relative_bias_high for finding in self.findings]
        return None if not bounds or None in bounds else max(value for value in bounds if value is not None)

    @property
    def detectable(self) -> float | None:
        """Along any tensor’s gradient, a bias of this share would have been found with `sequential.POWER`."""
        return max((f.detectable for f in self.findings if f.detectable is not None), default=None)

    @property
    def needed(self) -> int:
        """Replicates that it would take to resolve what is not."""
        return max((finding.needed for finding in self.findings), default=0)

    @property
    def as_declared(self) -> bool:
        """Whether each part is what it is declared to be; a part without parameters anywhere is."""
        expected = {True: "unbiased", False: "biased"}
        return self.verdict != "violation" and all(
            verdict == expected[self.declared[part]] for part, verdict in self.parts.items()
        )

    @property
    def exit_code(self) -> int:
        """0 where the estimator is what it declares, else 1."""
        return 0 if self.as_declared else 1

    def data(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        return {
            **asdict(self),
            "left_out": {target: why.reason for target, why in self.left_out.items()},
            "as_declared": self.as_declared,
            "bound": self.bound,
            "detectable": self.detectable,
            "power": sequential.POWER,
            "needed_replicates": self.needed,
        }


def as_estimator(
    thing: Estimator | Callable[..., Any], latents: Iterable[str] | None = None, seed: int = 0
) -> Estimator:
    """An `Estimator` as it is; a bare surrogate with the declarations that it seems to want.

    Raises UsageError where ``latents`` names a family that no problem has.
    """
    if latents is not None and (unknown := set(latents) - set(FAMILIES)):
        raise UsageError(f"latents {sorted(unknown)[0]!r}: no problem has such; known: {', '.join(sorted(FAMILIES))}")
    if isinstance(thing, Estimator):
        return thing
    if not callable(thing):
        raise UsageError(f"expected an Estimator or a surrogate function, got {type(thing).__name__}")
    name = getattr(thing, "__name__", "surrogate").replace("_", "-")
    bare = Estimator(name, f"{name} (bare surrogate)", thing, ledger=(), paper="-")
    if latents is None:
        latents = contract.families_of(
            (target, lambda target=target: target.task(bare, target.samples_for(bare) or 2))
            for target in targets(seed=seed)
            if not target.chosen.has_theta  # a cost: there the φ-gradient is that of the expectation and nothing else
        )
    return Estimator(name, bare.title, thing, ledger=(), paper="-", latents=frozenset(latents) or bare.latents)


def check_estimator(
    thing: Estimator | Callable[..., Any],
    *,
    latents: Iterable[str] | None = None,
    problems: Iterable[str] | None = None,
    at: list[Target] | None = None,
    margin: float = sequential.CHECK_MARGIN,
    false_alarms: float = sequential.FALSE_ALARMS,
    replicates: int = sequential.MAX_REPLICATES,
    seed: int = 0,
    tick: Callable[[str, int], None] = lambda where, done: None,
) -> Result:
    """Check ``thing`` on the small problems with an exact gradient that it can work on, or at the targets ``at``.

    ``replicates`` is the most that one look at one problem may take; ``tick`` is told where replicates are drawn.
    Raises UsageError where there is no problem that it can work on.
    """
    if replicates < 2 * sequential.BLOCKS or replicates % sequential.BLOCKS:
        raise UsageError(
            f"replicates = {replicates}: expected a multiple of {sequential.BLOCKS}, at least {2 * sequential.BLOCKS}"
        )
    estimator = as_estimator(thing, latents, seed)
    tasks, left_out = _tasks(estimator, targets(problems, seed) if at is None else at)
    declared = _declared(estimator, tasks)
    called = estimator.name if isinstance(thing, Estimator) else estimator.title
    start = Result(called, "violation", {}, declared, margin=margin, false_alarms=false_alarms)
    if not tasks:
        why = next((one.reason for one in left_out.values()), "none given")
        raise UsageError(f"{estimator.name}: no problem to check it on; {why}")
    made: list[tuple[Target, Task]] = []
    for target, samples in tasks:
        tick(f"{target.label}: contract", 0)
        task: list[Task] = []

        def make(target: Target = target, samples: int = samples, task: list[Task] = task) -> Task:
            task.append(target.task(estimator, samples))
            return task[-1]

        broken = contract.violation(target.label, make)
        if broken is not None:
            return replace(start, violations=[broken], left_out=left_out)
        made.append((target, task[-1]))
    inexact = [target.label for target, task in made if not target.reference(task.samples).exact]
    if inexact:
        raise UsageError(
            f"{inexact[0]}: there is no exact gradient to check against\n"
            f"give it a closed_form, or few enough latents of a family that says its states or a grid, and a smooth (no"
            f" ReLU) decoder; a subclass of a family has a law of its own"
        )
    try:
        with Guard("the estimator", [Kept(target.point.problem, target.point.x) for target, _ in made]):
            seen = sequential.look_until_clear(made, margin, false_alarms, replicates, tick)
    except ContractError as error:
        what, _, remedy = str(error).partition("\n")
        kind = "leaves changed" if error.raised is None else "raises"
        return replace(start, violations=[Violation(kind, "measured", what, remedy, error.raised)], left_out=left_out)
    except MeasurementError as error:
        where = Violation("not finite", "measured", str(error), "look for a log or a division at 0")
        return replace(start, violations=[where], left_out=left_out)
    findings = [finding for look in seen for finding in look.findings]
    parts = {part: _joined(f.verdict for f in findings if f.part == part) for part in PARTS}
    parts = {part: verdict for part, verdict in parts.items() if verdict is not None}
    return replace(
        start,
        verdict=_joined(parts.values()) or "unresolved",
        parts=parts,
        findings=findings,
        diagnoses=_diagnoses(seen),
        left_out=left_out,
    )


def _tasks(estimator: Estimator, candidates: list[Target]) -> tuple[list[tuple[Target, int]], dict[str, LeftOut]]:
    chosen, left_out = [], {}
    for target in candidates:
        samples = target.samples_for(estimator)
        if samples is None:
            left_out[target.label] = _why_left_out(estimator, target)
        elif target.lacks is not None:
            left_out[target.label] = LeftOut("KL", target.problem, target.lacks)
        else:
            chosen.append((target, samples))
    return chosen, left_out


def _why_left_out(estimator: Estimator, target: Target) -> LeftOut:
    setting = target.setting(target.samples[0], estimator)
    reason = estimator.why_not(setting) or ""
    if estimator.scopes(target.chosen.name) is None:
        return LeftOut("objective", target.chosen.name, reason)
    if not estimator.suits(setting.family):
        return LeftOut("latents", target.family, reason)
    if setting.layers > 1 and not estimator.layered:
        return LeftOut("layers", f"{setting.layers}", reason)
    return LeftOut("needs", target.problem, reason)


def _declared(estimator: Estimator, tasks: list[tuple[Target, int]]) -> dict[str, bool]:
    """Whether each part is declared unbiased at all the targets, with the L that it is checked at."""
    return {
        part: all(estimator.is_unbiased(target.chosen.name, part, samples) for target, samples in tasks)
        for part in PARTS
    }


def _joined(verdicts: Iterable[str]) -> str | None:
    found = set(verdicts)
    return next((verdict for verdict in ("biased", "unresolved", "unbiased") if verdict in found), None)


def _diagnoses(seen: list[Look]) -> list[Diagnosis]:
    return [found for look in seen for found in diagnosis.diagnose(look)]
