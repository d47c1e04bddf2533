"""Fitted controls at the size of the papers' models, 200 units at batch 50: their fit and their passes, in memory."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

MIB = 2**20
BUDGET = 320 * MIB
"""Beyond what the process holds before the fit."""
MEASURE = """
import gc, json, sys
import torch
from gradbench.engine.measure import measure_moments as measure
from tests.helpers import point_of, task_of

def resident(name):
    (line,) = (line for line in open("/proc/self/status") if line.startswith(name))
    return 1024 * int(line.split()[1])

torch.set_num_threads(1)
point = point_of("sigmoid-belief", latent=200, batch=50, dtype=torch.float32)
small = point_of("sigmoid-belief", latent=2, batch=1)
given = {} if sys.argv[1] in ("muprop", "double-cv") else {"fit_steps": 2}
reference = {name: value.detach() for name, value in point.problem.named_parameters().items()}
task_of(small, sys.argv[1], 2, **given)  # what is imported on the way is none of it
gc.collect()
before = resident("VmRSS")
open("/proc/self/clear_refs", "w").write("5")  # the peak counts from here
task = task_of(point, sys.argv[1], 2, **given)
fitted = resident("VmHWM") - before
moments = measure(task, range(2), 32, reference)
print(json.dumps({"fit": fitted, "peak": resident("VmHWM") - before, "engine": moments.engine}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", ["muprop", "rebar", "relax", "double-cv", "rodeo"])
def test_memory_at_200_units_and_batch_50(name):
    found = subprocess.run([sys.executable, "-c", MEASURE, name], capture_output=True, text=True, check=True)
    assert json.loads(found.stdout)["peak"] < BUDGET, found.stdout
