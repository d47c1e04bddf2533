"""At the targets of the multi-sample bound a right estimator is decided with room, and a wrong one is found."""

from __future__ import annotations

import math

import pytest
import torch

from gradbench.checking import sequential
from gradbench.checking.targets import targets
from gradbench.checking.verdict import Result, check_estimator
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.base import Estimator
from gradbench.estimators.bounds.vimco_geometric import geometric_control
from gradbench.estimators.scope import unbiased

AT = {target.label: target for target in targets() if target.objective == "iwae"}
TWO, THREE = (f"sigmoid-belief, {samples}-sample iwae" for samples in (2, 3))
ROOM = sequential.MAX_REPLICATES // 2
"""Replicates with which a right one must be decided: half of what a check takes by default."""
FEW = 2048
"""Those with which a wrong one must be found."""


def weighted(weight, *, sign: float = 1.0, held: bool = False):
    """A score weighted by ``weight`` of bound [R, 1, B] and log weights [R, L, B], and the bound's own gradient."""

    def surrogate(objective, q, noise):
        z = q.sample(noise).detach()
        log_w = objective.f(z, q.held() if held else q)
        bound = objective.reduce(log_w)
        score = weight(bound[:, None], log_w).detach() * q.log_prob(z)
        return (sign * score.sum(1) + bound).mean(-1)

    return surrogate


def alone(bound, log_w):
    return bound


def against_others(bound, log_w):
    return bound - geometric_control(log_w)


def against_all(bound, log_w):
    """In its place each sample has the geometric mean of all, in which it has a part itself."""
    samples = log_w.shape[1]
    own = torch.eye(samples, dtype=torch.bool)[None, :, :, None]
    replaced = torch.where(own, log_w.mean(1)[:, None, None], log_w[:, None])
    return bound - (replaced.logsumexp(2) - math.log(samples))


def against_the_reverse(bound, log_w):
    """The samples in reverse order for the others: so they are at L = 2, and at L = 3 the middle one is its own."""
    return bound - log_w.flip(1)


def one_over_samples(bound, log_w):
    return (bound - geometric_control(log_w)) / log_w.shape[1]


WRONG = {
    "sign flipped": weighted(against_others, sign=-1.0),
    "sign flipped, no control": weighted(alone, sign=-1.0),
    "q held in f": weighted(against_others, held=True),
    "q held in f, no control": weighted(alone, held=True),
    "own sample in the control": weighted(against_all),
    "score averaged over samples": weighted(one_over_samples),
}


def checked(surrogate, label: str, replicates: int) -> Result:
    one = Estimator("one", "", surrogate, (), "-", unbiased=unbiased("iwae"))
    return check_estimator(one, at=[AT[label]], replicates=replicates)


def test_every_kind_of_latents_has_a_target_and_bits_have_two_and_three_samples() -> None:
    assert {target.problem for target in AT.values()} >= {"linear-gaussian", "gaussian-vae", "categorical-vae"}
    assert {TWO, THREE} <= AT.keys()


@pytest.mark.parametrize("label", [TWO, THREE])
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_bound_is_found_on_bits(name: str, label: str) -> None:
    result = checked(WRONG[name], label, FEW)
    assert (result.verdict, result.parts["phi"]) == ("biased", "biased")
    assert result.parts["theta"] != "biased"


@pytest.mark.parametrize("surrogate", [weighted(alone), weighted(against_others)], ids=["alone", "against others"])
def test_the_right_ones_that_they_were_made_of_are_not(surrogate) -> None:
    for label in (TWO, THREE):
        assert checked(surrogate, label, FEW).verdict != "biased"


def test_a_mistake_that_two_samples_hide_is_found_at_three() -> None:
    surrogate = weighted(against_the_reverse)
    assert checked(surrogate, TWO, 8192).verdict == "unbiased"
    assert checked(surrogate, THREE, FEW).verdict == "biased"


@pytest.mark.slow
@pytest.mark.parametrize("label", AT)
@pytest.mark.parametrize("name", ["iwae-score", "vimco-geometric"])
def test_a_right_bound_is_decided_with_room(name: str, label: str) -> None:
    assert check_estimator(ESTIMATORS[name], at=[AT[label]], replicates=ROOM).verdict == "unbiased"
