"""A plugin's estimators beside others: the culprit's cell fails and says why, the others are the same to the bit."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from gradbench.checking import preflight
from gradbench.checking.preflight import Preflight, of_a_plugin
from gradbench.core.errors import ContractError, NotRestoredError
from gradbench.core.isolation.guard import EVERYTHING, Guard
from gradbench.core.isolation.process import Noted
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.base import Estimator
from gradbench.objectives import OBJECTIVES
from gradbench.problems import PROBLEMS
from gradbench.runner import jobs, measuring
from gradbench.target import points
from tests.helpers import TIMED, point_of, run_grids, task_of
from tests.runner.misbehaving import CASES, HARMLESS, OF_DATA, leaves, raises, right

MEASURE = {"replicates": 64, "blocks": 8}
COST = {"problem": "bernoulli-cost", "prob": 0.3, "samples": 2}
VAE = {"problem": "gaussian-vae", "hidden": 4, "latent": 2, "batch": 2, "samples": 2}
NEIGHBOURS = ("score-function", "score-function-loo")


@pytest.fixture
def brought(monkeypatch):
    """Let estimators take part by their names, as a plugin's do."""

    def bring(*estimators: Estimator) -> list[str]:
        for one in estimators:
            monkeypatch.setitem(ESTIMATORS, one.name, one)
        return [one.name for one in estimators]

    return bring


def run(folder, names: list[str], *grids: dict):
    first, last = NEIGHBOURS
    return run_grids(folder, *(grid | {"estimators": [first, *names, last]} for grid in grids), **MEASURE)


def figures(frame: pd.DataFrame) -> pd.DataFrame:
    found = frame[frame.estimator.isin(NEIGHBOURS)].drop(columns=[*TIMED, "peak_bytes"])
    return found.sort_values(["cell_id", "group"]).reset_index(drop=True)


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> pd.DataFrame:
    """The neighbours without the culprits."""
    return figures(run(tmp_path_factory.mktemp("alone") / "run", [], COST, VAE).run.frame)


def test_each_culprit_fails_with_its_reason_and_no_neighbour_moves(brought, alone, tmp_path):
    cases = [*CASES, OF_DATA]
    names = brought(*(case.estimator() for case in cases))
    before = Noted(EVERYTHING)
    outcome = run(tmp_path / "run", names, COST, VAE)
    assert outcome.exit_code == 3
    frame = outcome.run.frame
    for grid in (COST, VAE):
        for case in cases:
            if case is OF_DATA and grid is COST:
                continue
            (row,) = frame[(frame.estimator == case.name) & (frame.problem == grid["problem"])].itertuples()
            assert row.status == "failed", case.name
            assert re.search(case.says, row.message), (case.name, row.message)
            assert row.error_type == case.error_type, (case.name, row.message)
            assert len(row.message) <= 1002
    pd.testing.assert_frame_equal(figures(frame), alone, check_exact=True)
    assert before.put_back() == []


def test_without_the_guard_neighbours_would_move(brought, alone, tmp_path, monkeypatch):
    class Nothing(Guard):
        def __enter__(self):
            return self

        def __exit__(self, *error: object) -> None:
            """Nothing is put back."""

    def left(act, name: str) -> Estimator:
        return Estimator(name, name, leaves(act, after=True), ledger=(), paper="-")

    monkeypatch.setattr(measuring, "Guard", Nothing)
    monkeypatch.setattr(measuring, "Preflight", lambda: lambda task: None)

    def scale(objective) -> None:
        with torch.no_grad():
            for value in objective.problem.phi.parameters():
                value.mul_(1.05)

    outcome = run(tmp_path / "run", brought(left(scale, "scales")), COST, VAE)
    moved = figures(outcome.run.frame)
    assert not moved.variance.equals(alone.variance)


def test_where_every_cell_fails_the_exit_code_says_so(brought, tmp_path):
    names = brought(*(case.estimator() for case in CASES[:2]))
    outcome = run_grids(tmp_path / "run", COST | {"estimators": names}, **MEASURE)
    assert outcome.exit_code == 4


