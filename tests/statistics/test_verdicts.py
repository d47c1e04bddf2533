"""The verdicts that gradbench exists for, on real data at sizes with an exact reference."""

from __future__ import annotations

import pytest

from tests.helpers import ok_rows

pytestmark = pytest.mark.slow

DIGITS = {"data": "digits", "batch": 4, "train_steps": [0, 100]}


@pytest.fixture(scope="module", params=["analytic", "monte-carlo"])
def gaussian(request, tmp_path_factory):
    names = [
        "fixed-sample",
        "double-counted",
        "pathwise",
        "pathwise-antithetic",
        "score-function",
        "score-function-loo",
    ]
    names += ["sticking-the-landing"] if request.param == "monte-carlo" else []
    grid = {"problem": "gaussian-vae", "hidden": 16, "latent": 2, "samples": 2, "kl": request.param}
    return ok_rows(tmp_path_factory.mktemp("gaussian") / "run", DIGITS | grid | {"estimators": names})


@pytest.fixture(scope="module")
def bernoulli(tmp_path_factory):
    names = ["fixed-sample", "score-function", "score-function-loo", "score-function-learned", "disarm", "exact"]
    grid = {"problem": "sigmoid-belief", "latent": 8, "samples": 2, "estimators": [*names, "gumbel-softmax"]}
    return ok_rows(tmp_path_factory.mktemp("bernoulli") / "run", DIGITS | grid)


def verdicts(rows, group: str, *names: str) -> set[str]:
    found = rows[(rows.group == group) & rows.estimator.isin(names)]
    assert len(found) == 2 * len(names)  # untrained and trained
    return set(found.verdict)


def test_the_references_are_exact(gaussian, bernoulli):
    assert set(gaussian.reference) == {"quadrature"}
    assert set(bernoulli.reference) == {"enumeration"}
    assert (gaussian.reference_se == 0).all()


def test_controls_are_caught_in_phi(gaussian, bernoulli):
    assert verdicts(gaussian, "phi", "fixed-sample", "double-counted") == {"biased"}
    assert verdicts(bernoulli, "phi", "fixed-sample") == {"biased"}
    assert verdicts(bernoulli, "phi", "gumbel-softmax") == {"biased"}


def test_true_estimators_are_not_in_phi(gaussian, bernoulli):
    true = ("pathwise", "pathwise-antithetic", "score-function", "score-function-loo")
    assert "biased" not in verdicts(gaussian, "phi", *true)
    true = ("score-function", "score-function-loo", "score-function-learned", "disarm")
    assert "biased" not in verdicts(bernoulli, "phi", *true)
    assert verdicts(bernoulli, "phi", "exact") == {"unbiased"}


def test_theta_is_right_for_the_controls_too(gaussian, bernoulli):
    assert "biased" not in verdicts(gaussian, "theta", "fixed-sample", "double-counted")
    assert "biased" not in verdicts(bernoulli, "theta", "fixed-sample")


def test_no_group_of_an_unbiased_estimator_is_biased(gaussian, bernoulli):
    for rows in (gaussian, bernoulli):
        rows = rows[~rows.estimator.isin(["fixed-sample", "double-counted", "gumbel-softmax"])]
        assert len(rows) > 50
        assert "biased" not in set(rows.verdict)


def test_every_figure_stands_within_its_interval(gaussian, bernoulli):
    for rows in (gaussian, bernoulli):
        for name in ("variance", "mse", "seconds"):
            assert (rows[f"{name}_low"] <= rows[name]).all()
            assert (rows[name] <= rows[f"{name}_high"]).all()
        assert (rows.bias_low <= rows.bias_norm).all()
        assert (rows.bias_norm <= rows.bias_high).all()
        assert rows.cosine.dropna().abs().max() <= 1 + 1e-9
        assert (rows.snr * rows.variance - rows.gradient_norm**2)[rows.variance > 0].abs().max() < 1e-6


def test_groups_add_up(gaussian, bernoulli):
    """A trace over all parameters is the sum of the traces over its tensors; so are squared norms and biases."""
    for rows in (gaussian, bernoulli):
        for _, cell in rows.groupby("cell_id"):
            figures = cell.set_index("group")
            for group in ("all", "phi", "theta"):
                tensors = [n for n in figures.index if "." in n and (group == "all" or n.startswith(group + "."))]
                for name in ("variance", "bias_sq"):
                    total = figures.loc[tensors, name].sum()
                    scale = figures.loc[tensors, name].abs().sum() + 1e-12
                    assert abs(total - figures.loc[group, name]) < 1e-3 * scale, (group, name)
                norms = (figures.loc[tensors, "gradient_norm"] ** 2).sum()
                assert norms == pytest.approx(figures.loc[group, "gradient_norm"] ** 2, rel=1e-6, abs=1e-12)
