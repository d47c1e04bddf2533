"""What `gradbench check` leaves out takes one line, and the reasons stay in its data."""

from __future__ import annotations

import pytest

from gradbench.checking.objective import check_objective
from gradbench.checking.verdict import LeftOut, check_estimator
from gradbench.estimators import ESTIMATORS
from gradbench.objectives.iwae import Iwae
from gradbench.report.checked import LEFT_OUT_WIDTH, checked_text, left_out_line
from gradbench.report.plain import Console


def left_out(**causes: str) -> dict[str, LeftOut]:
    pairs = [(cause, what) for cause, names in causes.items() for what in names.split()]
    return {f"target {index}": LeftOut(cause, what, "why") for index, (cause, what) in enumerate(pairs)}


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (left_out(objective="cost"), "not measured at 1 target: objective cost (--json: reasons)"),
        (
            left_out(objective="elbo cost elbo", latents="bernoulli"),
            "not measured at 4 targets: objective elbo, cost; latents bernoulli (--json: reasons)",
        ),
        (
            left_out(objective="elbo cost", latents="bernoulli categorical gamma beta dirichlet von-mises poisson"),
            "not measured at 9 targets: objective elbo, cost; latents bernoulli, categorical, … (--json: reasons)",
        ),
    ],
)
def test_the_line_of_what_is_left_out(found: dict[str, LeftOut], line: str) -> None:
    assert left_out_line(found) == line
    assert len(line) <= LEFT_OUT_WIDTH


def test_a_line_without_room_keeps_its_causes() -> None:
    assert left_out_line(left_out(objective="elbo", latents="gamma beta"), width=40) == (
        "not measured at 3 targets: objective; latents (--json: reasons)"
    )


def test_a_check_has_one_such_line_and_all_the_reasons() -> None:
    estimator = ESTIMATORS["sticking-the-landing"]
    result = check_estimator(estimator, replicates=64, margin=10.0)
    console = Console(width=100)
    with console.capture() as capture:
        console.print(checked_text(result))
    (line,) = [line for line in capture.get().splitlines() if "not measured at" in line or line.startswith("not on")]
    assert line.strip().endswith("(--json: reasons)")
    assert {why.cause for why in result.left_out.values()} == {"objective", "latents", "needs"}
    reasons = result.data()["left_out"]
    assert reasons.keys() == result.left_out.keys()
    assert "estimates elbo gradients, not cost" in reasons["gaussian-cost"]
    assert "kl = 'monte-carlo'" in reasons["linear-gaussian, analytic KL"]


def test_an_objective_leaves_out_problems_of_other_latents() -> None:
    result = check_objective(Iwae, replicates=64, margin=10.0)
    assert {why.what for why in result.left_out.values()} == {"bernoulli", "categorical", "gamma"}
    assert result.data()["left_out"]["categorical-vae"] == "its latents are categorical; --problem categorical-vae"