def test_what_is_harmless_is_measured(brought, alone, tmp_path, capfd):
    names = brought(*(Estimator(name, name, s, ledger=(), paper="-") for name, s in HARMLESS.items()))
    outcome = run(tmp_path / "run", names, COST, VAE)
    assert outcome.exit_code == 0, outcome.run.frame.message.dropna().tolist()
    pd.testing.assert_frame_equal(figures(outcome.run.frame), alone, check_exact=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "NOISE ON STDOUT" in err


def test_a_long_message_is_cut_and_control_characters_are_kept_as_text(brought, tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "Preflight", lambda: lambda task: None)
    text = "\x1b[31m[/x]\n" + "long " * 1000
    grid = COST | {"estimators": brought(Estimator("says-much", "", raises(ValueError(text)), ledger=(), paper="-"))}
    (row,) = run_grids(tmp_path / "run", grid, **MEASURE).run.frame.itertuples()
    assert row.message.startswith("ValueError: \x1b[31m[/x]\nlong")
    assert jobs.LONGEST < len(row.message) < jobs.LONGEST + 20


def test_a_second_l_is_refused_without_a_second_test(brought, tmp_path, monkeypatch):
    calls = []
    original = preflight.violation
    monkeypatch.setattr(preflight, "violation", lambda *given: calls.append(given) or original(*given))
    names = brought(CASES[0].estimator(), Estimator("right", "right", right, ledger=(), paper="-"))
    outcome = run_grids(tmp_path / "run", COST | {"estimators": names, "samples": [2, 4, 6]}, **MEASURE)
    frame = outcome.run.frame
    assert list(frame[frame.estimator == "raises"].status) == ["failed"] * 3
    assert set(frame[frame.estimator == "right"].status) == {"ok"}
    assert len(calls) == 2


def test_a_run_without_plugins_is_neither_guarded_nor_tested(tmp_path, monkeypatch):
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a built-in cell is guarded")

    monkeypatch.setattr(measuring, "Guard", never)
    monkeypatch.setattr(measuring, "Kept", never)
    monkeypatch.setattr(preflight, "violation", never)
    assert run(tmp_path / "run", [], COST, VAE).exit_code == 0


def test_the_users_own_interrupt_ends_the_run(brought, tmp_path, interruptible):
    def interrupted(objective, q, noise):
        signal.raise_signal(signal.SIGINT)
        return right(objective, q, noise)

    outcome = run(tmp_path / "run", brought(Estimator("waits", "", interrupted, ledger=(), paper="-")), COST)
    assert outcome.exit_code == 130
    assert "waits" not in set(outcome.run.frame.estimator)


def test_what_cannot_be_put_back_stops_the_run(brought, tmp_path, monkeypatch):
    held = []
    original = points.build
    monkeypatch.setattr(points, "build", lambda *given, **named: held.append(original(*given, **named)) or held[-1])

    def spoils(objective, q, noise):
        held[-1].rows[0] += 1
        return right(objective, q, noise)

    with pytest.raises(NotRestoredError, match="spoils leaves the data set changed"):
        run(tmp_path / "run", brought(Estimator("spoils", "", spoils, ledger=(), paper="-")), VAE)


def test_a_problem_that_a_plugin_brings_is_told_to_its_author(monkeypatch, tmp_path):
    kind = PROBLEMS["gaussian-vae"]

    class Outside(kind):
        name = "reaches-outside"

        def log_likelihood(self, theta, x, z):
            logits = self.theta.get_submodule("decoder")(z)
            return torch.distributions.Bernoulli(logits=logits, validate_args=False).log_prob(x).sum(-1)

    monkeypatch.setitem(PROBLEMS, Outside.name, Outside)
    elbo, own = OBJECTIVES["elbo"], type("Own", (OBJECTIVES["elbo"],), {"name": "own"})
    assert of_a_plugin(ESTIMATORS["pathwise"], Outside, elbo)
    assert of_a_plugin(ESTIMATORS["pathwise"], kind, own)
    assert not of_a_plugin(ESTIMATORS["pathwise"], kind, elbo)
    outcome = run_grids(tmp_path / "run", VAE | {"problem": Outside.name, "estimators": ["pathwise"]}, **MEASURE)
    (message,) = outcome.run.frame.message
    assert message.startswith("parameters outside: log_likelihood reaches theta.decoder.hidden1.weight by itself")
    assert "reach networks and parameters through the Calls given" in message


@pytest.mark.parametrize("where", ["__init__", "posterior"])
def test_a_problem_that_leaves_something_changed_spoils_no_other(alone, monkeypatch, tmp_path, where):
    kind = PROBLEMS["gaussian-vae"]

    class Leaves(kind):
        name = "a-leaver"

        def __init__(self, *given):
            super().__init__(*given)
            if where == "__init__":
                torch.set_default_dtype(torch.float64)

        def posterior(self, phi, x):
            if where == "posterior":
                torch.set_default_dtype(torch.float64)
            return super().posterior(phi, x)

    monkeypatch.setitem(PROBLEMS, Leaves.name, Leaves)
    leaver = VAE | {"problem": Leaves.name, "estimators": ["pathwise"]}
    rest = [grid | {"estimators": list(NEIGHBOURS)} for grid in (COST, VAE)]
    frame = run_grids(tmp_path / "run", leaver, *rest, **MEASURE).run.frame
    assert torch.get_default_dtype() is torch.float32
    (row,) = frame[frame.problem == Leaves.name].itertuples()
    assert (row.status, "a-leaver leaves changed: the default dtype" in row.message) == ("failed", True)
    pd.testing.assert_frame_equal(figures(frame), alone, check_exact=True)


def test_preflight_is_of_the_precision_it_needs_and_leaves_the_point_alone(brought):
    seen = []

    def spied(objective, q, noise):
        seen.append(noise.dtype)
        return right(objective, q, noise)

    point = point_of("gaussian-vae", hidden=3, latent=2, batch=2, dtype=torch.float32)
    task = task_of(point, Estimator("spied", "", spied, ledger=(), paper="-"))
    Preflight()(task)
    assert set(seen) == {torch.float64}
    assert {value.dtype for value in point.problem.named_parameters().values()} == {torch.float32}
    with pytest.raises(ContractError, match="scales-parameters: leaves changed: the values of phi"):
        Preflight()(task_of(point, next(c.estimator() for c in CASES if c.name == "scales-parameters")))


PLUGIN = """
import sys, torch
from gradbench.estimators.base import Estimator
from gradbench.objectives.base import average
print("loaded")

def surrogate(objective, q, noise):
    print("noise")
    z = q.sample(noise).detach()
    f = objective.f(z, q.held())
    return average(f.detach() * q.log_prob(z) + f)

def ends(objective, q, noise):
    sys.exit(0)

TALKS = Estimator("talks", "talks", surrogate, ledger=(), paper="-")
ENDS = Estimator("ends", "ends", ends, ledger=(), paper="-")
"""
SUITE = """
name = "small"
measure = {replicates = 64, blocks = 8}
[[grid]]
problem = "bernoulli-cost"
estimators = ["talks", "ends"]
"""


@pytest.fixture
def cli(tmp_path):
    """The command line in a process of its own, in a folder with a plugin and a suite."""
    (tmp_path / "mine.py").write_text(PLUGIN)
    (tmp_path / "small.toml").write_text(SUITE)
    root = str(Path(__file__).parents[2])

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = f"import sys; sys.path.insert(0, {root!r}); from gradbench.cli import main; main({list(arguments)!r})"
        return subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)

    return call


