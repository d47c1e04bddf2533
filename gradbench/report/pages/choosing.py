"""The page on which estimator to use: at each point of the kept runs the quietest, and what cannot be told from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from gradbench.families import FAMILIES
from gradbench.problems import PROBLEMS
from gradbench.report.format import number, read_alike, span
from gradbench.report.markdown import markdown_table, unmarked
from gradbench.report.pages.standing import KeptRun, baseline_of
from gradbench.report.tables import estimator_label
from gradbench.results.at_budget import samples_of_target
from gradbench.results.columns import POINT
from gradbench.results.compare.match import ratios_of
from gradbench.results.declared import declared_biased
from gradbench.statistics import ALPHA
from gradbench.suite.equal_cost import EqualCost

EVALUATIONS = EqualCost("evaluations")
CHOICE_HEADERS = (
    "L",
    "least variance of φ",
    "over the baseline's",
    "cannot be told from it",
    "the next",
    "biased, yet closer",
)
CHOOSING_HEAD = """\
# Which estimator should I use?

It depends on the latents, on the objective and on L. This page reads off what the kept runs measured: small models on
digits, and costs in closed form. For a model of your own, [measure it](vae.md), then ask `gradbench recommend RUN`.

## How to read this page

- **Least variance.** Of the estimators that are declared unbiased, were not found biased, and have noise: the one
  with the least variance of the φ-gradient.
- **Over the baseline's.** Its variance over the baseline's, with a 95 % interval, paired block by block. Below 1 is
  less noise.
- **Cannot be told from it.** All whose variance may be as small, or differs by less than 0.5 %. Together with the first
  they hold the one that is truly quietest in at least 95 % of rows: each is tested against the first at 5 % / (how many
  they are).
- **The next.** The quietest that *can* be told from the first, and how many times its variance it has.
- **At equal evaluations.** The same for variance × evaluations of the model, whatever L. Times are not compared here:
  they are those of one machine.
- **Biased, yet closer.** Estimators with a bias, declared or found, whose single gradient has less mean squared error
  than the first's (the intervals are apart). Averaging, or a longer run, leaves their bias.
- **†** No verdict on bias was reached with the replicates of that run."""
KL_WORDS = {"analytic": "analytic", "monte-carlo": "sampled"}
NEAR = 0.005
"""A variance that is certainly less than so much above the least is as good: figures are shown to three digits."""
OPEN_MARK = "†"
CHOOSING_FOOT = "*Made from the kept runs by `make docs`.*"


@dataclass(frozen=True)
class Choice:
    """The quietest estimator of several, with its evidence; factors of variance are (value, low, high)."""

    first: str
    over_baseline: tuple[float, float, float] | None
    """None where the baseline was not measured there."""
    alike: tuple[str, ...]
    """Those that cannot be told from it."""
    following: tuple[str, tuple[float, float, float]] | None
    """The quietest that can be, and its variance over the first one's."""
    closer: tuple[str, ...]
    """Those that are biased and still have less mean squared error."""


@dataclass(frozen=True)
class Choices:
    """What is chosen at one point: by L, and at equal evaluations."""

    title: str
    family: str
    objective: str
    by_samples: dict[str, Choice]
    at_equal_evaluations: dict[str, Choice]


def choosing_page(kept: Sequence[KeptRun]) -> str:
    """The page, in Markdown: a summary by latents, then a table for each point of ``kept``."""
    found = [(run.suite, standing) for run in kept for standing in standings(run)]
    parts = [CHOOSING_HEAD, "## In short", _summary([standing for _, standing in found])]
    for family in FAMILIES:
        told = [(suite, standing) for suite, standing in found if standing.family == family]
        parts += [f"## {family.capitalize()} latents"] if told else []
        for suite, standing in told:
            rows = [_row(at, one) for at, one in (standing.by_samples | standing.at_equal_evaluations).items()]
            parts += [f"{standing.title} Suite `{suite}`.", markdown_table(CHOICE_HEADERS, rows)]
    return "\n\n".join([*parts, CHOOSING_FOOT]) + "\n"


def standings(run: KeptRun) -> Iterator[Choices]:
    """What is chosen at each point of a run at which two estimators or more may be, which have noise and no bias."""
    for _, there in run.rows.groupby(list(POINT), sort=False, dropna=False):
        phi = there[there.group == "phi"]
        right = ~declared_biased(phi) & (phi.verdict != "biased")
        candidates = phi[right & (phi.variance > 0)]
        if candidates.estimator.nunique() < 2:
            continue
        first = candidates.iloc[0]
        baseline = baseline_of(there)
        by_samples = {
            str(samples): choice(run, at, phi[~right & (phi.samples == samples)], baseline)
            for samples, at in candidates.groupby("samples")
            if len(at) > 1
        }
        free = {
            f"{_only(at.samples)}, at equal evaluations": choice(run, at, phi.iloc[:0], baseline, EVALUATIONS)
            for _, at in candidates.groupby(samples_of_target(candidates))
        }
        family = PROBLEMS[str(first.problem)].family
        treatment = f", {KL_WORDS[first.kl]} KL" if first.objective == "elbo" else ""
        yield Choices(run.title(first, baseline), family, f"{first.objective}{treatment}", by_samples, free)


