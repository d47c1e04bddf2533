"""What one gradient costs."""

from __future__ import annotations

import pytest
import torch

from gradbench.engine import timing
from gradbench.engine.timing import cost
from tests.helpers import point_of, task_of

HIDDEN, LATENT, BATCH, SAMPLES, DATA = 7, 3, 5, 2, 64
VAE = {"hidden": HIDDEN, "latent": LATENT, "batch": BATCH}
ENCODER = BATCH * (DATA * HIDDEN + HIDDEN * 2 * LATENT), BATCH * HIDDEN * 2 * LATENT
DECODER = BATCH * SAMPLES * (LATENT * HIDDEN + HIDDEN * DATA), BATCH * SAMPLES * HIDDEN * DATA
"""Products of one pass over a network, and of those beyond its first layer."""


@pytest.mark.parametrize(
    ("estimator", "kl", "through"),
    [
        ("pathwise", "analytic", DECODER[0]),  # back through all of the decoder to z
        ("pathwise", "monte-carlo", DECODER[0]),
        ("score-function", "analytic", DECODER[1]),  # z is held: no further than the first layer's weights
        ("fixed-sample", "analytic", DECODER[1]),
    ],
)
def test_flops_are_those_of_one_forward_and_one_backward_pass(estimator, kl, through):
    forward = ENCODER[0] + DECODER[0]
    weights = ENCODER[0] + DECODER[0]
    inputs = ENCODER[1] + through
    found = cost(task_of(point_of("gaussian-vae", **VAE), estimator, SAMPLES, kl))
    assert found.flops == 2 * (forward + weights + inputs)


def test_the_posterior_is_asked_for_once_in_a_gradient(monkeypatch):
    task = task_of(point_of("gaussian-vae", **VAE), "pathwise", SAMPLES)
    kind, asked = type(task.point.problem), []
    posterior = kind.posterior
    monkeypatch.setattr(kind, "posterior", lambda *given: asked.append(None) or posterior(*given))
    generator = torch.Generator().manual_seed(0)
    task.gradient(task.noise(1, generator))  # once more, for the shape of the noise
    asked.clear()
    task.gradient(task.noise(1, generator))
    assert len(asked) == 1


def test_seconds_lie_in_their_interval_and_bytes_hold_the_activations():
    small, large = (cost(task_of(point_of("gaussian-vae", **VAE | {"batch": b}), "pathwise")) for b in (1, 64))
    for found in (small, large):
        assert 0 < found.low <= found.seconds <= found.high
    element = 8
    assert small.peak_bytes >= element * (DATA + 2 * LATENT)
    assert large.peak_bytes - small.peak_bytes >= element * 63 * (DATA + 2 * LATENT + 2 * HIDDEN)


class Machine:
    """Runs that take ``seconds``, but ``disturbed`` seconds whenever others have the core, ``busy`` times in a run."""

    def __init__(self, monkeypatch, seconds, disturbed, busy):
        self.count, self.lost, self.now = 0, 0, 0.0
        self.seconds, self.disturbed, self.busy = seconds, disturbed, busy
        monkeypatch.setattr(timing, "PATIENCE", 0.5)
        monkeypatch.setattr(timing, "_interruptions", lambda: self.lost)
        monkeypatch.setattr(timing.time, "perf_counter", lambda: self.now)

    def __call__(self):
        self.count += 1
        away = self.busy(self.count)
        self.lost += away
        took = (self.disturbed if away else self.seconds) * (1 + 1e-3 * (self.count % 9))
        self.now += took
        return took


def test_runs_that_lost_their_core_to_another_process_are_not_counted(monkeypatch):
    machine = Machine(monkeypatch, 1e-3, 0.02, lambda count: 9 * (count % 3 != 0))
    median, low, high = timing._timed(machine, 1)
    assert 1e-3 <= low <= median <= high < 1.01e-3


def test_times_of_a_machine_that_is_never_free_span_all_that_was_seen(monkeypatch):
    machine = Machine(monkeypatch, 1e-3, 1e-3, lambda count: True)
    _, low, high = timing._timed(machine, 1)
    assert (low, high) == (1e-3, 1e-3 * 1.008)
    assert machine.now < 0.51  # nor is it waited for
    lucky = Machine(monkeypatch, 1e-3, 0.2, lambda count: 40 * (count != 4))
    median, low, high = timing._timed(lucky, 1)
    assert median == pytest.approx(1e-3, rel=0.01)
    assert low == median
    assert high > 0.2


def test_a_long_run_may_lose_its_core_now_and_then(monkeypatch):
    machine = Machine(monkeypatch, 0.3, 0.301, lambda count: True)
    median, low, high = timing._timed(machine, 1)
    assert machine.count == timing.MIN_RUNS
    assert 0.301 < low < median < high < 0.301 * 1.008  # the second and the eighth, not the ends


def test_a_run_that_stands_still_all_the_time_is_no_long_run(monkeypatch):
    machine = Machine(monkeypatch, 1e-3, 0.16, lambda count: 40 * (count > 3))
    median, _low, high = timing._timed(machine, 1)
    assert median < 1.01e-3
    assert high > 0.16


def test_the_system_counts_the_cores_that_are_lost():
    resource = pytest.importorskip("resource")

    def counted():
        return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw

    assert counted() <= timing._interruptions() <= counted()
