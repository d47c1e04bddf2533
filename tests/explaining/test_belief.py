"""Binary h and the joint P(x, h): the forms of the gradient against one by hand, and what holding h does."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from gradbench.explaining.belief import BinaryCase, measure_belief
from gradbench.explaining.bench import Bench


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench()


@pytest.fixture(scope="module")
def found(bench: Bench) -> BinaryCase:
    return measure_belief(bench)


class ByHand:
    """Sums over all states in numpy, for the linear network: log Q has the score (h − p) xᵀ in the encoder's weight."""

    def __init__(self, bench: Bench) -> None:
        point = bench.belief_network().point
        assert point.x is not None
        self.x = point.x[0, 0].numpy()  # [B, features]
        own = {name: value.detach().numpy() for name, value in point.problem.named_parameters().items()}
        weight, bias = own["phi.encoder.output.weight"], own["phi.encoder.output.bias"]
        self.p = _sigmoid(self.x @ weight.T + bias)  # [B, bits]
        self.h = np.array(list(itertools.product((0.0, 1.0), repeat=self.p.shape[1])))  # [states, bits]
        self.log_q = _log_bernoulli(self.h[:, None], self.p)  # [states, B]
        decoded = self.h @ own["theta.decoder.output.weight"].T + own["theta.decoder.output.bias"]
        likelihood = _log_bernoulli(self.x, _sigmoid(decoded)[:, None])
        self.log_p = likelihood + _log_bernoulli(self.h, _sigmoid(own["theta.prior.logits"]))[:, None]

    def gradient(self, f: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Σ_h f ∇Q for each datapoint, in the encoder's bias [B, bits] and weight [B, bits, features]."""
        bias = np.einsum("sb,sbd->bd", f * np.exp(self.log_q), self.h[:, None] - self.p)
        return bias, bias[:, :, None] * self.x[:, None]

    def norm(self, f: np.ndarray) -> float:
        """‖Σ_h f ∇Q‖, averaged over the minibatch."""
        return float(np.sqrt(sum((part.mean(0) ** 2).sum() for part in self.gradient(f))))

    def variance(self, f: np.ndarray) -> float:
        """Of f ∇ log Q at one draw for each datapoint, over all of φ."""
        score = ((self.h[:, None] - self.p) ** 2).sum(-1) * (1 + (self.x**2).sum(-1))
        second = (np.exp(self.log_q) * f**2 * score).sum(0)
        first = sum((part.reshape(len(part), -1) ** 2).sum(1) for part in self.gradient(f))
        return float((second - first).sum() / len(self.x) ** 2)


def _sigmoid(value: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-value))


def _log_bernoulli(bits: np.ndarray, p: np.ndarray) -> np.ndarray:
    return (bits * np.log(p) + (1 - bits) * np.log1p(-p)).sum(-1)


def test_both_forms_of_the_appendix_are_the_gradient(bench: Bench, found: BinaryCase) -> None:
    hand = ByHand(bench)
    f = hand.log_p - hand.log_q
    assert found.whole.norm == pytest.approx(1.033715, abs=1e-6)
    assert hand.norm(f) == pytest.approx(found.whole.norm, rel=1e-10)
    assert hand.norm(f - 1) == pytest.approx(found.whole.norm, rel=1e-10)
    for form in (found.entropy_differentiated, found.log_q_held, found.as_mean):
        assert form.off < 1e-12
    assert found.score_sum < 1e-12
    assert found.nudged == pytest.approx(found.whole.norm, rel=1e-6)
    assert found.joint.norm == pytest.approx(hand.norm(hand.log_p), rel=1e-10)
    assert found.joint.off > 0.1  # it is one half


def test_no_phi_is_in_the_joint_nor_in_a_drawn_h(bench: Bench, found: BinaryCase) -> None:
    assert (found.joint_has_phi, found.drawn_has_phi, found.difference) == (False, False, 0.0)
    # where something does flow, the comparison sees it
    target = bench.vae("monte-carlo")
    held, dropped = (
        bench.surrogate(target, "score-function", drop).gradients() for drop in (frozenset(), frozenset({"z"}))
    )
    assert max(float((held[name] - dropped[name]).abs().max()) for name in held) > 0.01


def test_one_draw_of_h_is_right_with_the_score_and_lost_without(bench: Bench, found: BinaryCase) -> None:
    rows = {(name, drop): line for name, drop, line in found.rows}
    verdicts = {(name, *drop): line.verdict for (name, drop), line in rows.items()}
    assert verdicts == {
        ("score-function",): "unbiased",
        ("score-function", "q in f"): "unbiased",
        ("score-function", "z"): "unbiased",
        ("fixed-sample",): "biased",
        ("fixed-sample", "z"): "biased",
    }
    hand = ByHand(bench)
    f = hand.log_p - hand.log_q
    held, differentiated = (rows["score-function", frozenset(drop)].variance for drop in ((), ("q in f",)))
    assert held == pytest.approx(hand.variance(f), rel=0.05)
    assert differentiated == pytest.approx(hand.variance(f - 1), rel=0.05)
    # the same draws: their ratio is known better
    assert differentiated / held == pytest.approx(hand.variance(f - 1) / hand.variance(f), rel=0.005)
    lost = rows["fixed-sample", frozenset()]
    assert lost.counted == pytest.approx(0, abs=1e-6)
    assert lost.variance == pytest.approx(hand.variance(np.ones_like(f)), rel=0.1)  # −∇ log Q is left
