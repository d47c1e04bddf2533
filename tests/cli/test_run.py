"""gradbench run"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import gradbench as library
from gradbench.results.columns import COLUMNS, SCHEMA_VERSION
from tests.helpers import TIMED, taken_apart


def test_a_run_prints_tables_and_leaves_a_folder(gradbench, tiny, tmp_path):
    result = gradbench("run", tiny, "--out", "here")
    assert result.code == 0
    for word in ("score-function", "pathwise", "biased", "unbiased", "‖g‖ = 0.0250 (closed-form)", "skipped"):
        assert word in result.out
    assert "disarm: samples come in antithetic pairs; samples = 1 is odd" in " ".join(result.out.split())
    assert max(len(line) for line in result.out.splitlines()) <= 100
    assert "here" in result.err
    frame = library.load(tmp_path / "here")
    assert tuple(frame.columns) == COLUMNS
    manifest = json.loads((tmp_path / "here" / "manifest.json").read_text())
    assert manifest["schema_version"] == SCHEMA_VERSION
    assert manifest["finished"] is not None
    assert not (tmp_path / "here" / "cells").exists()


def test_without_out_the_run_goes_to_results(gradbench, tiny, tmp_path):
    assert gradbench("run", tiny, "--select", "problem=gaussian-cost", "--replicates", "64").code == 0
    (folder,) = (tmp_path / "results").iterdir()
    assert folder.name.startswith("tiny-20")
    assert set(library.load(folder).replicates.dropna()) == {64}


def test_json_is_the_whole_of_stdout(gradbench, tiny):
    result = gradbench("run", tiny, "--select", "estimator=disarm,fixed-sample", "--json")
    rows = json.loads(result.out)
    assert {row["estimator"] for row in rows} == {"disarm", "fixed-sample"}
    assert set(rows[0]) == set(COLUMNS)


def test_the_same_suite_twice_gives_the_same_statistics(gradbench, tiny, finished_run, tmp_path):
    assert gradbench("run", tiny, "--out", "again").code == 0
    first, second = library.load(finished_run), library.load(tmp_path / "again")
    pd.testing.assert_frame_equal(first.drop(columns=TIMED), second.drop(columns=TIMED), check_exact=True)


def test_another_seed_gives_other_figures(gradbench, tiny, finished_run, tmp_path):
    assert gradbench("run", tiny, "--out", "other", "--seed", "7", "--select", "estimator=score-function").code == 0
    frame = library.load(tmp_path / "other")
    assert set(frame.seed) == {7}
    assert not set(frame.variance) & set(library.load(finished_run).variance)


def test_a_finished_run_is_not_measured_again(gradbench, tiny, tmp_path):
    gradbench("run", tiny, "--out", "run", "--select", "problem=gaussian-cost")
    before = library.load(tmp_path / "run").set_index("cell_id").started_at
    (victim, *_) = taken_apart(tmp_path / "run")
    victim.unlink()
    assert gradbench("run", tiny, "--out", "run", "--select", "problem=gaussian-cost").code == 0
    after = library.load(tmp_path / "run").set_index("cell_id").started_at
    assert set(after.index) == set(before.index)
    assert set(after[after != before].index) == {victim.stem}


def test_a_run_of_another_suite_is_not_overwritten(gradbench, tiny):
    gradbench("run", tiny, "--out", "run", "--select", "problem=gaussian-cost")
    result = gradbench("run", tiny, "--out", "run", "--seed", "3")
    assert result.code == 2
    assert "run: holds another run: seed = 0 there, 3 asked for\nto go on with it, ask for what is there" in result.err


def test_a_run_measured_with_a_plugin_names_it_to_whoever_leaves_it_out(gradbench, finished_run, tiny, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    manifest = json.loads((run / "manifest.json").read_text())
    del manifest["checksum"]  # it is edited on purpose
    manifest["plugins"] = [{"source": "my own.py", "names": ["mine"]}, {"source": "package", "names": ["theirs"]}]
    (run / "manifest.json").write_text(json.dumps(manifest))
    tiny.write_text(tiny.read_text().replace('"disarm"', '"mine"'))
    _assert_refused(gradbench("run", tiny, "--out", "run"), "run: was measured with --plugin 'my own.py'; add it")
    assert "--plugin" not in gradbench("run", tiny, "--out", "other").err


def test_a_failed_cell_is_a_row_and_exit_code_3(gradbench, tmp_path):
    # exp(0.499 · 60²) is beyond float64: the gradient of the cost is not finite
    suite = tmp_path / "overflow.toml"
    suite.write_text(
        'name = "overflow"\n[measure]\nreplicates = 64\nblocks = 8\n[[grid]]\nproblem = "gaussian-cost"\n'
        'cost = "exp"\nsize = [{k = 0.1, mean = 1.0}, {k = -0.499, mean = 60.0}]\nestimators = ["pathwise"]\n'
    )
    result = gradbench("run", suite, "--out", "run")
    frame = library.load(tmp_path / "run")
    assert result.code == 3
    assert set(frame.status) == {"ok", "failed"}
    assert frame[frame.status == "failed"].message.str.contains("not finite").all()
    assert "failed" in result.out


def test_nothing_measured_is_exit_code_4(gradbench, tiny):
    result = gradbench(
        "run", tiny, "--out", "run", "--select", "estimator=pathwise", "--select", "problem=bernoulli-cost"
    )
    assert result.code == 4
    assert "needs latents with a differentiable sampling path" in " ".join(result.out.split())


@pytest.mark.slow
@pytest.mark.usefixtures("interruptible")
def test_a_run_can_be_interrupted_and_resumed(tiny, tmp_path):
    import signal
    import time

    suite = tmp_path / "long.toml"
    suite.write_text(
        'name = "long"\n[measure]\nreplicates = 4096\n[[grid]]\nproblem = "gaussian-cost"\nk=[1, 2, 3, 4, 5, 6, 7, 8]\n'
        'estimators = ["pathwise", "score-function"]\nsamples = [1, 2]\n'
    )
    command = [sys.executable, "-c", "from gradbench.cli import main; main()", "run", str(suite), "--out", "run"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    cells = tmp_path / "run" / "cells"
    deadline = time.monotonic() + 120
    while not (cells.is_dir() and len(list(cells.glob("*.parquet"))) >= 2):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; go on with: gradbench run" in err
    done = library.load(tmp_path / "run").cell_id.nunique()
    assert 2 <= done < 32
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "Traceback" not in finished.stderr
    assert len(library.load(tmp_path / "run").cell_id.unique()) == 32


BAD = {
    "not TOML": ('name = "x', "not valid TOML"),
    "no name": ("title = 'x'\n[[grid]]\nproblem = 'gaussian-cost'\nestimators = ['pathwise']", "name: is missing"),
    "no grid": ("name = 'x'", "grid: is missing"),
    "unknown top key": ("name = 'x'\nmesure = 1\n[[grid]]\nproblem = 'gaussian-cost'", "did you mean 'measure'"),
    "unknown measure key": (
        "name = 'x'\n[measure]\nreplicate = 3\n[[grid]]",
        "did you mean 'replicates'",
    ),
    "unknown key": ("[[grid]]\nproblem = 'gaussian-cost'\nestimators = ['pathwise']\nmeen = 2", "did you mean 'mean'"),
    "unknown problem": (
        "[[grid]]\nproblem = 'gausian-cost'\nestimators = ['pathwise']",
        "did you mean 'gaussian-cost'",
    ),
    "unknown estimator": ("[[grid]]\nproblem = 'gaussian-cost'\nestimators = ['pathwize']", "did you mean 'pathwise'"),
    "unknown parameter": (
        "[[grid]]\nproblem = 'bernoulli-cost'\nestimators = [{name = 'gumbel-softmax', temp = 1}]",
        "did you mean 'temperature'",
    ),
    "bad parameter": (
        "[[grid]]\nproblem = 'bernoulli-cost'\nestimators = [{name = 'gumbel-softmax', temperature = -1}]",
        "greater than 0",
    ),
    "negative samples": (
        "[[grid]]\nproblem = 'gaussian-cost'\nestimators = ['exact']\nsamples = -2",
        "greater than 0",
    ),
    "no samples": ("[[grid]]\nproblem = 'gaussian-cost'\nestimators = ['pathwise']\nsamples = []", "empty list"),
    "infinite expectation": (
        "[[grid]]\nproblem = 'gaussian-cost'\ncost = 'exp'\nk = -1\nestimators = ['pathwise']",
        "choose k above -0.5",
    ),
    "cuda": ("[[grid]]\nproblem = 'gaussian-cost'\nestimators = ['pathwise']\ndevice = 'cuda:9'", "--device cpu"),
    "training a cost": (
        "[[grid]]\nproblem = 'gaussian-cost'\nestimators = ['pathwise']\ntrain_steps = 5",
        "drop the key",
    ),
    "unknown data": ("[[grid]]\nproblem = 'gaussian-vae'\nestimators = ['pathwise']\ndata = 'digit'", "'digits'"),
    "no such data file": (
        "[[grid]]\nproblem = 'gaussian-vae'\nestimators = ['pathwise']\ndata = 'file:no.npz'",
        "no such file",
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_suite_is_refused_in_a_few_lines_and_writes_nothing(gradbench, tmp_path, fault):
    text, remedy = BAD[fault]
    suite = tmp_path / "bad.toml"
    suite.write_text(text if text.startswith(("name", "title")) else f"name = 'x'\n{text}")
    result = gradbench("run", suite)
    _assert_refused(result, remedy)
    assert list(tmp_path.iterdir()) == [suite]


ARGUMENTS = {
    ("run", "quik"): "did you mean 'quick'",
    ("run", "no.toml"): "expected a suite file",
    ("run",): "give a suite",
    ("run", "quick", "--device", "tpu"): "expected auto, cpu, cuda",
    ("run", "quick", "--replicates", "33"): "take 32 or 64",
    ("run", "quick", "--replicates", "-32"): "greater than 0",
    ("run", "--select"): "option '--select' requires an argument; see gradbench run --help",
    ("run", "quick", "--select", "estimator"): "expected key=value",
    ("run", "quick", "--select", "estimater=exact"): "did you mean 'estimator'",
    ("run", "quick", "--select", "samples=3"): "samples is 1, 2, 4",
    ("run", "quick", "--out", "/proc/nowhere"): "give --out a folder that you may write",
    ("rum", "quick"): "no such command",
    ("list", "estimater"): "estimators",
    ("show", "pathwize"): "did you mean 'pathwise'",
    ("show", "."): "no run folder",
    ("show", "quick", "--group", "theta", "--full"): "--group and --full: for the figures of a run; give a run folder",
    ("show", "pathwise", "--sort", "samples"): "--sort: for the figures of a run; give a run folder, not pathwise",
    ("show", "variance", "--select", "samples=1"): "--select: for the plan of a suite; give a suite, not variance",
    ("run", "quick", "--group", "ph"): "did you mean 'phi'?",
    ("run", "costs", "--group", "theta"): "has no θ under cost",
    ("run", "quick", "--at", "seconds", "--sort", "samples"): "--sort: for the usual tables",
    ("run", "quick", "--json", "--columns", "samples"): "--columns: for tables",
    ("explain", "--picture", "a.svg", "--seed", "3"): "--picture is that of the whole story; drop everything else",
    ("check", "pathwise", "--latents", "gaussian"): "drop --latents",
    ("check", "gaussian-cost", "--problem", "gaussian-cost"): "drop --problem",
    ("export", "nothing"): "no such folder",
    ("compare", "nothing"): "no such folder",
}


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=" ".join)
def test_wrong_usage_is_refused_in_a_few_lines_and_writes_nothing(gradbench, tmp_path, arguments):
    _assert_refused(gradbench(*arguments), ARGUMENTS[arguments])
    assert not list(tmp_path.iterdir())


def _assert_refused(result, remedy: str) -> None:
    assert result.code == 2
    assert result.out == ""
    assert remedy in result.err
    assert "Traceback" not in result.err
    assert 1 <= len(result.err.strip().splitlines()) <= 4, "one for each fault, behind their number"


@pytest.mark.slow
def test_the_console_script_is_installed(tmp_path):
    from pathlib import Path

    script = Path(sys.executable).parent / "gradbench"
    result = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == f"gradbench {library.__version__}"


MODELS = """
name = "models"
title = "Two models with data and one cost"

