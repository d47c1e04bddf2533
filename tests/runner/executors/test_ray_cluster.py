"""Cells on a Ray cluster of this machine: the same figures, and a node that is lost takes its cells alone."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from gradbench import plugins
from gradbench.core.errors import RunError, UsageError
from gradbench.runner import runs
from gradbench.runner.execution import Execution
from tests.runner.executors.test_processes import (
    BITS,
    COST,
    GRIDS,
    NEIGHBOURS,
    PLUGIN,
    Notes,
    brought,
    identical,
    suite,
)

ray = pytest.importorskip("ray", reason="Ray cannot be installed here")
from ray.cluster_utils import Cluster  # noqa: E402

__all__ = ["brought"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster():
    """A head that measures nothing, and two nodes of one CPU each."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        found.add_node(num_cpus=1)
    yield found
    ray.shutdown()
    found.shutdown()


def on(cluster: Cluster, **settings) -> Execution:
    return Execution(executor="ray", address=cluster.address, **settings)


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    return runs.run(suite(*GRIDS), tmp_path_factory.mktemp("serial") / "run").run.frame


def test_on_a_cluster_the_figures_are_the_same_to_the_bit(cluster, serial, tmp_path):
    outcome = runs.run(suite(*GRIDS), tmp_path / "run", execution=on(cluster))
    assert outcome.exit_code == 0
    identical(outcome.run.frame, serial)
    assert outcome.run.ok().seconds.notna().all()
    assert not (tmp_path / "run" / "references").exists()


def test_what_ends_a_task_fails_its_cell_alone(brought, cluster, serial, tmp_path):
    names = ["is-killed", "ends", "hangs", "gives-nan", "raises"]
    grid = COST | {"estimators": [NEIGHBOURS[0], *names, NEIGHBOURS[1]]}
    outcome = runs.run(suite(grid), tmp_path / "run", execution=on(cluster, timeout=8.0))
    frame = outcome.run.frame
    failed = frame[frame.status == "failed"].set_index("estimator")
    assert set(failed.index) == set(names)
    assert failed.error_type["hangs"] == "TimeoutError"
    assert "its process ended" in failed.message["ends"]
    beside = frame[frame.estimator.isin(NEIGHBOURS)].drop(columns="verdict")
    identical(beside, serial[serial.problem == "gaussian-cost"].drop(columns="verdict"))


class Losing(Notes):
    """Removes the node that an estimator waits on."""

    def __init__(self, cluster: Cluster, mark: Path) -> None:
        super().__init__()
        self.cluster, self.mark = cluster, mark

    def phase(self, what: str, count: int) -> None:
        if what == "cell":
            threading.Thread(target=self.lose, daemon=True).start()

    def lose(self) -> None:
        while not (self.mark.exists() and self.mark.read_text()):
            time.sleep(0.1)
        (node,) = [one for one in self.cluster.worker_nodes if one.node_id == self.mark.read_text()]
        self.cluster.remove_node(node, allow_graceful=False)


def test_a_lost_node_takes_its_cells_alone_and_they_are_measured_when_the_run_goes_on(
    brought, cluster, serial, tmp_path
):
    grids = (COST | {"estimators": ["waits-first", *NEIGHBOURS]}, BITS)
    losing = Losing(cluster, tmp_path / "plugin.seen")
    first = runs.run(suite(*grids), tmp_path / "run", losing, on(cluster))
    failed = first.run.frame[first.run.frame.status == "failed"]
    assert first.exit_code == 3
    assert list(failed.estimator) == ["waits-first"]
    assert "its machine did" in failed.message.item()
    again = runs.run(suite(*grids), tmp_path / "run", execution=on(cluster))
    assert again.exit_code == 0
    both = again.run.frame[again.run.frame.estimator != "waits-first"]
    known = serial[serial.cell_id.isin(both.cell_id)]
    identical(both.drop(columns="verdict"), known.drop(columns="verdict"))


DIES_ONCE = """
import os
from pathlib import Path

try:
    Path(__file__).with_suffix(".once").unlink()
except FileNotFoundError:
    pass
else:
    os._exit(1)
"""


@pytest.mark.parametrize("deaths", [1, 2])
def test_a_task_that_never_began_is_given_out_once_more(deaths, cluster, serial, tmp_path, fresh):
    """As where it was on its way to a node that nobody knew to be lost yet: its process dies before the cell begins."""
    plugin = tmp_path / "dies.py"
    dies = DIES_ONCE if deaths == 1 else DIES_ONCE.replace(".unlink()", ".stat()")
    plugin.write_text(PLUGIN.read_text(encoding="utf-8") + dies, encoding="utf-8")
    plugins.load_file(plugin)
    plugin.with_suffix(".once").touch()
    grid = COST | {"estimators": NEIGHBOURS[:1]}
    outcome = runs.run(suite(grid), tmp_path / "run", execution=on(cluster))
    ok = outcome.run.frame.drop(columns="verdict")
    if deaths == 1:
        assert outcome.exit_code == 0
        known = serial[(serial.problem == "gaussian-cost") & (serial.estimator == NEIGHBOURS[0])]
        identical(ok, known.drop(columns="verdict"))
    else:
        assert outcome.exit_code == 4
        assert "its process ended" in outcome.run.frame.message.iloc[0]


def test_a_cluster_that_does_not_answer_is_said(tmp_path):
    with pytest.raises((UsageError, RunError), match="no Ray cluster answers"):
        runs.run(
            suite(COST | {"estimators": NEIGHBOURS}),
            tmp_path / "run",
            execution=Execution(executor="ray", address="127.0.0.1:1"),
        )
