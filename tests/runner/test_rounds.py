"""Rounds over cells: with a budget and an aim, all have their first blocks before any has more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from gradbench.results import store
from gradbench.results.columns import COLUMNS
from gradbench.runner import cell_statistics, runs
from gradbench.runner.execution import Execution
from gradbench.runner.jobs import Job
from gradbench.runner.rounds import Rounds, Share
from gradbench.runner.runs import RunOutcome
from gradbench.suite.measure import MOST_BLOCKS, Measure
from tests.helpers import TIMED, suite_of, taken_apart

VAE = {"problem": "gaussian-vae", "hidden": 4, "latent": 1, "batch": 2, "kl": "monte-carlo", "samples": 1}
GRIDS = (
    VAE | {"estimators": ["pathwise", "double-counted", "score-function"]},
    {"problem": "bernoulli-cost", "estimators": ["exact", "score-function"], "samples": 2},
)
SMALL = {"replicates": 256, "blocks": 8}
ENOUGH = 1e6
STATISTICS = [name for name in COLUMNS if name not in {*TIMED, "hardware"}]


def figures(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[STATISTICS].sort_values(["cell_id", "group"]).reset_index(drop=True)


def outcome_of(out: Any, execution: Execution = Execution(), **measure: Any) -> RunOutcome:
    suite = suite_of(*GRIDS, **SMALL)
    return runs.run(replace(suite, measure=suite.measure.model_copy(update=measure)), out, execution=execution)


def run(out: Any, execution: Execution = Execution(), **measure: Any) -> store.Run:
    outcome = outcome_of(out, execution, **measure)
    assert outcome.exit_code == 0
    return outcome.run


@pytest.fixture(scope="module")
def decided(tmp_path_factory):
    """Each cell measured to its end, one after the other."""
    return run(tmp_path_factory.mktemp("decided") / "run", decide=True, precision=0.2)


@pytest.fixture
def asked(monkeypatch):
    """What cells were measured, in their order, and the blocks that each had then."""
    found: list[tuple[str, int]] = []
    inner = cell_statistics.statistics_of

    def statistics_of(cell: Any, *given: Any, **more: Any) -> Any:
        ended = inner(cell, *given, **more)
        found.append((cell.cell_id, ended.rows[0]["blocks"]))
        return ended

    monkeypatch.setattr(cell_statistics, "statistics_of", statistics_of)
    return found


@pytest.mark.parametrize("execution", [Execution(), Execution(workers=2), Execution(keep=0)], ids=str)
def test_with_time_enough_the_figures_are_those_without_a_budget(decided, tmp_path, execution):
    found = run(tmp_path / "run", decide=True, precision=0.2, budget=ENOUGH, execution=execution)
    pd.testing.assert_frame_equal(figures(found.frame), figures(decided.frame), check_exact=True)
    assert found.frame.seconds.notna().all(), "each is timed"


def test_all_have_their_first_blocks_before_any_has_more(tmp_path, asked):
    found = run(tmp_path / "run", decide=True, precision=0.2, budget=ENOUGH)
    last = found.frame.groupby("cell_id").blocks.first().to_dict()
    first = asked[: len(last)]
    assert {name for name, _ in first} == set(last)
    assert {blocks for _, blocks in first} == {8, 4}  # what is exact takes four
    # every round asks those that are open, once each, and at most doubles their blocks
    have, turns = dict(first), [name for name, _ in asked[len(last) :]]
    for name, blocks in asked[len(last) :]:
        assert have[name] < blocks <= max(2 * have[name], have[name] + 32)  # at least as many as are measured together
        have[name] = blocks
    assert have == last
    rounds = {name: turns.count(name) for name in last}
    assert max(rounds.values()) > min(count for count in rounds.values() if count)
    for index in range(max(rounds.values())):
        there = [name for name in last if rounds[name] > index]
        start = sum(min(count, index) for count in rounds.values())
        assert set(turns[start : start + len(there)]) == set(there)


def test_a_budget_that_is_spent_leaves_all_with_their_first_blocks(tmp_path, asked):
    found = run(tmp_path / "run", decide=True, budget=1e-3)
    assert set(found.frame.blocks) == {8, 4}
    assert len(asked) == found.frame.cell_id.nunique()


def test_an_interrupted_run_goes_on_with_those_that_are_open(decided, tmp_path, monkeypatch):
    out = tmp_path / "run"
    turns = []
    inner = Rounds.told

    def told(self: Rounds, job: Job, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        turns.append(job)
        if len(turns) == 6:
            raise KeyboardInterrupt
        return inner(self, job, found)

    with monkeypatch.context() as patched:
        patched.setattr(Rounds, "told", told)
        outcome = outcome_of(out, decide=True, precision=0.2, budget=ENOUGH)
    assert outcome.interrupted
    assert (outcome.run.frame.blocks == 8).any()
    assert not figures(outcome.run.frame).equals(figures(decided.frame))
    found = run(out, decide=True, precision=0.2, budget=ENOUGH)
    pd.testing.assert_frame_equal(figures(found.frame), figures(decided.frame), check_exact=True)
    # a run that has ended is not taken up again
    begun = found.frame.started_at
    pd.testing.assert_series_equal(run(out, decide=True, precision=0.2, budget=ENOUGH).frame.started_at, begun)


def test_a_cell_that_fails_later_has_no_further_round(tmp_path, monkeypatch):
    inner = cell_statistics.statistics_of
    seen: list[str] = []

    def statistics_of(cell: Any, *given: Any, **more: Any) -> Any:
        if cell.estimator == "pathwise" and more["growing"]:
            seen.append(cell.cell_id)
            raise RuntimeError("once too often")
        return inner(cell, *given, **more)

    monkeypatch.setattr(cell_statistics, "statistics_of", statistics_of)
    outcome = outcome_of(tmp_path / "run", decide=True, budget=ENOUGH)
    frame = outcome.run.frame
    assert len(seen) == 1
    assert outcome.exit_code == 3
    assert frame[frame.estimator == "pathwise"].message.str.contains("once too often").all()
    assert set(frame[frame.estimator != "pathwise"].status) == {"ok"}


def test_a_cell_taken_apart_is_measured_again(tmp_path):
    found = run(tmp_path / "run", decide=True, budget=ENOUGH)
    lost, *_ = taken_apart(tmp_path / "run")
    lost.unlink()
    again = run(tmp_path / "run", decide=True, budget=ENOUGH)
    pd.testing.assert_frame_equal(figures(again.frame), figures(found.frame), check_exact=True)


def row(cell: Any, blocks: int, high: float) -> dict[str, Any]:
    return {
        "cell_id": cell.cell_id,
        "group": "all",
        "blocks": blocks,
        "wall_seconds": 2.0,
        "variance": 1.0,
        "variance_low": 1.0,
        "variance_high": 1.0,
        "bias_p": 0.5,
        "bias_norm": 0.0,
        "bias_high": high,
        "gradient_norm": 1.0,
    }


class Some:
    """As much of a cell as rounds look at."""

    cell_id = "one"


def test_what_a_round_needs_is_known_of_the_last(monkeypatch):
    rounds = Rounds(Measure(decide=True, budget=1.0))
    cell: Any = Some()
    assert [one["wall_seconds"] for one in rounds.told(Job(cell, "statistics"), [row(cell, 8, 0.3)])] == [2.0]
    assert rounds.next_cells() == [cell]
    assert (rounds.job(cell).each, rounds.job(cell).looks, rounds.job(cell).growing) == (0.25, 1, True)
    assert [one["wall_seconds"] for one in rounds.told(rounds.job(cell), [row(cell, 12, 0.3)])] == [4.0]
    assert rounds.job(cell).each == 0.5
    # no more blocks: no time, or none that can be had
    rounds.told(rounds.job(cell), [row(cell, 12, 0.3)])
    assert rounds.next_cells() == []
    rounds = Rounds(Measure(decide=True, budget=1.0))
    rounds.told(Job(cell, "statistics"), [row(cell, MOST_BLOCKS, 0.3)])
    assert rounds.next_cells() == []
    for high in (0.01, 3.0):  # decided, and out of reach
        rounds = Rounds(Measure(decide=True, budget=1.0))
        rounds.told(Job(cell, "statistics"), [row(cell, 256, high)])
        assert rounds.next_cells() == []


def test_shares_are_of_what_is_left(monkeypatch):
    from gradbench.runner import rounds

    now = [0.0]
    monkeypatch.setattr(rounds.time, "perf_counter", lambda: now[0])
    share = Share(10.0, 2, 0)
    jobs: Any = [[Job(Some(), "statistics")] * 3]  # pyright: ignore[reportArgumentType]
    seconds = share.among(jobs)
    assert seconds() == 5.0  # three cells, two at once: two turns
    now[0] = 4.0
    assert (seconds(), seconds()) == (6.0, 6.0)
    assert not share.is_spent()
    now[0] = 10.0
    assert share.is_spent()
    assert Share(None, 2, 0).among(jobs)() is None
