"""A run that is killed, at any moment and within any of its writes, goes on: nothing is lost or measured twice.

``GRADBENCH_KILLS`` says how many random moments are tried.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pandas as pd
import psutil
import pytest

from gradbench.results import store
from gradbench.runner import runs
from gradbench.runner.execution import Execution
from gradbench.suite.suites import Settings, Suite, resolve
from tests.helpers import TIMED

KILLS = int(os.environ.get("GRADBENCH_KILLS", "8"))
MODEL = {"problem": "gaussian-vae", "hidden": 4, "latent": 2, "batch": 2, "train_steps": 5, "samples": [1, 2]}
COST = {"problem": "gaussian-cost", "samples": [1, 2], "estimators": ["pathwise", "score-function"]}
GRIDS = [MODEL | {"estimators": ["pathwise", "score-function", "score-function-learned"]}, COST]
RAW = {"name": "test", "measure": {"replicates": 64, "blocks": 8}, "grid": GRIDS}
forked = multiprocessing.get_context("fork")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def suite() -> Suite:
    return resolve(RAW, "test.toml", Settings())


def figures(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns=list(TIMED)).sort_values(["cell_id", "group"]).reset_index(drop=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> pd.DataFrame:
    return runs.run(suite(), tmp_path_factory.mktemp("undisturbed") / "run").run.frame


def begun(out: Path) -> dict[str, object]:
    """When each finished cell of a folder was begun."""
    if not (out / "manifest.json").exists():
        return {}
    table = store.kept_rows(out, ["cell_id", "status", "started_at"])
    return {row["cell_id"]: row["started_at"] for row in table.to_pylist() if row["status"] == "ok"}


def killed(act: Callable[[], object], seconds: float) -> bool:
    """Run ``act`` in a process that is killed after so many seconds; whether it was still at it."""
    child = forked.Process(target=act)
    child.start()
    child.join(seconds)
    alive = child.is_alive()
    child.kill()
    child.join()
    return alive


def assert_sound(out: Path, undisturbed: pd.DataFrame, before: dict[str, object]) -> None:
    """The folder of a finished run: nothing lost, nothing measured twice, the same figures, no leftovers."""
    finished = runs.run(suite(), out)
    assert finished.exit_code == 0
    pd.testing.assert_frame_equal(figures(finished.run.frame), figures(undisturbed), check_exact=True)
    now = begun(out)
    assert {cell: now[cell] for cell in before} == before
    left = [str(file.relative_to(out)) for file in out.rglob("*") if "partial" in file.name]
    assert left == []
    assert not (out / "references").exists()


def test_killed_at_random_moments(undisturbed, tmp_path):
    chosen, whole = random.Random(0), 0.0
    clock = time.perf_counter()
    runs.run(suite(), tmp_path / "timed")
    whole = time.perf_counter() - clock
    kills = kept = 0
    number = 0
    while kills < KILLS:
        out, before = tmp_path / f"run-{number}", dict[str, object]()
        number += 1
        while killed(lambda out=out: runs.run(suite(), out), chosen.uniform(0.0, 0.7) * whole):
            kills += 1
            now = begun(out)
            assert {cell: now.get(cell) for cell in before} == before, "a finished cell is lost or measured twice"
            before, kept = now, kept + len(now)
            if kills >= KILLS:
                break
        assert_sound(out, undisturbed, before)
    assert kept > 0, "no kill came late enough for a cell to be kept"


def kill_within(write: int, out: Path) -> None:
    """Run, and be killed as the file of the ``write``-th write is to take its name."""
    count = 0
    original = os.replace, Path.replace

    def replacing(index: int) -> Callable[..., object]:
        def replace(*given, **named):
            nonlocal count
            count += 1
            if count == write:
                os.kill(os.getpid(), signal.SIGKILL)
            return original[index](*given, **named)

        return replace

    os.replace, Path.replace = replacing(0), replacing(1)
    runs.run(suite(), out)


def test_killed_within_every_write(undisturbed, tmp_path):
    write, step = 1, 1 if KILLS > 8 else 3
    while True:
        out = tmp_path / f"run-{write}"
        child = forked.Process(target=kill_within, args=(write, out))
        child.start()
        child.join()
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        assert_sound(out, undisturbed, begun(out))
        write += step
    assert write > 12, "the run has fewer writes than it has cells"


def test_a_worker_that_is_killed_fails_its_cell_and_the_run_goes_on(undisturbed, tmp_path):
    class Killing(runs.Progress):
        cells = 0

        def cell(self, label: str) -> None:
            self.cells += 1
            if self.cells == 4:
                (worker,) = psutil.Process().children()[-1:]
                worker.kill()

    out = tmp_path / "run"
    first = runs.run(suite(), out, Killing(), Execution(workers=1))
    failed = first.run.frame[first.run.frame.status == "failed"]
    assert first.exit_code == 3
    assert len(failed) == 1
    assert "SIGKILL" in failed.message.item()
    assert_sound(out, undisturbed, begun(out))


def is_worker(process: psutil.Process) -> bool:
    with suppress(psutil.Error):  # it may end while it is looked at
        return "spawn_main" in str(process.cmdline())
    return False


def test_workers_end_with_a_run_that_is_killed(undisturbed, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom gradbench.runner import runs\n"
        "from gradbench.runner.execution import Execution\nfrom tests.runner.test_killed import suite\n"
        "if __name__ == '__main__':\n    runs.run(suite(), Path(sys.argv[1]), execution=Execution(workers=2))\n"
    )
    root = Path(__file__).parents[2]
    env = os.environ | {"PYTHONPATH": str(root)}
    run = subprocess.Popen([sys.executable, str(script), str(tmp_path / "run")], env=env, cwd=tmp_path)
    workers: list[psutil.Process] = []
    while run.poll() is None and (len(workers) < 2 or len(begun(tmp_path / "run")) < 2):
        workers = [one for one in psutil.Process(run.pid).children(recursive=True) if is_worker(one)]
        time.sleep(0.1)
    assert run.poll() is None, "the run ended before it could be killed"
    run.kill()
    run.wait()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == []
    assert_sound(tmp_path / "run", undisturbed, begun(tmp_path / "run"))