def _only(samples: pd.Series) -> str:
    return str(samples.iloc[0]) if samples.nunique() == 1 else "any"


def choice(
    run: KeptRun, candidates: pd.DataFrame, biased: pd.DataFrame, baseline: str, cost: EqualCost | None = None
) -> Choice:
    """The quietest of ``candidates``, rows of one group at one point, and what is known of the others beside it.

    ``biased`` holds rows of the same point with a bias. With ``cost``, variance is that of one budget for
    all, whatever L.
    """
    weight = candidates[cost.unit] if cost else 1.0
    best = candidates.loc[[(candidates.variance * weight).idxmin()]]
    others = candidates.drop(index=best.index)
    suffix, several = "_at" if cost else "", candidates.samples.nunique() > 1
    ratios = ratios_of(run.run, best, others, [*POINT, "group"], cost).sort_values(f"variance{suffix}_ratio")
    near = ratios[f"variance{suffix}_ratio_high"] < 1 + NEAR
    apart = (ratios[f"variance{suffix}_p"] * len(ratios) <= ALPHA) & ~near
    labels = [_label(run, row, several, side="_b") for row in ratios.to_dict("records")]
    alike = tuple(label for label, told in zip(labels, apart, strict=True) if not told)
    following = None
    if apart.any():
        place = int(apart.to_numpy().argmax())
        following = labels[place], _factor(ratios.iloc[place], suffix)
    closer = biased[biased.mse_high < best.mse_low.iloc[0]]
    return Choice(
        _label(run, best.iloc[0], several),
        _over(run, best, candidates, baseline, cost, suffix),
        alike,
        following,
        tuple(_label(run, row, False) for row in closer.sort_values("mse").to_dict("records")),
    )


def _over(
    run: KeptRun, best: pd.DataFrame, candidates: pd.DataFrame, baseline: str, cost: EqualCost | None, suffix: str
) -> tuple[float, float, float] | None:
    """The variance of ``best`` over the baseline's at its smallest L; None where the baseline is no candidate."""
    base = candidates[candidates.estimator == baseline].sort_values("samples", kind="stable").iloc[:1]
    if base.empty:
        return None
    return _factor(ratios_of(run.run, base, best, [*POINT, "group"], cost).iloc[0], suffix)


def _factor(row: Any, suffix: str) -> tuple[float, float, float]:
    value, low, high = (float(row[f"variance{suffix}_ratio{end}"]) for end in ("", "_low", "_high"))
    return value, low, high


def _label(run: KeptRun, row: Any, with_samples: bool, side: str = "") -> str:
    """An estimator with the parameters that vary in the run, its L where that is free, † where its bias is open."""
    label = estimator_label(row[f"estimator{side}"], row[f"estimator_params{side}"], run.varying)
    mark = OPEN_MARK if row[f"verdict{side}"] == "unresolved" else ""
    return unmarked(label) + (f" (L = {row[f'samples{side}']})" if with_samples else "") + mark


def _row(at: str, one: Choice) -> tuple[str, ...]:
    following = "–" if one.following is None else f"{one.following[0]}: {_told(one.following[1])}"
    over = "–" if one.over_baseline is None else _told(one.over_baseline)
    return at, one.first, over, ", ".join(one.alike) or "–", following, ", ".join(one.closer) or "–"


def _told(factor: tuple[float, float, float]) -> str:
    return number(factor[0]) if read_alike(*factor) else f"{number(factor[0])} ({span(*factor[1:])})"


def _summary(found: Sequence[Choices]) -> str:
    """For each family and objective: at how many points each has the least variance × evaluations."""
    by_kind: dict[tuple[str, str], list[Choice]] = {}
    for standing in found:
        kind = (standing.family, standing.objective)
        by_kind.setdefault(kind, []).extend(standing.at_equal_evaluations.values())
    rows = []
    for family, objective in sorted(by_kind, key=lambda kind: (list(FAMILIES).index(kind[0]), kind[1])):
        choices = by_kind[family, objective]
        names = Counter(one.first.partition(" ")[0].removesuffix(OPEN_MARK) for one in choices)
        alone = Counter(one.first.partition(" ")[0].removesuffix(OPEN_MARK) for one in choices if not one.alike)
        told = [f"{name}: {times}, alone at {alone[name]}" for name, times in names.most_common()]
        rows.append((family, objective, str(len(choices)), "; ".join(told)))
    text = (
        "Who has the least variance × evaluations among those not found biased, and at how many points. *Alone* counts "
        "the points where every other estimator is told from it; at the others, some cannot be."
    )
    return text + "\n\n" + markdown_table(("latents", "objective", "points", "least variance × evaluations at"), rows)