@pytest.mark.slow
def test_what_a_plugin_prints_is_no_part_of_the_results(cli):
    ran = cli("run", "small.toml", "--plugin", "mine.py", "--out", "out", "--json")
    assert ran.returncode == 3, ran.stderr
    printed = json.loads(ran.stdout)
    assert {row["estimator"]: row["status"] for row in printed} == {"talks": "ok", "ends": "failed"}
    assert "noise" in ran.stderr
    assert "loaded" in ran.stderr


@pytest.mark.slow
def test_check_and_explain_say_that_code_would_end_the_process(cli):
    checked = cli("check", "mine.py:ENDS", "--problem", "bernoulli-cost", "--json")
    assert checked.returncode == 1, checked.stderr
    (violation,) = json.loads(checked.stdout)["violations"]
    assert (violation["kind"], violation["raised"]) == ("raises", "SystemExit")
    explained = cli("explain", "ends", "--plugin", "mine.py", "--problem", "bernoulli-cost")
    assert explained.returncode == 3, explained.stderr
    assert "would end the process" in explained.stderr
    talks = cli("check", "mine.py:TALKS", "--problem", "bernoulli-cost", "--margin", "0.2", "--json")
    assert talks.returncode == 0, talks.stdout
    json.loads(talks.stdout)


@pytest.mark.slow
def test_a_file_that_sets_the_default_dtype_is_refused(cli, tmp_path):
    (tmp_path / "sets.py").write_text("import torch\ntorch.set_default_dtype(torch.float64)\n" + PLUGIN)
    listed = cli("list", "estimators", "--plugin", "sets.py")
    assert listed.returncode == 2
    assert "leaves changed: the default dtype" in listed.stderr
