"""`gradbench explain`, `check`, `new` and `--plugin`, as a user meets them."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from rich.cells import cell_len

from gradbench.checking.targets import Target
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.base import Estimator
from gradbench.explaining import surrogates
from gradbench.explaining.variants import target_for
from gradbench.report.story import CHAPTERS
from tests.cli.test_width import fits

EXAMPLES = Path(__file__).parents[2] / "examples"


pytestmark = pytest.mark.usefixtures("registries")


UNLOCKING = "The gradient of a sample average is not the sample average of gradients."
CHAPTERS_TOLD = ("bit", "binary", "gaussian", "scale", "autograd", "kl")


@pytest.fixture
def quick(monkeypatch) -> None:
    """A few replicates and steps of fitting: for words and tables, whose figures are looked at elsewhere."""
    monkeypatch.setattr(surrogates, "LOOK_REPLICATES", (64,))
    monkeypatch.setattr(surrogates, "LOOK_BLOCKS", 8)
    usual = Target.task

    def task(self: Target, estimator: Estimator, samples: int) -> Task:
        known = estimator.Parameters.model_fields
        few = {name: value for name, value in {"fit_steps": 3, "fit_samples": 64}.items() if name in known}
        return usual(self, estimator, samples, few)

    monkeypatch.setattr(Target, "task", task)


def test_the_story_answers_what_was_asked(gradbench, quick) -> None:
    told = gradbench("explain")
    assert told.code == 0
    fits(told.out)
    first, *parts = (told.out.index(text) for text in (UNLOCKING, *(CHAPTERS[name].title for name in CHAPTERS)))
    assert "∇_φ Σ_h Q_φ(h|x) log P_θ(x,h)" in told.out[:first]
    titles = [told.out.index(f"{CHAPTERS[name].title}\n═") for name in CHAPTERS]
    assert sorted(titles) == titles
    assert len(parts) == len(titles) == len(CHAPTERS_TOLD)
    for name, (start, end) in zip(CHAPTERS, pairwise([*titles, told.out.index("Next: ")]), strict=True):
        assert gradbench("explain", name).out.strip() == told.out[start:end].strip()  # the same by itself


def test_the_figures_of_the_story_are_data(gradbench, quick) -> None:
    data = json.loads(gradbench("explain", "--json").out)
    assert tuple(data) == CHAPTERS_TOLD == tuple(CHAPTERS)
    rows = {(row["estimator"], row["part"]): row for row in data["gaussian"]["rows"]}
    assert {name for name, _ in rows} == {"score-function", "pathwise", "fixed-sample", "double-counted"}
    assert round(rows["fixed-sample", "phi"]["counted"]) == 0
    assert rows["fixed-sample", "phi"]["verdict"] == "biased"
    assert data["bit"]["gradient"] == 2
    assert data["binary"]["difference"] == 0
    assert json.loads(gradbench("explain", "kl", "--json").out) == {"kl": data["kl"]}


def test_the_picture_is_written_and_nothing_else_is_asked(gradbench, tmp_path: Path) -> None:
    written = gradbench("explain", "--picture", "answer.png")
    assert (written.code, written.out, written.err) == (0, "", "answer.png written\n")
    assert (tmp_path / "answer.png").read_bytes().startswith(b"\x89PNG")
    for arguments, said in (
        (("--picture", "answer.jpg"), "expected a file that ends in .png, .svg, .pdf"),
        (
            ("--picture", "nowhere/answer.png"),
            "nowhere/answer.png: cannot be written (No such file or directory); name another file",
        ),
        (("pathwise", "--picture", "answer.png"), "drop everything else"),
    ):
        refused = gradbench("explain", *arguments)
        assert (refused.code, said in refused.err, "Traceback" in refused.err) == (2, True, False), refused.err


def test_an_estimator_goes_before_a_chapter_of_its_name(gradbench) -> None:
    asked = gradbench("explain", "scale", "--problem", "bernoulli-cost")
    assert (asked.code, "name the estimator" in asked.err) == (2, True)
    assert gradbench("new", "estimator", "scale").code == 0
    told = gradbench("explain", "scale", "--plugin", "scale.py", "--problem", "bernoulli-cost")
    assert told.out.startswith("scale: ")


OUTCOMES = {
    "pathwise": {"z": {"biased"}, "q in f": {"quieter", "alike", "noisier"}, "f": {"biased"}},
    "sticking-the-landing": {"z": {"biased"}, "q in f": {"quieter", "alike", "noisier"}, "f": {"biased"}},
    "disarm": {
        "b": {"same"},
        "q in f": {"quieter", "alike", "noisier"},
        "weight": {"biased"},
        "logits": {"biased"},
        "f": {"biased"},
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OUTCOMES)
def test_variants_are_judged_by_measuring(gradbench, name: str) -> None:
    data = json.loads(gradbench("explain", name, "--json").out)
    found = {variant["factor"]: variant["outcome"] for variant in data["variants"]}
    assert set(found) == set(OUTCOMES[name])
    for factor, allowed in OUTCOMES[name].items():
        assert found[factor] in allowed, (factor, found[factor])
    assert all(part["verdict"] == "unbiased" for part in data["parts"])


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_can_be_explained(name: str) -> None:
    target, samples = target_for(ESTIMATORS[name])
    assert ESTIMATORS[name].why_not(target.setting(samples, ESTIMATORS[name])) is None
    assert (target.objective == "iwae") == ("iwae" in ESTIMATORS[name].unbiased)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_is_explained_in_80_columns(gradbench, quick, name: str) -> None:
    told = gradbench("explain", name)
    assert (told.code, told.err) == (0, "")
    assert max(map(cell_len, told.out.splitlines())) <= 80
    fits(told.out[told.out.index("The ledger: ") :])  # a docstring may have an ellipsis of its own
    for heading in ("Estimates: ", "Held constant: ", "Unbiased for: ", "The ledger: ", "In numbers: ", "so it is"):
        assert heading in told.out
    ledger, numbers = told.out.split("In numbers: ")
    assert [factor.name for factor in ESTIMATORS[name].ledger if f"\n {factor.name} " not in ledger] == []
    assert numbers.count("drop the hold") == sum(factor.held for factor in ESTIMATORS[name].ledger)


REMEDIES = {"fixed-sample": {"z": "mended", "q in f": "still"}, "iwae-stl": {"q in f": "mended", "z": "still"}}


@pytest.mark.parametrize("name", REMEDIES)
def test_what_mends_a_wrong_estimator_is_called_its_remedy(gradbench, name: str) -> None:
    data = json.loads(gradbench("explain", name, "--json").out)
    found = {variant["factor"]: variant["outcome"] for variant in data["variants"]}
    assert found == {**REMEDIES[name], "f": "biased"}  # in θ, which was right


def test_gradients_that_cancel_to_rounding_are_not_left_open(gradbench, monkeypatch) -> None:
    monkeypatch.setattr(surrogates, "LOOK_REPLICATES", (64, 128))
    monkeypatch.setattr(surrogates, "LOOK_BLOCKS", 8)
    data = json.loads(gradbench("explain", "rws-wake-phi", "--json").out)
    found = {variant["factor"]: variant for variant in data["variants"]}
    (phi,) = (part for part in found["q in f"]["parts"] if part["part"] == "phi")
    assert (phi["variance"], phi["verdict"]) == (0, "biased")
    assert abs(phi["counted"]) < 1e-9


@pytest.mark.parametrize("name", ["iwae-dreg", "iwae-pathwise"])
def test_a_bound_is_explained_against_its_own_gradient(gradbench, name: str) -> None:
    told = gradbench("explain", name)
    assert told.code == 0, told.err
    assert "In numbers: gaussian-vae, 2-sample iwae, L = 2" in told.out
    assert "the exact gradient of the bound" in told.out
    assert max(map(len, told.out.splitlines())) <= 80
    data = json.loads(gradbench("explain", name, "--json").out)
    assert (data["objective"], data["samples"], data["reference"]) == ("iwae", 2, "quadrature")
    # 4 standard errors: 6e-5 for each
    for part in data["parts"]:
        assert abs(part["counted"] - 1) < 4 * part["counted_error"] < 0.2
        assert part["verdict"] == "unbiased"
    found = {variant["factor"]: variant["outcome"] for variant in data["variants"]}
    assert {found[factor] for factor in ("z", "f")} == {"biased"}


def test_explain_prints_the_ledger_that_is_declared(gradbench) -> None:
    told = gradbench("explain", "score-function", "--problem", "bernoulli-cost")
    assert max(map(len, told.out.splitlines())) <= 80
    data = json.loads(gradbench("explain", "score-function", "--problem", "bernoulli-cost", "--json").out)
    declared = ESTIMATORS["score-function"].ledger
    assert [(row["factor"], row["held"], row["phi"], row["theta"], row["why"]) for row in data["ledger"]] == [
        (factor.name, factor.held, factor.phi, factor.theta, factor.why) for factor in declared
    ]
    lines = [" ".join(line.split()) for line in told.out.splitlines()]
    for factor in declared:
        cells = ["held" if factor.held else "·", *("yes" if part else "·" for part in (factor.phi, factor.theta))]
        assert any(line.startswith(" ".join([factor.name, *cells])) for line in lines), factor


LAX = """
from gradbench.estimators.base import Estimator
from gradbench.objectives.base import average


