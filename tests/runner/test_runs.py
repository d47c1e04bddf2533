from __future__ import annotations

import dataclasses
import math
import signal

import numpy as np
import pandas as pd
import pytest
import torch

from gradbench.core.errors import UsageError
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.base import CONSTANT_REPLICATES
from gradbench.problems.data import loading
from gradbench.results import store
from gradbench.results.columns import COLUMNS
from gradbench.results.compare import compare_runs
from gradbench.runner import runs
from gradbench.suite.suites import Settings, resolve
from tests.helpers import TIMED, run_grids, taken_apart

VAE = {"problem": "gaussian-vae", "hidden": 8, "latent": 2, "batch": 2, "train_steps": 5, "samples": 2}
BELIEF = {"problem": "sigmoid-belief", "latent": 4, "batch": 2, "samples": 2}
DEEP = {"problem": "gaussian-vae", "hidden": 4, "latent": 4, "batch": 2, "estimators": ["pathwise"]}
NAMES = ["pathwise", "score-function", "score-function-learned"]
BITS = ["score-function", "disarm", "exact"]
GRIDS = (VAE | {"estimators": NAMES}, BELIEF | {"estimators": BITS}, DEEP)
SMALL = {"replicates": 128, "blocks": 8}

MACHINE = {*TIMED, "hardware"}
STATISTICS = [name for name in COLUMNS if name not in MACHINE]


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return run_grids(tmp_path_factory.mktemp("first") / "run", *GRIDS, **SMALL)


def figures(frame: pd.DataFrame, *without: str) -> pd.DataFrame:
    """The columns that must not move, in an order of their own."""
    columns = [name for name in STATISTICS if name not in without]
    return frame[columns].sort_values(["cell_id", "group"]).reset_index(drop=True)


