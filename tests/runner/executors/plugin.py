"""A plugin whose estimators each are the score function with one fault that a process does not survive, or not well."""

import os
import resource
import signal
import sys
import time
from pathlib import Path

import torch

import gradbench as gb

MARK = Path(__file__).with_suffix(".seen")
"""Is there once `waits_first` has waited."""


def right(objective, q, noise):
    z = gb.hold(q.sample(noise), "z")
    f = gb.live(objective.f(z, gb.hold(q, "q in f")), "f")
    return gb.average(gb.hold(f, "f as weight") * gb.live(q.log_prob(z), "log q") + f)


def hangs(objective, q, noise):
    while True:
        time.sleep(0.05)


def is_killed(objective, q, noise):
    os.kill(os.getpid(), signal.SIGKILL)


def crashes(objective, q, noise):
    os.kill(os.getpid(), signal.SIGSEGV)


def ends(objective, q, noise):
    os._exit(0)


def exits(objective, q, noise):
    sys.exit(0)


def raises(objective, q, noise):
    raise BaseException("base")


def gives_nan(objective, q, noise):
    return right(objective, q, noise) * float("nan")


def takes_all_memory(objective, q, noise):
    """What a limit on memory does: an allocation is refused."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + 2**28, hard))
    try:
        torch.ones(2**30)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    return right(objective, q, noise)


def waits_first(objective, q, noise):
    """Waits, the first time that it is called anywhere, and says on which node of a Ray cluster."""
    if not MARK.exists():
        import ray

        MARK.write_text(ray.get_runtime_context().get_node_id())
        time.sleep(120)
    return right(objective, q, noise)


def prints(objective, q, noise):
    print("NOISE OF PYTHON")
    os.write(1, b"NOISE OF C\n")
    return right(objective, q, noise)


FAULTS = (hangs, is_killed, crashes, ends, exits, raises, gives_nan, takes_all_memory)
for _one in (right, prints, waits_first, *FAULTS):
    _name = _one.__name__.replace("_", "-")
    globals()[f"E_{_one.__name__}"] = gb.Estimator(name=_name, title=_name, surrogate=_one, ledger=(), paper="-")
