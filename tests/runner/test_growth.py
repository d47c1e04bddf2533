"""More replicates into a finished run: its blocks are used again, and the figures are those of a run made at once."""

from __future__ import annotations

import pandas as pd
import pytest

from gradbench.core.errors import RunError, SuiteError
from gradbench.engine import measure as engine
from gradbench.runner import cell_statistics, runs
from gradbench.runner.execution import Execution
from gradbench.suite.suites import Settings, resolve
from tests.helpers import TIMED

GRIDS = [
    {
        "problem": "gaussian-vae",
        "hidden": 8,
        "latent": 4,
        "batch": 4,
        "samples": [2],
        "estimators": ["pathwise", "score-function"],
    },
    {"problem": "sigmoid-belief", "latent": 4, "batch": 2, "samples": 2, "estimators": ["disarm", "exact"]},
    {"problem": "gaussian-cost", "samples": [1], "estimators": ["pathwise", "score-function"]},
]


def suite(replicates: int | None = None, noise: str = "latent", blocks: int | None = None, grids=GRIDS):
    measure = {"replicates": 96, "blocks": 32, "noise": noise}
    raw = {"name": "test", "measure": measure, "grid": grids}
    return resolve(raw, "test.toml", Settings(replicates=replicates, blocks=blocks))


def figures(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns=list(TIMED)).sort_values(["cell_id", "group"]).reset_index(drop=True)


@pytest.fixture
def measured(monkeypatch) -> list[range]:
    """The blocks that are measured, cell by cell."""
    found: list[range] = []
    original = engine.measure_moments

    def measure(task, blocks, *given, **named):
        found.append(blocks)
        return original(task, blocks, *given, **named)

    monkeypatch.setattr(cell_statistics, "measure_moments", measure)
    return found


class Notes(runs.Progress):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def test_a_run_that_grows_is_one_made_at_once(tmp_path, measured):
    runs.run(suite(), tmp_path / "grown")
    measured.clear()
    notes = Notes()
    grown = runs.run(suite(192), tmp_path / "grown", notes)
    # the cell that draws nothing is done, and the others have half of their blocks
    assert measured == [range(32, 64)] * 5
    assert "96 replicates are there: goes on to 192, in 64 blocks of 3" in notes.notes
    once = runs.run(suite(192), tmp_path / "once")
    assert set(once.run.ok().blocks) == {64, 4}
    pd.testing.assert_frame_equal(figures(grown.run.frame), figures(once.run.frame), check_exact=True)
    assert set(once.run.ok().reference) == {"monte-carlo", "enumeration", "closed-form"}


def test_with_minibatches_drawn_anew_too(tmp_path):
    grids = [{"problem": "linear-gaussian", "batch": 4, "estimators": ["pathwise"]}]
    runs.run(suite(None, "latent+data", grids=grids), tmp_path / "grown")
    grown = runs.run(suite(192, "latent+data", grids=grids), tmp_path / "grown")
    once = runs.run(suite(192, "latent+data", grids=grids), tmp_path / "once")
    pd.testing.assert_frame_equal(figures(grown.run.frame), figures(once.run.frame), check_exact=True)


@pytest.mark.parametrize("damage", ["gone", "bytes"])
def test_without_the_moments_the_figures_are_the_same(tmp_path, measured, damage):
    runs.run(suite(grids=GRIDS[2:]), tmp_path / "grown")
    for file in (tmp_path / "grown" / "moments").iterdir():
        if damage == "gone":
            file.unlink()
        else:
            file.write_bytes(file.read_bytes()[:-1] + b"?")
    measured.clear()
    grown = runs.run(suite(192, grids=GRIDS[2:]), tmp_path / "grown")
    assert measured == [range(64)] * 2
    once = runs.run(suite(192, grids=GRIDS[2:]), tmp_path / "once")
    pd.testing.assert_frame_equal(figures(grown.run.frame), figures(once.run.frame), check_exact=True)


