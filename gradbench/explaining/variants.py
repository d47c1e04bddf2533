"""An estimator with one hold dropped or one added, for every factor of its ledger, each really run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from gradbench.checking.targets import Target, targets
from gradbench.core.errors import UsageError
from gradbench.core.isolation.guard import Guard
from gradbench.core.isolation.kept import Kept
from gradbench.estimators.base import Estimator, Factor
from gradbench.explaining.surrogates import Line, Surrogate, lines, same_gradients
from gradbench.objectives import OBJECTIVES
from gradbench.problems import PROBLEMS


@dataclass(frozen=True)
class Variant:
    """The surrogate with one factor treated the other way."""

    factor: Factor
    change: str
    """``drop`` where its hold was dropped, ``hold`` where one was added."""
    outcome: str
    """What became of it, in a word.

    ``biased``: a part that was right is so no more. ``still``: only what was biased is so still. ``mended``: what was
    biased is right. ``noisier``, ``quieter``, ``alike``: right as before, with so much variance. ``same``: the same
    gradients. ``unresolved``. ``raises``: it is no surrogate at all.
    """
    lines: dict[str, Line]
    message: str = ""

    def data(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "factor": self.factor.name,
            "change": self.change,
            "outcome": self.outcome,
            "message": self.message,
            "parts": [line.data() for line in self.lines.values()],
        }


@dataclass(frozen=True)
class Explained:
    """An estimator with its numbers at one target."""

    estimator: Estimator
    target: Target
    samples: int
    reference: str
    lines: dict[str, Line]
    variants: list[Variant]

    def data(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        e = self.estimator
        return {
            "estimator": e.name,
            "problem": self.target.problem,
            "kl": self.target.kl,
            "objective": self.target.chosen.name,
            "samples": self.samples,
            "reference": self.reference,
            "evaluations": e.cost(self.target.setting(self.samples, e)).total,
            "ledger": [
                {"factor": f.name, "held": f.held, "phi": f.phi, "theta": f.theta, "why": f.why} for f in e.ledger
            ],
            "parts": [line.data() for line in self.lines.values()],
            "variants": [variant.data() for variant in self.variants],
        }


def target_for(estimator: Estimator, problem: str | None = None, seed: int = 0) -> tuple[Target, int]:
    """Where to show ``estimator``, and with what L: with a sampled KL if it can, so that log q in f shows, too.

    An estimator of a multi-sample bound is shown on the bound of a small target whose exact gradient is known.
    Raises UnknownNameError for an unknown problem, UsageError where the estimator cannot work.
    """
    if problem is not None:
        PROBLEMS.find(problem, where="--problem")
    names = [problem] if problem else _suited(estimator)
    if not names:
        wanted = " or ".join(sorted(estimator.latents or estimator.uses))
        raise UsageError(f"{estimator.name}: there is no problem with {wanted} latents")
    candidates = _candidates(names, seed)
    for target in candidates:
        samples = target.samples_for(estimator)
        if samples is not None:
            return target, samples
    reason = estimator.why_not(candidates[0].setting(2, estimator))
    others = [name for name in _suited(estimator) if any(t.samples_for(estimator) for t in _candidates([name], seed))]
    remedy = f"choose --problem {' or '.join(others)}" if others else "none of the problems explained here suits it"
    raise UsageError(f"{reason}; {remedy}")


def _candidates(names: Iterable[str], seed: int) -> list[Target]:
    """Where an estimator may be shown on the problems ``names``, in order of preference."""
    found: list[Target] = []
    for name in names:
        kind = PROBLEMS[name]
        kls = OBJECTIVES[kind.objective].treatments(kind, kind.Parameters(**kind.small))
        found += [Target(name, kl, (1, 2, 4), seed) for kl in reversed(kls)]
        found += [target for target in targets([name], seed) if target.objective is not None]
    return found


def _suited(estimator: Estimator) -> list[str]:
    """Problems with latents that ``estimator`` is for: those made to be shown first, and of plugins last."""
    suited = [name for name, kind in PROBLEMS.items() if estimator.latents is None or kind.family in estimator.latents]
    return sorted(suited, key=lambda name: (not PROBLEMS[name].shown, not PROBLEMS[name].checked))


def explain(
    estimator: Estimator,
    problem: str | None = None,
    tick: Callable[[str, int], None] = lambda what, done: None,
    seed: int = 0,
) -> Explained:
    """Measure ``estimator`` and, for each factor of its ledger, the surrogate with that factor treated otherwise.

    Raises ContractError where its code leaves something changed or would end the process.
    """
    target, samples = target_for(estimator, problem, seed)
    with Guard(estimator.name, [Kept(target.point.problem, target.point.x)]):
        return _explained(estimator, target, samples, tick)


def _explained(estimator: Estimator, target: Target, samples: int, tick: Callable[[str, int], None]) -> Explained:
    task = target.task(estimator, samples)
    tick("exact gradient", 0)
    reference = target.reference(samples)
    base = Surrogate(task)
    own = lines(base, reference, target.remainder, lambda done: tick(estimator.name, done))
    gradients = base.gradients()
    variants = []
    for factor in estimator.ledger:
        names = frozenset({factor.name})
        changed = Surrogate(task, drop=names) if factor.held else Surrogate(task, add=names)
        change = "drop" if factor.held else "hold"
        words = f"{factor.name}: {'dropping its hold' if factor.held else 'holding it'}"
        try:
            if same_gradients(gradients, changed.gradients()):
                variants.append(Variant(factor, change, "same", own))
                continue
            found = lines(changed, reference, target.remainder, lambda done, words=words: tick(words, done))
        except Exception as error:  # a variant may be no surrogate at all: that is a finding, too
            message = " ".join(f"{type(error).__name__}: {error}".split())[:120]
            variants.append(Variant(factor, change, "raises", {}, message))
            continue
        variants.append(Variant(factor, change, _outcome(own, found), found))
    return Explained(estimator, target, samples, reference.kind, own, variants)


def _outcome(own: dict[str, Line], found: dict[str, Line]) -> str:
    """What became of the surrogate: wrong where it was right, or right with more or less noise."""
    biased = {part for part, line in found.items() if line.verdict == "biased"}
    before = {part for part, line in own.items() if line.verdict == "biased"}
    if biased - before:
        return "biased"
    if any(line.verdict == "unresolved" for line in found.values()):
        return "unresolved"
    if before:
        return "still" if biased else "mended"
    earlier, later = (sum(line.variance for line in some.values()) for some in (own, found))
    if earlier == later == 0 or 0.8 <= (later / earlier if earlier else 0.0) <= 1.25:
        return "alike"
    return "noisier" if later > earlier else "quieter"
