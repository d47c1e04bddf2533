"""Every table reads well on 80 columns: nothing is cut off, and a name is broken behind a hyphen or not at all."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from rich.cells import cell_len

from gradbench.estimators import ESTIMATORS
from gradbench.problems import PROBLEMS
from gradbench.report.plain import BREAKS
from gradbench.suite.shipped import shipped

KEPT = Path(__file__).parents[2] / "results" / "reference"
RUNS = [KEPT / name for name in ("quick", "costs", "gaussian-vae", "sigmoid-belief")]
HEADINGS = {"show": ("variance", "95 % interval", "at most", "verdict", "var × s"), "compare": ("variance is", "MSE")}


def fits(text: str) -> None:
    assert text
    assert max(map(cell_len, text.splitlines())) <= 80
    assert "…" not in text.replace(", …", "")  # of a list, that it goes on


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
@pytest.mark.parametrize("command", ["show RUN", "show RUN --group theta", "compare RUN", "compare RUN RUN"])
def test_the_tables_of_a_run_fit(gradbench, monkeypatch, run, command) -> None:
    if "theta" in command and run.name == "costs":
        pytest.skip("a cost has no θ")
    monkeypatch.setenv("COLUMNS", "80")
    arguments = [run if word == "RUN" else word for word in command.split()]
    out = gradbench(*arguments).out
    fits(out)
    out = out.split("skipped:")[0]  # where names are in sentences
    rows = [row for row in json.loads(gradbench(*arguments, "--json").out) if row.get("status", "ok") == "ok"]
    for name in {row.get("estimator_b") or row["estimator"] for row in rows}:
        assert [piece for piece in BREAKS.split(name) if piece not in out] == []
    for heading in HEADINGS[command.split()[0]]:
        assert heading in out


@pytest.mark.parametrize("command", ["show RUN", "compare RUN", "status RUN", "list estimators"])
def test_lines_in_a_pipe_end_with_their_words(gradbench, command) -> None:
    out = gradbench(*(RUNS[0] if word == "RUN" else word for word in command.split())).out
    assert out.endswith("\n")
    assert [line for line in out.split("\n") if line != line.rstrip()] == []


@pytest.mark.parametrize("width", [40, 56, 60])
@pytest.mark.parametrize("command", ["show RUN", "show RUN --at evaluations", "compare RUN"])
def test_a_narrow_terminal_has_whole_lines(gradbench, monkeypatch, command, width) -> None:
    arguments = [RUNS[0] if word == "RUN" else word for word in command.split()]
    monkeypatch.setenv("COLUMNS", "400")
    figures = set(gradbench(*arguments).out.split())
    monkeypatch.setenv("COLUMNS", str(width))
    rows = gradbench(*arguments).out.split("\nestimator ")[1:]
    assert rows
    for table in rows:
        said = re.split(r"\n\n|\nmarks", table)[0].split()
        assert [word for word in said if re.match(r"[\d.]", word) and word not in figures] == []
        assert "L" in said


@pytest.mark.parametrize("name", shipped())
def test_the_plan_of_a_suite_fits(gradbench, monkeypatch, name) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    fits(gradbench("show", f"suite:{name}").out)


@pytest.mark.parametrize(("what", "names"), [("estimators", ESTIMATORS), ("problems", PROBLEMS), ("suites", shipped())])
def test_lists_fit_and_keep_names_whole(gradbench, monkeypatch, what, names) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = gradbench("list", what).out
    fits(out)
    assert [name for name in names if name not in out] == []


@pytest.mark.parametrize(
    "command",
    [
        "show iwae-dreg",
        "show problem:gaussian-vae",
        "show metric:variance",
        "check disarm --replicates 2048",
        "check score-function-learned --replicates 2048",
        "explain gumbel-softmax --problem bernoulli-cost",
    ],
)
def test_what_is_said_of_one_thing_fits(gradbench, monkeypatch, command) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    fits(gradbench(*command.split()).out)


def test_a_run_with_minibatches_of_its_own_fits(gradbench, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "s.toml").write_text(
        'name = "s"\n[measure]\nreplicates = 64\nblocks = 8\nnoise = "latent+data"\n[[grid]]\n'
        'problem = "linear-gaussian"\nbatch = 4\nestimators = ["pathwise-antithetic", "score-function-learned"]\n'
        "samples = 2\n"
    )
    out = gradbench("run", "s.toml", "--out", "out").out
    fits(out)
    for word in ("pathwise-", "antithetic", "score-", "function-", "learned", " data ", "unresolved"):
        assert word in out