def identical(a: pd.DataFrame, b: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(a, b, check_exact=True)


def test_every_cell_is_measured(first):
    assert first.exit_code == 0
    assert set(first.run.frame.status) == {"ok"}
    assert first.run.frame.cell_id.nunique() == 7
    assert set(first.run.frame.reference) == {"quadrature", "enumeration", "monte-carlo"}


def test_rows_are_the_groups(first):
    cell = first.run.frame[first.run.frame.estimator == "disarm"]
    assert list(cell.group)[:3] == ["all", "phi", "theta"]
    sizes = cell.set_index("group").num_parameters
    assert sizes["phi"] == 64 * 4 + 4
    assert sizes["theta"] == 4 + 64 * 4 + 64
    assert sizes["all"] == sizes["phi"] + sizes["theta"] == sizes[[n for n in sizes.index if "." in n]].sum()


def test_replicates_are_those_asked_for_except_where_nothing_is_drawn(first):
    for name, cell in first.run.frame.groupby("estimator"):
        expected = (CONSTANT_REPLICATES, CONSTANT_REPLICATES) if name == "exact" else (128, 8)
        assert set(zip(cell.replicates, cell.blocks, strict=True)) == {expected}


def test_the_same_suite_twice_is_the_same_to_the_bit(first, tmp_path):
    torch.manual_seed(99)
    again = run_grids(tmp_path / "run", *GRIDS, **SMALL)
    identical(figures(again.run.frame), figures(first.run.frame))


def test_another_seed_is_another_measurement(first, tmp_path):
    other = run_grids(tmp_path / "run", BELIEF | {"estimators": ["disarm"]}, seed=1, **SMALL)
    mine = first.run.frame[first.run.frame.estimator == "disarm"]
    # with an analytic KL the prior's gradient is the same number every time: its variance is 0 whatever the seed
    assert set(other.run.frame.variance) & set(mine.variance) == {0.0}


def test_adding_an_estimator_moves_no_other(first, tmp_path):
    """To the bit, in whatever order they stand; the verdict alone is corrected over the run."""
    grids = (
        DEEP | {"estimators": ["score-function", "pathwise"]},
        BELIEF | {"estimators": ["gumbel-softmax", *reversed(BITS)]},
        VAE | {"estimators": ["score-function-loo", *reversed(NAMES)]},
    )
    more = run_grids(tmp_path / "run", *grids, **SMALL).run.frame
    shared = more[more.cell_id.isin(first.run.frame.cell_id)]
    assert more.cell_id.nunique() == 10
    identical(figures(shared, "verdict"), figures(first.run.frame, "verdict"))


def test_resuming_keeps_what_is_done_and_measures_what_is_not(first, tmp_path):
    folder = tmp_path / "run"
    outcome = run_grids(folder, *GRIDS, **SMALL)
    lost, broken, *kept = taken_apart(folder)
    lost.unlink()
    broken.write_bytes(broken.read_bytes()[:100])
    again = run_grids(folder, *GRIDS, **SMALL)
    names = [path.stem for path in kept]
    begun = [frame[frame.cell_id.isin(names)].started_at for frame in (outcome.run.frame, again.run.frame)]
    assert list(begun[0]) == list(begun[1])
    assert again.run.frame.started_at.nunique() == 7
    assert again.run.unreadable == ()
    identical(figures(again.run.frame), figures(outcome.run.frame))
    assert again.run.manifest["started"] == outcome.run.manifest["started"]


class Interrupt(runs.Progress):
    """Presses Ctrl-C as the third cell begins."""

    def __init__(self) -> None:
        self.cells = 0

    def cell(self, label: str) -> None:
        self.cells += 1
        if self.cells == 3:
            raise KeyboardInterrupt


def test_an_interrupted_run_can_be_loaded_and_resumed(first, tmp_path):
    raw = {"name": "test", "measure": SMALL, "grid": list(GRIDS)}
    suite = resolve(raw, "test.toml", Settings())
    stopped = runs.run(suite, tmp_path / "run", Interrupt())
    assert stopped.interrupted
    assert stopped.exit_code == 130
    assert stopped.run.frame.cell_id.nunique() == 2
    assert stopped.run.manifest["finished"] is None
    assert len(store.load_run(tmp_path / "run").frame) == len(stopped.run.frame)
    resumed = runs.run(suite, tmp_path / "run")
    assert resumed.exit_code == 0
    identical(figures(resumed.run.frame), figures(first.run.frame))


class Lost(Interrupt):
    """The same in a destructor, where Python drops the exception."""

    def cell(self, label: str) -> None:
        self.cells += 1
        if self.cells == 2:
            Ending()


class Ending:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_in_a_destructor_is_not_lost(tmp_path):
    suite = resolve({"name": "test", "measure": SMALL, "grid": list(GRIDS)}, "test.toml", Settings())
    before = signal.getsignal(signal.SIGINT)
    stopped = runs.run(suite, tmp_path / "run", Lost())
    assert stopped.exit_code == 130
    assert stopped.run.frame.cell_id.nunique() == 2
    assert signal.getsignal(signal.SIGINT) is before


def broken_surrogate(objective, q, noise):
    raise ZeroDivisionError("a bug in an estimator")


def test_a_cell_that_fails_is_a_row_and_the_others_go_on(tmp_path, monkeypatch):
    faulty = dataclasses.replace(ESTIMATORS["score-function"], surrogate=broken_surrogate)
    grid = {"problem": "gaussian-cost", "estimators": ["score-function", "pathwise"]}
    with monkeypatch.context() as patch:
        patch.setitem(ESTIMATORS, "score-function", faulty)
        outcome = run_grids(tmp_path / "run", grid, **SMALL)
    assert outcome.exit_code == 3
    (row,) = outcome.run.frame[outcome.run.frame.status == "failed"].itertuples()
    assert (row.estimator, row.group, row.error_type) == ("score-function", "all", "ZeroDivisionError")
    assert "a bug in an estimator" in row.message
    assert math.isnan(row.variance)
    assert outcome.run.ok().estimator.unique().tolist() == ["pathwise"]
    # the failed cell is measured anew, and the other is not
    mended = run_grids(tmp_path / "run", grid, **SMALL)
    assert mended.exit_code == 0
    assert set(mended.run.frame.estimator) == {"score-function", "pathwise"}


def test_gradients_that_are_not_finite_fail_the_cell(tmp_path):
    # exp(30 x²) overflows for any sample far from 0, although its expectation is finite at this scale
    grid = {
        "problem": "gaussian-cost",
        "cost": "exp",
        "k": -30.0,
        "mean": 6.0,
        "scale": 0.1,
        "estimators": ["pathwise"],
    }
    outcome = run_grids(tmp_path / "run", grid, **SMALL)
    (row,) = outcome.run.frame.itertuples()
    assert outcome.exit_code == 4
    assert row.status == "failed"
    assert row.error_type == "MeasurementError"
    assert "not finite" in row.message


def test_nothing_measured_is_exit_code_4(tmp_path):
    outcome = run_grids(tmp_path / "run", {"problem": "gaussian-cost", "estimators": ["disarm"]}, **SMALL)
    assert outcome.exit_code == 4
    assert outcome.run.frame.status.tolist() == ["skipped"]


def test_data_that_are_lost_under_way_fail_the_target_and_not_the_run(tmp_path):
    np.save(tmp_path / "a.npy", np.eye(8))
    lost = BELIEF | {"data": f"file:{tmp_path / 'a.npy'}", "estimators": BITS}
    grids = [lost, {"problem": "gaussian-cost", "estimators": ["pathwise"]}]
    suite = resolve({"name": "test", "measure": SMALL, "grid": grids}, "test.toml", Settings())

    class Replacing(runs.Progress):
        def start(self, seconds: float) -> None:
            loading._kept.clear()
            np.save(tmp_path / "a.npy", np.ones((8, 8)))

    outcome = runs.run(suite, tmp_path / "run", Replacing())
    assert outcome.exit_code == 3
    failed = outcome.run.frame[outcome.run.frame.status == "failed"]
    assert len(failed) == 3
    assert failed.message.str.contains("the file has changed since it was first read").all()


class Count(runs.Progress):
    def __init__(self) -> None:
        self.total, self.behind, self.labels, self.count = 0.0, 0.0, [], 0

    def start(self, seconds: float) -> None:
        self.total = seconds

    def cell(self, label: str) -> None:
        self.labels.append(label)

    def advance(self, seconds: float) -> None:
        assert seconds >= 0
        self.behind += seconds

    def done(self) -> None:
        self.count += 1


def test_progress_reaches_its_total(tmp_path):
    raw = {"name": "test", "measure": SMALL, "grid": [BELIEF | {"estimators": [*BITS, "pathwise"], "samples": [1, 2]}]}
    progress = Count()
    runs.run(resolve(raw, "test.toml", Settings()), tmp_path / "run", progress)
    assert progress.behind == pytest.approx(progress.total)
    assert progress.total > 0
    assert progress.count == len(progress.labels) == 5  # without the skipped ones
    assert progress.labels[0] == "sigmoid-belief score-function L=1"


def test_trained_parameters_are_kept_in_the_run(first):
    assert len(list((first.run.path / "parameters").glob("*.safetensors"))) == 1


# Minibatches drawn anew

REDRAWN = {"replicates": 128, "blocks": 8, "noise": "latent+data"}
LINEAR = {"problem": "linear-gaussian", "batch": 4, "device": "cpu", "estimators": ["pathwise", "fixed-sample"]}
BATCHES = BELIEF | {"batch": 4, "device": "cpu", "samples": 2, "estimators": ["exact", "disarm"]}


def redrawn(out, *grids, progress=None, **measure):
    raw = {"name": "test", "measure": REDRAWN | measure, "grid": list(grids)}
    return runs.run(resolve(raw, "test.toml", Settings()), out, progress)


def test_a_run_with_minibatches_drawn_anew(tmp_path):
    progress = Count()
    cost = {"problem": "gaussian-cost", "estimators": ["pathwise"], "device": "cpu"}
    outcome = redrawn(tmp_path / "run", LINEAR, BATCHES, cost, progress=progress)
    assert outcome.exit_code == 0
    assert progress.behind == pytest.approx(progress.total)
    assert "reference of linear-gaussian over its data" in progress.labels
    assert "reference of sigmoid-belief over its data" in progress.labels
    frame = outcome.run.frame
    (skipped,) = frame[frame.status == "skipped"].itertuples()
    assert "no data to draw minibatches from" in skipped.message
    ok = outcome.run.ok()
    assert set(ok.noise) == {"latent+data"}
    assert set(ok.engine) == {"layers"}
    assert set(ok.reference) == {"closed-form", "enumeration"}
    np.testing.assert_allclose(ok.variance, ok.variance_latent + ok.variance_data, rtol=1e-9, atol=1e-300)
    assert (ok.variance_data_high >= 0).all()
    exact = ok[ok.estimator == "exact"]
    assert (exact.variance_latent == 0).all()
    # one replicate in each block is all that there is to know at its minibatch
    assert set(exact.replicates) == set(exact.blocks) == {8}
    assert set(ok[ok.estimator != "exact"].replicates) == {128}
    assert (exact.verdict == "unbiased").all()
    blocks = outcome.run.block_variances()
    for row in ok.itertuples():
        # rounding is reported as 0
        assert blocks[row.cell_id, row.group].mean() == pytest.approx(row.variance, rel=1e-9, abs=1e-20)


def test_adding_an_estimator_moves_no_other_where_minibatches_are_drawn_anew(tmp_path):
    few = redrawn(tmp_path / "few", LINEAR | {"estimators": ["pathwise"]}).run.frame
    more = redrawn(tmp_path / "more", LINEAR | {"estimators": ["score-function", "fixed-sample", "pathwise"]}).run.frame
    identical(figures(more[more.cell_id.isin(few.cell_id)], "verdict", "message"), figures(few, "verdict", "message"))


def test_blocks_that_are_topped_up_are_those_of_a_longer_run(tmp_path):
    """Blocks added one after the other until a precision is reached, against as many measured at once."""
    grid = LINEAR | {"estimators": ["pathwise", "score-function"]}
    topped = redrawn(tmp_path / "topped", grid, replicates=96, blocks=6, precision=0.4).run.frame
    for blocks, some in topped.groupby("blocks"):
        once = redrawn(tmp_path / f"once-{blocks}", grid, replicates=16 * int(blocks), blocks=int(blocks)).run.frame
        same = once[once.cell_id.isin(some.cell_id)]
        identical(figures(same, "verdict", "message"), figures(some, "verdict", "message"))
    assert topped.blocks.max() > 6


def test_runs_of_other_noise_are_not_compared(tmp_path):
    both = redrawn(tmp_path / "both", LINEAR).run
    fixed = redrawn(tmp_path / "fixed", LINEAR, noise="latent").run
    with pytest.raises(UsageError, match=r"noise is latent.data in one and latent in the other"):
        compare_runs(both, fixed)
