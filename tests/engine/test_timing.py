"""What one gradient costs."""

from __future__ import annotations

import os
import subprocess
import sys
import time

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
    """Runs that take ``seconds``, and where others have the core in run ``busy``, ``more`` that are spent waiting."""

    def __init__(self, monkeypatch, seconds, more, busy):
        self.count, self.waited, self.now = 0, 0.0, 0.0
        self.seconds, self.more, self.busy = seconds, more, busy
        monkeypatch.setattr(timing, "LONGEST_WAIT_SECONDS", 0.5)
        monkeypatch.setattr(timing, "_waited", lambda: self.waited)
        monkeypatch.setattr(timing.time, "perf_counter", lambda: self.now)

    def __call__(self):
        self.count += 1
        away = self.more if self.busy(self.count) else 0.0
        self.waited += away
        took = self.seconds * (1 + 1e-3 * (self.count % 9)) + away
        self.now += took
        return took


def test_runs_that_waited_for_a_core_are_not_counted(monkeypatch):
    machine = Machine(monkeypatch, 1e-3, 0.02, lambda count: count % 3 != 0)
    median, low, high = timing._timed(machine, 1)
    assert 1e-3 <= low <= median <= high < 1.01e-3


def test_times_of_a_machine_that_is_never_free_span_all_that_was_seen(monkeypatch):
    machine = Machine(monkeypatch, 1e-3, 1e-3, lambda count: True)
    _, low, high = timing._timed(machine, 1)
    assert (low, high) == (2e-3, 1e-3 * 1.008 + 1e-3)
    assert machine.now < 0.51  # nor is it waited for
    lucky = Machine(monkeypatch, 1e-3, 0.16, lambda count: count != 4)
    median, low, high = timing._timed(lucky, 1)
    assert median == pytest.approx(1e-3, rel=0.01)
    assert low == median
    assert high > 0.16


def test_a_long_run_may_wait_a_little(monkeypatch):
    machine = Machine(monkeypatch, 0.3, 0.01, lambda count: True)
    median, low, high = timing._timed(machine, 1)
    assert machine.count == timing.MIN_RUNS
    assert 0.31 < low < median < high < 0.31 + 0.3 * 0.008  # the second and the eighth, not the ends


def test_what_threads_waited_for_is_that_of_all_of_them(monkeypatch, tmp_path):
    for thread, text in (("1", "500 2000000000 7\n"), ("2", "500 500000000 7\n"), ("3", "another format\n")):
        (tmp_path / thread).mkdir()
        (tmp_path / thread / "schedstat").write_text(text)
    (tmp_path / "4").mkdir()  # has ended
    monkeypatch.setattr(timing, "THREADS", tmp_path)
    assert timing._waited() == 2.5
    monkeypatch.setattr(timing, "THREADS", tmp_path / "elsewhere")
    assert timing._waited() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone says how long a thread waits")
def test_the_system_tells_of_a_core_that_another_process_has():
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        before = timing._waited()
        with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
            end = time.perf_counter() + 0.5
            while time.perf_counter() < end:
                pass
            other.kill()
        assert timing._waited() - before > 0.1
    finally:
        os.sched_setaffinity(0, cores)
