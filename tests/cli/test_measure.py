"""gradbench measure"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import gradbench as library

ROOT = Path(__file__).parents[2]
FILE = """
import torch
from torch.distributions import Normal

mean = torch.tensor([0.4, -0.2], dtype=torch.float64, requires_grad=True)
parameters = {"mean": mean}


def path():
    return ((Normal(mean, 1.0).rsample() - 1) ** 2).sum()


def sampled():
    return ((Normal(mean, 1.0).sample() - 1) ** 2).sum()


def exact():
    return ((mean - 1) ** 2).sum()


losses = {"path": path, "sampled": sampled}
broken = {"path": path, "broken": lambda: None}
gradient = {"mean": 2 * (mean.detach() - 1)}
"""
FEW = ("--replicates", "256", "--blocks", "16")


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "train.py"
    path.write_text(FILE)
    return path


def test_it_prints_tables_and_leaves_a_run(gradbench, file, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    result = gradbench("measure", file, "--reference", "exact", *FEW, "--out", "here")
    assert result.code == 0, result.err
    for word in ("path", "sampled", "biased", "closed-form", "no parameter gets a gradient", "256 replicates"):
        assert word in result.out
    assert "sampled: biased in φ.mean" in result.out
    assert max(map(len, result.out.splitlines())) <= 80
    frame = library.load(tmp_path / "here")
    assert set(frame.estimator) == {"path", "sampled"}
    assert gradbench("show", "here", "--group", "all").code == 0
    assert "path" in gradbench("compare", "here", "--group", "all").out
    assert gradbench("measure", file, *FEW, "--out", "here").code == 2  # it is there already


def test_names_in_the_file_are_taken_by_default_and_given_ones_over_them(gradbench, file):
    default = gradbench("measure", f"{file}:path", "--json", *FEW)
    assert {row["estimator"] for row in json.loads(default.out)["rows"]} == {"path"}
    fixed = gradbench("measure", f"{file}:path", "--reference", "gradient", "--parameters", "mean", "--json", *FEW)
    rows = json.loads(fixed.out)["rows"]
    assert {row["group"] for row in rows} == {"all", "phi", "phi.mean"}
    assert {row["reference"] for row in rows} == {"closed-form"}
    (folder, _) = sorted(Path("results").iterdir())
    assert folder.name.startswith("train-20")
    chosen = gradbench("measure", f"{file}:path", "--group", "mean", "--json", *FEW)
    assert {row["group"] for row in json.loads(chosen.out)["rows"]} == {"phi.mean"}


def test_losses_without_a_reference_are_compared(gradbench, file):
    out = gradbench("measure", file, *FEW).out
    assert "losses against each other" in out
    assert "differ" in out


def test_exit_codes(gradbench, file):
    assert gradbench("measure", file, "--reference", "exact", "--check", *FEW).code == 1
    assert gradbench("measure", f"{file}:path", "--reference", "path", "--check", *FEW).code == 0
    some = gradbench("measure", f"{file}:broken", *FEW)
    assert some.code == 3
    assert "returns None instead of a torch loss" in " ".join(some.out.split())
    every = gradbench("measure", f"{file}:nothing", *FEW)
    assert every.code == 2
    file.write_text(f"{FILE}\nnothing = lambda: None\n")
    assert gradbench("measure", f"{file}:nothing", *FEW).code == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nonsuch.py",), "there is no such file"),
        (("train.toml",), "expected FILE.py:NAME"),
        (("train.py:pth",), "did you mean 'path'?"),
        (("train.py", "--parameters", "men"), "did you mean 'mean'?"),
        (("train.py", "--parameters", "mean.nothing"), "Tensor has no 'nothing'"),
        (("train.py", "--reference", "exct"), "did you mean 'exact'?"),
        (("train.py", "--replicates", "100"), "give replicates=96, blocks=32"),
        (("train.py", "--margin", "2"), "expected a share above 0 and below 1"),
        (("train.py", "--group", "nothing"), "unknown group"),
        (("train.py", "--check"), "without a reference no loss can be found biased; name one with --reference"),
        (("train.py", "--sign", "up"), "expected 'loss' (minimised)"),
    ],
)
def test_what_is_wrong_is_said_in_a_line_or_two(gradbench, file, words, said):
    result = gradbench("measure", *words)
    assert result.code == 2
    assert said in result.err
    assert len(result.err.strip().splitlines()) <= 2
    assert not Path("results").exists(), "found before anything is measured"


def test_a_file_without_parameters_is_told_what_would_do(gradbench, file):
    file.write_text(FILE.replace("parameters =", "others ="))
    assert "write parameters = model" in gradbench("measure", file).err


@pytest.mark.slow
def test_the_training_script_is_measured_as_it_is_and_along_training(gradbench, tmp_path):
    """Three of its lines are for the measuring along training."""
    script = ROOT / "examples" / "plain_vae.py"
    text = script.read_text()
    assert len(text.splitlines()) > 150
    assert len(re.findall(r"tracker\(step\)|tracker = gb|import gradbench", text)) == 3
    result = gradbench("measure", script, "--replicates", "64", "--blocks", "8", "--group", "phi", "--out", "start")
    assert result.code == 0, result.err
    assert "without path: biased in φ.hidden.weight" in " ".join(result.out.split())
    from gradbench.plugins import import_file

    import_file(script).trained(2, str(tmp_path / "along"), every=15)
    frame = library.load(tmp_path / "along")
    assert sorted(set(frame.train_steps)) == [0, 15]
    assert set(frame.estimator) == {"analytic KL", "sampled KL"}


def test_the_page_does_what_it_says():
    page = (ROOT / "docs" / "how-to" / "losses.md").read_text()
    space: dict = {"__name__": "page"}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, space)
    assert space["found"].row("doubtful").verdict == "biased"
    assert space["found"].row("loss").verdict == "unbiased"