def test_moments_take_no_more_room_than_they_may(tmp_path):
    runs.run(suite(grids=GRIDS[2:]), tmp_path / "none", execution=Execution(keep=0))
    assert not (tmp_path / "none" / "moments").exists()
    runs.run(suite(grids=GRIDS[:1]), tmp_path / "few", execution=Execution(keep=200_000))
    assert sum(file.stat().st_size for file in (tmp_path / "few" / "moments").glob("*")) <= 210_000


def test_a_run_begun_with_fewer_replicates_keeps_its_blocks(tmp_path, measured):
    runs.run(suite(64, grids=GRIDS[2:]), tmp_path / "grown")  # 32 blocks of 2
    measured.clear()
    grown = runs.run(suite(grids=GRIDS[2:]), tmp_path / "grown")
    assert measured == [range(32, 48)] * 2
    once = runs.run(suite(blocks=48, grids=GRIDS[2:]), tmp_path / "once")
    pd.testing.assert_frame_equal(figures(grown.run.frame), figures(once.run.frame), check_exact=True)


def test_what_cannot_grow_is_refused_with_what_can(tmp_path):
    runs.run(suite(192, grids=GRIDS[2:]), tmp_path / "run")
    with pytest.raises(RunError, match=r"holds 192 replicates of each cell, more than the 96.*\n.*--replicates 192"):
        runs.run(suite(grids=GRIDS[2:]), tmp_path / "run")
    with pytest.raises(RunError, match="give --replicates 255"):
        runs.run(suite(256, grids=GRIDS[2:]), tmp_path / "run")
    with pytest.raises(SuiteError, match="--blocks"):
        suite(blocks=7)


def test_growing_can_be_interrupted(tmp_path, measured):
    class Interrupt(Notes):
        cells = 0

        def cell(self, label: str) -> None:
            self.cells += 1
            if self.cells == 2:
                raise KeyboardInterrupt

    runs.run(suite(grids=GRIDS[2:]), tmp_path / "grown")
    stopped = runs.run(suite(192, grids=GRIDS[2:]), tmp_path / "grown", Interrupt())
    assert stopped.exit_code == 130
    measured.clear()
    grown = runs.run(suite(192, grids=GRIDS[2:]), tmp_path / "grown")
    assert measured == [range(32, 64)]
    once = runs.run(suite(192, grids=GRIDS[2:]), tmp_path / "once")
    pd.testing.assert_frame_equal(figures(grown.run.frame), figures(once.run.frame), check_exact=True)


def test_fresh_measures_everything_anew(tmp_path, measured):
    runs.run(suite(192, grids=GRIDS[2:]), tmp_path / "run")
    measured.clear()
    again = runs.run(suite(grids=GRIDS[2:]), tmp_path / "run", execution=Execution(fresh=True))
    assert measured == [range(32)] * 2
    assert set(again.run.ok().blocks) == {32}
    other = resolve({"name": "other", "grid": GRIDS[2:]}, "test.toml", Settings())
    with pytest.raises(RunError, match="holds a run of test, not of other"):
        runs.run(other, tmp_path / "run", execution=Execution(fresh=True))


@pytest.mark.parametrize(
    "damage", [lambda text: text.replace('"replicates": 64', '"replicates": 96'), lambda text: "{"]
)
def test_a_run_grows_from_the_manifest_that_is_in_force(tmp_path, measured, damage):
    """A damaged manifest.json says nothing of blocks: its copy in the table does."""
    runs.run(suite(64, grids=GRIDS[2:]), tmp_path / "run")  # 32 blocks of 2
    file = tmp_path / "run" / "manifest.json"
    damaged = damage(file.read_text())
    assert damaged != file.read_text()
    file.write_text(damaged)
    measured.clear()
    grown = runs.run(suite(grids=GRIDS[2:]), tmp_path / "run")
    assert measured == [range(32, 48)] * 2
    assert set(grown.run.ok().blocks) == {48}
