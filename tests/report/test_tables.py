"""What a table says of its rows: their replicates, and what a bias is a share of."""

from __future__ import annotations

import io
import re

import pytest

from gradbench.checking.verdict import check_estimator
from gradbench.estimators import ESTIMATORS
from gradbench.explaining.variants import explain
from gradbench.problems.bernoulli_cost import BernoulliCost
from gradbench.report import checked, explained, plain
from gradbench.report.format import number
from gradbench.report.tables import run_tables
from gradbench.results import store
from tests.helpers import run_grids

BITS = {"problem": "bernoulli-cost", "samples": 2}


def printed(renderable, width: int = 100) -> str:
    console = plain.Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())  # pyright: ignore


def lines(text: str, start: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(start)]


@pytest.mark.parametrize("estimators", [["exact", "score-function", "disarm"], ["score-function", "disarm", "exact"]])
def test_the_caption_counts_the_replicates_of_most_rows_and_marks_the_others(tmp_path, estimators) -> None:
    run = run_grids(tmp_path / "out", BITS | {"estimators": estimators}, replicates=512, blocks=8).run
    text = printed(run_tables(run))
    assert "· 512 replicates ·" in text
    assert "4 replicates ·" not in text
    assert re.match(r"exact +2‡ ", lines(text, "exact")[0])
    assert re.match(r"disarm +2  ", lines(text, "disarm")[0])
    assert lines(text, "‡") == ["‡ not as many replicates as the caption says: 4"]


def test_rows_of_one_number_of_replicates_have_no_mark(tmp_path) -> None:
    few = run_grids(tmp_path / "few", BITS | {"estimators": ["exact"]}, replicates=512, blocks=8).run
    assert "· 4 replicates ·" in printed(run_tables(few))
    many = run_grids(tmp_path / "many", BITS | {"estimators": ["disarm"]}, replicates=512, blocks=8).run
    for run in (few, many):
        assert "‡" not in printed(run_tables(run))


def test_where_no_number_is_that_of_most_rows_the_caption_has_the_range(tmp_path) -> None:
    estimators = ["score-function", "disarm", "score-function-loo"]
    run = run_grids(tmp_path / "out", BITS | {"estimators": estimators}, replicates=512, blocks=8).run
    for name, count in zip(estimators, (512, 1024, 4096), strict=True):
        run.frame.loc[run.frame.estimator == name, "replicates"] = count
    text = printed(run_tables(run))
    assert "· 512–4096 replicates ·" in text
    assert "‡" not in text


def test_a_bias_is_a_share_of_the_gradient_or_says_what_it_is_a_share_of(tmp_path) -> None:
    """At target ½ every state costs the same: the gradient is 0, that of the score function has a variance."""
    grid = BITS | {"estimators": ["score-function", "exact"], "target": [0.5, 0.2]}
    run = run_grids(tmp_path / "out", grid, replicates=512, blocks=8).run
    text = printed(run_tables(run))
    zero, known = text.split("target=0.2")
    assert "‖g‖ = 0 " in zero
    assert lines(zero, "score-function")[0].count(" %°") == 2
    assert "%" not in lines(zero, "exact")[0]
    assert "°" not in known.split("\n\n")[0]
    assert lines(text, "°") == ["° ‖g‖ = 0: as a share of √variance, the standard deviation of one gradient"]
    shown = re.findall(r"([\d.]+) %°", lines(zero, "score-function")[0])[1]
    phi = run.ok()[(run.ok().gradient_norm == 0) & (run.ok().group == "phi") & (run.ok().variance > 0)].iloc[0]
    assert float(shown) == pytest.approx(100 * phi.bias_high / phi.variance**0.5, abs=0.5)
    only = run.frame[run.frame.gradient_norm != 0]
    assert "°" not in printed(run_tables(store.Run(run.path, only, run.manifest)))


def test_check_says_so_too(monkeypatch) -> None:
    monkeypatch.setattr(BernoulliCost, "small", {"target": 0.5, "prob": 0.3})
    text = printed(
        checked.checked_text(check_estimator(ESTIMATORS["score-function"], problems=["bernoulli-cost"], margin=0.2))
    )
    assert lines(text, "φ.logits")[0].count(" %°") == 2
    assert "° ‖g‖ = 0: as a share of √variance" in text
    monkeypatch.setattr(BernoulliCost, "small", {"target": 0.2, "prob": 0.3})
    text = printed(
        checked.checked_text(check_estimator(ESTIMATORS["score-function"], problems=["bernoulli-cost"], margin=0.2))
    )
    assert "°" not in text


def test_explain_says_so_too(monkeypatch) -> None:
    for target, said in ((0.5, True), (0.2, False)):
        monkeypatch.setattr(BernoulliCost, "small", {"target": target, "prob": 0.3})
        text = printed(explained.explained_numbers(explain(ESTIMATORS["score-function"], "bernoulli-cost")))
        assert ("where ‖exact‖ is 0, the verdict compares with √variance" in text) == said


def broken(text: str, width: int) -> list[str]:
    table = plain.Table(box=None, show_header=False, pad_edge=False, padding=0)
    table.add_column(overflow="fold", width=width)
    table.add_row(text)
    return [line.rstrip() for line in printed(table).splitlines() if line.strip()]


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("score-function-learned", 22, ["score-function-learned"]),
        ("score-function-learned", 21, ["score-function-", "learned"]),
        ("score-function-learned", 12, ["score-", "function-", "learned"]),
        ("gumbel-softmax temperature=0.5", 11, ["gumbel-", "softmax", "temperature", "=0.5"]),
        ("4.78e-4–5.01e-4", 10, ["4.78e-4–", "5.01e-4"]),
        ("0.00122–0.00125", 9, ["0.00122–", "0.00125"]),
        ("phi.encoder.output.weight", 13, ["phi.encoder.", "output.weight"]),
        ("a score-function-loo b", 14, ["a score-", "function-loo b"]),
        ("unbreakable", 4, ["unbr", "eaka", "ble"]),
        ("1.2e-10 x", 5, ["1.2e-", "10 x"]),
    ],
)
def test_long_words_are_broken_where_it_reads_well(text: str, width: int, shown: list[str]) -> None:
    assert broken(text, width) == shown


def test_a_bound_has_a_norm_for_every_number_of_samples(tmp_path) -> None:
    grid = {"problem": "sigmoid-belief", "latent": 3, "batch": 2, "objective": "iwae", "estimators": ["iwae-score"]}
    run = run_grids(tmp_path / "run", grid | {"samples": [1, 2, 3]}, replicates=32, blocks=8).run
    phi = run.ok()[run.ok().group == "phi"].set_index("samples").gradient_norm
    text = " ".join(printed(run_tables(run)).split())
    assert f"‖g‖ = {number(phi[1])} … {number(phi[3])} for L = 1 … 3 (enumeration)" in text
    assert phi[3] < 0.7 * phi[1]