[measure]
replicates = 256
blocks = 16

[[grid]]
problem = "linear-gaussian"
batch = 4
estimators = ["pathwise", "double-counted"]

[[grid]]
problem = "gaussian-cost"
estimators = ["pathwise"]
"""


def test_the_command_line_draws_minibatches_anew(gradbench, tmp_path):
    suite = tmp_path / "models.toml"
    suite.write_text(MODELS)
    result = gradbench("run", suite, "--noise", "latent+data", "--out", "both")
    assert result.code == 0
    words = " ".join(result.out.split())
    assert "interval data bias" in words
    assert "data: the share that is the minibatch's" in words
    assert "gaussian-cost has no data to draw minibatches from; use noise = 'latent'" in words
    assert max(len(line) for line in result.out.splitlines()) <= 100
    frame = library.load(tmp_path / "both")
    ok = frame[frame.status == "ok"]
    assert set(ok.noise) == {"latent+data"}
    assert (ok.variance_data > 0).any()
    assert "interval data" not in " ".join(gradbench("run", suite, "--out", "fixed").out.split())
    shown = gradbench("show", suite)
    assert "16 blocks; about" in " ".join(shown.out.split())
    again = gradbench("compare", "fixed", "both")
    assert again.code == 2
    assert "noise is latent in one and latent+data in the other" in again.err


def test_the_plan_says_that_minibatches_are_drawn_anew(gradbench, tmp_path):
    suite = tmp_path / "models.toml"
    suite.write_text(MODELS.replace("blocks = 16", 'blocks = 16\nnoise = "latent+data"'))
    shown = gradbench("show", suite)
    assert "16 blocks, each with a minibatch of its own; about" in " ".join(shown.out.split())


def test_noise_without_data_is_refused(gradbench, tiny):
    result = gradbench("run", tiny, "--noise", "latent+data")
    _assert_refused(result, "no grid of tiny has data; use 'latent'")
    _assert_refused(gradbench("run", tiny, "--noise", "data"), "'latent' or 'latent+data'")


DATA = """
name = "data"
[measure]
replicates = 64
blocks = 8
[[grid]]
problem = "gaussian-vae"
size = {{hidden = 2, latent = 1}}
data = 'file:{data}'
batch = 4
estimators = ["pathwise"]
"""


@pytest.mark.parametrize(
    ("file", "array", "remedy"),
    [
        ("pictures.npy", np.full((40, 4, 3), 255, np.uint8), "give it scale = 255"),
        (
            "bad[/x].npy",
            np.full((40, 3), np.nan),
            "120 of 120 values are NaN or infinite, the first in row 0, column 0",
        ),
        ("few.npy", np.zeros((3, 3)), "choose at most 3"),
        ("complex.npy", np.zeros((40, 3), complex), "complex numbers"),
        ("broken.npy", None, "cannot be read as .npy"),
    ],
)
def test_data_that_cannot_be_measured_are_refused_and_nothing_is_written(gradbench, tmp_path, file, array, remedy):
    (tmp_path / "data.toml").write_text(DATA.format(data=file))
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(b"") if array is None else np.save(tmp_path / file, array)
    before = set(tmp_path.rglob("*"))
    result = gradbench("run", "data.toml")
    _assert_refused(result, remedy)
    assert f"file:{file}" in result.err
    assert set(tmp_path.rglob("*")) == before
    _assert_refused(gradbench("show", "data.toml"), remedy)


def test_a_run_whose_data_or_machine_have_changed_says_so(gradbench, tmp_path):
    (tmp_path / "data.toml").write_text(DATA.format(data="a.npy"))
    np.save(tmp_path / "a.npy", np.eye(8))
    assert gradbench("run", "data.toml", "--out", "run").code == 0
    assert gradbench("run", "data.toml", "--out", "run").err.startswith("data: 1 cell ")
    np.save(tmp_path / "a.npy", 1 - np.eye(8))
    path = tmp_path / "run" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["sessions"][0]["versions"]["torch"] = "1.0"
    del manifest["checksum"]  # it is edited on purpose
    path.write_text(json.dumps(manifest))
    taken_apart(tmp_path / "run")
    again = gradbench("run", "data.toml", "--out", "run")
    assert again.code == 0
    stale, changed, *_ = again.err.splitlines()
    assert stale.startswith("data 'file:a.npy': its contents have changed since this run; its cell is stale")
    assert changed.startswith("this run was begun under other versions or hardware: torch was 1.0")
    shown = gradbench("show", "run")
    assert shown.code == 0
    assert gradbench("show", "data.toml").code == 0
