"""Cells in processes side by side: the same figures, and what ends one of them ends no other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from gradbench import plugins
from gradbench.core.errors import RunError, UsageError
from gradbench.runner import runs
from gradbench.runner.execution import Execution
from gradbench.suite.suites import Settings, resolve
from tests.helpers import TIMED
from tests.runner.executors import plugin

SMALL = {"replicates": 64, "blocks": 8}
NEIGHBOURS = ["score-function", "pathwise"]
MODEL = {"problem": "gaussian-vae", "hidden": 4, "latent": 2, "batch": 2, "train_steps": 5, "samples": 2}
BITS = {
    "problem": "sigmoid-belief",
    "latent": 4,
    "batch": 2,
    "samples": 2,
    "estimators": ["disarm", "exact", "pathwise"],
}
COST = {"problem": "gaussian-cost", "samples": 2}
GRIDS = (MODEL | {"estimators": [*NEIGHBOURS, "score-function-learned"]}, BITS, COST | {"estimators": NEIGHBOURS})
PLUGIN = Path(plugin.__file__)


def suite(*grids: dict, **measure):
    return resolve({"name": "test", "measure": SMALL | measure, "grid": list(grids)}, "test.toml", Settings())


def figures(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns=list(TIMED)).sort_values(["cell_id", "group"]).reset_index(drop=True)


def identical(a: pd.DataFrame, b: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(figures(a), figures(b), check_exact=True)


@pytest.fixture(scope="module")
def serial(tmp_path_factory) -> pd.DataFrame:
    return runs.run(suite(*GRIDS), tmp_path_factory.mktemp("serial") / "run").run.frame


@pytest.fixture
def brought(tmp_path, fresh):
    """The plugin's estimators take part, in this process and in those that it starts, from a copy of its file."""
    return plugins.load_file(shutil.copy(PLUGIN, tmp_path / PLUGIN.name))


class Notes(runs.Progress):
    def __init__(self) -> None:
        self.seconds, self.behind, self.phases = 0.0, 0.0, []

    def start(self, seconds: float) -> None:
        self.seconds = seconds

    def phase(self, what: str, count: int) -> None:
        self.phases.append((what, count))

    def advance(self, seconds: float) -> None:
        self.behind += seconds


def test_side_by_side_the_figures_are_the_same_to_the_bit(serial, tmp_path):
    progress = Notes()
    outcome = runs.run(suite(*GRIDS), tmp_path / "run", progress, Execution(workers=2))
    assert outcome.exit_code == 0
    identical(outcome.run.frame, serial)
    assert outcome.run.ok().seconds.notna().all()
    assert outcome.run.ok().work_variance.notna().all()
    assert progress.phases == [("cell", 7), ("timing", 7)]
    assert progress.behind == pytest.approx(progress.seconds)
    assert not (tmp_path / "run" / "references").exists()


def test_what_ends_a_process_fails_its_cell_alone(brought, serial, tmp_path, capfd):
    names = [one.__name__.replace("_", "-") for one in (*plugin.FAULTS, plugin.prints)]
    grid = COST | {"estimators": [NEIGHBOURS[0], *names, NEIGHBOURS[1]]}
    outcome = runs.run(suite(grid), tmp_path / "run", execution=Execution(workers=2, timeout=6.0))
    assert outcome.exit_code == 3
    frame = outcome.run.frame
    failed = frame[frame.status == "failed"].set_index("estimator")
    assert set(failed.index) == {one.__name__.replace("_", "-") for one in plugin.FAULTS}
    assert failed.error_type["hangs"] == "TimeoutError"
    assert "longer than --timeout 6s" in failed.message["hangs"]
    assert "SIGKILL" in failed.message["is-killed"]
    assert "crashed (SIGSEGV)" in failed.message["crashes"]
    assert "exit code 0" in failed.message["ends"]
    assert failed.error_type["exits"] == "SystemExit"
    assert failed.error_type["raises"] == "BaseException"
    assert "not finite" in failed.message["gives-nan"]
    assert "allocate" in failed.message["takes-all-memory"] or "memory" in failed.message["takes-all-memory"]
    kept = serial[serial.problem == "gaussian-cost"]
    beside = frame[frame.estimator.isin(NEIGHBOURS)]
    identical(beside.drop(columns="verdict"), kept.drop(columns="verdict"))
    out, err = capfd.readouterr()
    assert out == ""
    assert "NOISE OF PYTHON" in err
    assert "NOISE OF C" in err


def test_what_failed_is_measured_anew_and_nothing_else(brought, tmp_path):
    grid = COST | {"estimators": ["is-killed", "score-function"]}
    first = runs.run(suite(grid), tmp_path / "run", execution=Execution(workers=1))
    progress = Notes()
    again = runs.run(suite(grid), tmp_path / "run", progress, Execution(workers=1))
    assert progress.phases[0] == ("cell", 1)
    pd.testing.assert_frame_equal(first.run.ok(), again.run.ok())


def test_a_target_that_kills_its_process_fails_with_all_its_cells(tmp_path, fresh):
    plugins.load_file(PLUGIN.with_name("fatal_problem.py"))
    grid = {"problem": "fatal", "samples": 2, "estimators": NEIGHBOURS}
    outcome = runs.run(suite(grid, COST | {"estimators": NEIGHBOURS}), tmp_path / "run", execution=Execution(workers=2))
    failed = outcome.run.frame[outcome.run.frame.status == "failed"]
    assert sorted(failed.estimator) == sorted(NEIGHBOURS)
    assert failed.message.str.contains("while the model was made").all()
    assert outcome.exit_code == 3


def test_fail_fast_stops_and_can_go_on(brought, tmp_path):
    grid = COST | {"estimators": ["gives-nan", "score-function", "pathwise"]}
    stopped = runs.run(suite(grid), tmp_path / "run", execution=Execution(fail_fast=True))
    assert stopped.stopped
    assert stopped.run.manifest["finished"] is None
    assert len(stopped.run.frame) == 1
    again = runs.run(suite(grid), tmp_path / "run")
    assert again.exit_code == 3
    assert set(again.run.ok().estimator) == set(NEIGHBOURS)


class Interrupt(Notes):
    """Presses Ctrl-C as the timings begin."""

    def phase(self, what: str, count: int) -> None:
        super().phase(what, count)
        if what == "timing":
            raise KeyboardInterrupt


def test_statistics_that_are_there_are_only_timed(serial, tmp_path):
    stopped = runs.run(suite(*GRIDS), tmp_path / "run", Interrupt(), Execution(workers=2))
    assert stopped.exit_code == 130
    assert stopped.run.ok().seconds.isna().all()
    progress = Notes()
    resumed = runs.run(suite(*GRIDS), tmp_path / "run", progress)
    assert progress.phases == [("cell", 0), ("timing", 7)]
    identical(resumed.run.frame, serial)
    assert resumed.run.ok().seconds.notna().all()


def test_a_plugin_that_changes_under_way_is_refused(tmp_path, fresh):
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN.read_text())
    text = file.read_text().replace("_name = _one.__name__", '_name = "own-" + _one.__name__')
    file.write_text(text)
    plugins.load_file(file)
    chosen = suite(COST | {"estimators": ["own-right"]})
    file.write_text(text + "\n# changed\n")
    with pytest.raises(RunError, match="is not what the run began with"):
        runs.run(chosen, tmp_path / "run", execution=Execution(workers=1))


def test_settings_that_make_no_sense_are_refused():
    for given in ({"executor": "dask"}, {"workers": -1}, {"timeout": 0.0}, {"address": "auto"}):
        with pytest.raises(UsageError):
            Execution(**given)