def lax(objective, q, noise):
    return average(objective.f(q.sample(noise), q)) * {factor}


def right(objective, q, noise):
    return average(objective.f(q.sample(noise), q))


def odd(setting):
    return None if setting.samples == 1 else "one sample only"


registered = Estimator("lax", "the one that is meant", right, (), "-", frozenset({{"gaussian"}}), needs=odd)
other = Estimator("lax", "-", right, (), "-", frozenset({{"gaussian"}})) if {twice} else None
"""


def test_the_estimator_of_a_name_goes_before_the_function(gradbench, tmp_path: Path) -> None:
    limits = ("--problem", "gaussian-cost", "--margin", "0.2", "--replicates", "2048")
    (tmp_path / "mine.py").write_text(LAX.format(factor=2, twice=False))
    meant = gradbench("check", "mine.py:lax", *limits)
    assert (meant.code, meant.out.startswith("✓ lax: unbiased within ")) == (0, True), meant.out
    assert "gaussian-cost, L = 1," in meant.out  # as the Estimator declares; the bare function would take 4
    by_variable = gradbench("check", "mine.py:registered", *limits)
    assert by_variable.out == meant.out
    bare = gradbench("check", "mine.py:right", *limits)
    assert bare.out.startswith("✓ right (bare surrogate): unbiased")
    assert "gaussian-cost, L = 4," in bare.out
    assert json.loads(gradbench("check", "mine.py:right", *limits, "--json").out)["estimator"].endswith(
        "(bare surrogate)"
    )
    (tmp_path / "mine.py").write_text(LAX.format(factor=2, twice=True))
    refused = gradbench("check", "mine.py:lax", *limits)
    assert (refused.code, "2 of its things have this name" in refused.err) == (2, True)


@pytest.mark.parametrize("kind", ["estimator", "problem", "family", "objective"])
def test_skeletons_pass_check(gradbench, kind: str) -> None:
    assert gradbench("new", kind, "my-own").code == 0
    limits = ("--margin", "0.2", "--replicates", "8192")
    only = ("--problem", "bernoulli-cost", "--problem", "linear-gaussian") if kind == "estimator" else ()
    named = "my_own.py:my-own" if kind in ("family", "objective") else "my_own.py"
    checked = gradbench("check", named, *limits, *only)
    assert (checked.code, "unbiased within" in checked.out) == (0, True), checked.out + checked.err
    assert max(map(len, checked.out.splitlines())) <= 100
    again = gradbench("new", kind, "my-own")
    assert (again.code, f"another {kind} has the name" in again.err or "exists already" in again.err) == (2, True)


def test_a_plugin_takes_part_by_name(gradbench, tmp_path: Path) -> None:
    gradbench("new", "estimator", "mine")
    assert "mine" in gradbench("list", "estimators", "--plugin", "mine.py").out
    assert "Held constant" in gradbench("show", "mine", "--plugin", "mine.py").out
    suite = tmp_path / "s.toml"
    suite.write_text(
        'name = "s"\n[measure]\nreplicates = 64\nblocks = 8\n'
        '[[grid]]\nproblem = "bernoulli-cost"\nestimators = ["mine"]\n'
    )
    ran = gradbench("run", suite, "--plugin", "mine.py", "--out", "out")
    assert ran.code == 0, ran.err
    recorded = json.loads((tmp_path / "out" / "manifest.json").read_text())["plugins"]
    assert [(Path(plugin["source"]).name, plugin["names"]) for plugin in recorded] == [("mine.py", ["mine"])]
    assert len(recorded[0]["sha256"]) == 64
    (tmp_path / "mine.py").write_text((tmp_path / "mine.py").read_text() + "# changed\n")
    changed = gradbench("run", suite, "--plugin", "mine.py", "--out", "out")
    assert (changed.code, "its cell is stale: measured anew" in changed.err) == (0, True)


def test_a_suite_cannot_load_code(gradbench, tmp_path: Path) -> None:
    gradbench("new", "estimator", "mine")
    (tmp_path / "s.toml").write_text('name = "s"\nplugin = "mine.py"\n[[grid]]\nproblem = "bernoulli-cost"\n')
    refused = gradbench("run", "s.toml")
    assert (refused.code, "unknown key 'plugin'" in refused.err) == (2, True)


def test_a_vae_of_plain_modules_is_a_problem_in_under_30_lines(gradbench) -> None:
    text = (EXAMPLES / "conv_vae.py").read_text()
    lines = [line for line in text.split('"""', 2)[2].splitlines() if line.strip()]
    assert len(lines) < 30
    checked = gradbench("check", EXAMPLES / "conv_vae.py", "--margin", "0.2", "--replicates", "2048")
    assert checked.code == 0, checked.out + checked.err


BAD = {
    "no such file": ("check", "nowhere.py:mine"),
    "did you mean 'surrogate'": ("check", "mine.py:surogate"),
    "line 2: raises ZeroDivisionError": ("check", "raises.py:mine"),
    "raises SyntaxError": ("list", "estimators", "--plugin", "syntax.py"),
    "which there are none of": ("run", "costs", "--plugin", "laplace.py"),
    "give yours one of its own": ("list", "estimators", "--plugin", "clash.py"),
    "defines no Estimator, and no Problem, Objective or Family with a name": (
        "explain",
        "pathwise",
        "--plugin",
        "empty.py",
    ),
    "did you mean 'pathwise'": ("explain", "pathwize"),
    "did you mean 'gaussian-vae'": ("explain", "pathwise", "--problem", "gausian-vae"),
    "choose --problem gaussian-vae or linear-gaussian": ("explain", "iwae-dreg", "--problem", "bernoulli-cost"),
    "needs latents with a differentiable sampling path": ("explain", "pathwise", "--problem", "bernoulli-cost"),
    "such as my-estimator": ("new", "estimator", "My Estimator"),
    "no problem has such": ("check", "mine.py:surrogate", "--latents", "laplace"),
    "got dict": ("check", "data.py:THING"),
}


@pytest.mark.parametrize("says", BAD)
def test_bad_input_is_two_lines_and_exit_code_2(gradbench, tmp_path: Path, says: str) -> None:
    gradbench("new", "estimator", "mine")
    mine = (tmp_path / "mine.py").read_text()
    (tmp_path / "raises.py").write_text("x = 1\ny = x / 0\n")
    (tmp_path / "syntax.py").write_text("def f(:\n")
    (tmp_path / "empty.py").write_text("x = 1\n")
    (tmp_path / "data.py").write_text("THING = {}\n")
    (tmp_path / "laplace.py").write_text(mine.replace('{"gaussian", "bernoulli"}', '{"laplace"}'))
    (tmp_path / "clash.py").write_text(mine.replace('name="mine"', 'name="pathwise"'))
    result = gradbench(*BAD[says])
    assert result.code == 2
    assert says in result.err
    assert len(result.err.strip().splitlines()) <= 2
    assert not result.out
