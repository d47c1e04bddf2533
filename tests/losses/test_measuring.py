"""`measure`: what is known exactly comes out, mistakes are found and located, nothing is left changed."""

from __future__ import annotations

import random

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import gradbench as gb
from gradbench.core.errors import UsageError
from gradbench.results.columns import TIMED
from tests.losses.toys import F64, Autoencoder, Quadratic, bernoulli_toy

TENSORS = {
    *("phi.mean", "phi.log_scale", "phi.encoder.weight", "phi.encoder.bias", "phi.decoder.weight", "phi.decoder.bias")
}
FEW = {"replicates": 512, "blocks": 16}


@pytest.fixture(scope="module")
def quadratic() -> gb.MeasuredLosses:
    toy = Quadratic()
    losses = {
        name: getattr(toy, name)
        for name in ("pathwise", "score", "sampled", "own_baseline", "left_out_baseline", "score_of_path")
    }
    return gb.measure(losses, toy.parameters, reference=toy.exact, replicates=2048, seed=3, timed=False)


@pytest.fixture(scope="module")
def autoencoder() -> gb.MeasuredLosses:
    model = Autoencoder()
    losses = {name: getattr(model, name) for name in ("loss", "sampled", "kl_twice", "summed")}
    return gb.measure(losses, model, reference="loss", replicates=1024, timed=False)


def tensors(found: gb.MeasuredLosses, loss: str, verdict: str) -> set[str]:
    frame = found.frame
    own = frame[(frame.estimator == loss) & (frame.verdict == verdict)]
    return set(own.group) & TENSORS


def test_a_reference_that_draws_nothing_is_exact(quadratic):
    row, toy = quadratic.row("pathwise", "mean"), Quadratic()
    assert row.reference == "closed-form"
    assert row.reference_se == 0
    assert row.gradient_norm == pytest.approx(float(toy.gradient()["mean"].norm()))


def test_the_variance_of_a_path_is_its_closed_form(quadratic):
    """∂/∂m of (m + sε − 1)² is 2 (m + sε − 1), of variance 4 s²; by log s it is 2 sε (m − 1 + sε)."""
    toy = Quadratic()
    s, a = toy.log_scale.detach().exp(), toy.mean.detach() - 1
    expected = {"mean": float((4 * s**2).sum()), "log_scale": float((4 * s**2 * a**2 + 8 * s**4).sum())}
    for name, variance in expected.items():
        row = quadratic.row("pathwise", name)
        assert row.variance_low < variance < row.variance_high, name


@pytest.mark.parametrize("name", ["pathwise", "score", "left_out_baseline"])
def test_what_is_right_is_not_called_biased(quadratic, name):
    assert tensors(quadratic, name, "biased") == set()


@pytest.mark.parametrize(("name", "share"), [("sampled", 1.0), ("own_baseline", 0.25)])
def test_a_mistake_loses_the_share_that_theory_says(quadratic, name, share):
    row = quadratic.row(name)
    assert row.verdict == "biased"
    assert row.bias_low / row.gradient_norm <= share <= row.relative_bias_high
    assert tensors(quadratic, name, "biased") == {"phi.mean", "phi.log_scale"}


def test_the_log_prob_of_a_reparameterised_sample_is_found(quadratic):
    """Its log q is −ε²/2 − log s: by the mean nothing is left, by log s −1, so that f is what its gradient is."""
    assert quadratic.row("score_of_path").verdict == "biased"
    assert tensors(quadratic, "score_of_path", "biased") == {"phi.log_scale"}
    mean = quadratic.row("score_of_path", "mean")
    assert mean.relative_bias == pytest.approx(1.0)
    assert mean.bias_high == np.inf  # 0 in every replicate, which no number of them makes certain


def test_a_loss_that_no_parameter_reaches_is_said_to_be_one(quadratic):
    assert quadratic.row("sampled").variance == 0
    assert any("sampled: no parameter gets a gradient" in note for note in quadratic.notes)


def test_mistakes_are_located(autoencoder):
    encoder = {"phi.encoder.weight", "phi.encoder.bias"}
    assert tensors(autoencoder, "sampled", "biased") == encoder  # its decoder is right
    assert tensors(autoencoder, "kl_twice", "biased") == encoder
    assert tensors(autoencoder, "sampled", "unbiased") == {"phi.decoder.weight", "phi.decoder.bias"}
    assert len(tensors(autoencoder, "summed", "biased")) == 4


def test_a_sum_against_a_mean_is_told_as_a_factor(autoencoder):
    assert autoencoder.row("summed").relative_bias == pytest.approx(3.0, rel=1e-6)
    assert "summed: its mean gradient is 4 times the reference: is one a sum over data and the other a mean?" in (
        autoencoder.notes
    )


def test_under_the_same_seeds_a_loss_is_its_own_reference(autoencoder):
    row = autoencoder.row("loss")
    assert row.reference == "monte-carlo"
    assert row.bias_norm == 0
    assert row.verdict == "unbiased"


def test_weights_of_iwae_that_are_not_detached_are_found():
    model = Autoencoder()
    losses = {"weighted": model.weighted, "live": model.weighted_live}
    found = gb.measure(losses, model, reference=model.iwae, samples=3, replicates=512, blocks=16, timed=False)
    assert found.row("weighted").verdict == "unbiased"
    assert found.row("weighted").bias_norm < 1e-9  # the same gradient, replicate by replicate
    assert found.row("live").verdict == "biased"
    assert set(found.frame.samples) == {3}


def test_the_bernoulli_toy_has_its_exact_facts():
    """At p = ½ with f(1) = .3025 and f(0) = .2025 one gradient of the score is ±f/2: variance (f(1) + f(0))²/16."""
    losses, logit = bernoulli_toy()
    found = gb.measure(losses, logit, reference="exact", replicates=1024, timed=False)
    assert found.row("exact").variance == 0
    assert found.row("exact").gradient_norm == pytest.approx(0.025)
    assert found.row("score").variance == pytest.approx((0.3025 + 0.2025) ** 2 / 16, rel=2e-3)
    assert found.row("baseline").variance == pytest.approx(0.0, abs=1e-12)
    assert found.row("baseline").bias_norm == pytest.approx(0.0, abs=1e-9)


def test_the_sign_is_stated_and_turns_both_sides():
    toy = Quadratic()
    down = gb.measure(toy.pathwise, toy.parameters, reference=toy.gradient(), timed=False, **FEW)
    up = gb.measure(toy.pathwise, toy.parameters, reference=toy.gradient(), sign="objective", timed=False, **FEW)
    assert set(down.frame.objective) == {"loss"}
    assert set(up.frame.objective) == {"objective"}
    assert down.row("pathwise").bias_norm == pytest.approx(up.row("pathwise").bias_norm)
    assert down.row("pathwise").cosine == pytest.approx(up.row("pathwise").cosine)
    turned = {name: -value for name, value in toy.gradient().items()}
    wrong = gb.measure(toy.pathwise, toy.parameters, reference=turned, timed=False, **FEW)
    assert wrong.row("pathwise").relative_bias == pytest.approx(2.0, rel=0.2)
    assert any("is a sign turned?" in note for note in wrong.notes)


def test_the_same_seed_gives_the_same_bits_and_another_others():
    toy = Quadratic()
    one, two, other = (
        gb.measure({"score": toy.score}, toy.parameters, reference=toy.exact, seed=seed, timed=False, **FEW).frame
        for seed in (0, 0, 1)
    )
    timed = [name for name in TIMED if name in one]
    pd.testing.assert_frame_equal(one.drop(columns=timed), two.drop(columns=timed), check_exact=True)
    assert (one.variance != other.variance).all()


def test_adding_a_loss_moves_no_other():
    toy = Quadratic()
    alone = gb.measure({"score": toy.score}, toy.parameters, timed=False, **FEW)
    beside = gb.measure({"pathwise": toy.pathwise, "score": toy.score}, toy.parameters, timed=False, **FEW)
    assert alone.row("score").variance == beside.row("score").variance


def test_without_a_reference_there_is_spread_and_pairs_are_compared():
    toy = Quadratic()
    losses = {"pathwise": toy.pathwise, "score": toy.score, "sampled": toy.sampled}
    found = gb.measure(losses, toy.parameters, replicates=2048, timed=False)
    frame = found.frame
    assert frame[["reference", "bias_sq", "bias_p", "bias_high", "mse", "relative_bias"]].isna().all(axis=None)
    assert frame.variance.notna().all()
    assert set(frame.message) == {"no reference was given: what is measured is spread alone"}
    pairs = found.pairs[found.pairs.group == "all"].set_index(["a", "b"])
    assert pairs.loc[("pathwise", "sampled"), "verdict"] == "differ"
    assert pairs.loc[("score", "sampled"), "verdict"] == "differ"
    assert pairs.loc[("pathwise", "score"), "verdict"] != "differ"
    assert pairs.loc[("pathwise", "score"), "variance_ratio_high"] < 1
    norm = float(torch.cat(list(toy.gradient().values())).norm())
    assert found.row("pathwise").gradient_norm == pytest.approx(norm, rel=0.1)


def test_groups_are_all_phi_theta_tensors_and_the_callers_own():
    model = Autoencoder()
    parts = {"encoder": model.encoder, "decoder": model.decoder}
    found = gb.measure(model.loss, parts, timed=False, **FEW).frame.set_index("group")
    assert list(found.index) == [
        *("all", "phi", "phi.encoder.weight", "phi.encoder.bias", "phi.decoder.weight", "phi.decoder.bias"),
        *("phi.encoder", "phi.decoder"),
    ]
    parts = {"phi": model.encoder, "theta": model.decoder}
    other = gb.measure(model.loss, parts, timed=False, **FEW).frame.set_index("group")
    assert list(other.index)[:3] == ["all", "phi", "theta"]
    assert found.variance["phi.encoder"] == pytest.approx(other.variance["phi"], rel=1e-12)
    assert found.variance["all"] == pytest.approx(found.variance["phi.encoder"] + found.variance["phi.decoder"])
    assert found.num_parameters["phi.decoder"] == 15


def test_a_loss_of_many_values_is_a_batch_of_replicates():
    toy = Quadratic()

    def batch() -> torch.Tensor:
        return toy.f(toy.q.rsample(torch.Size([24])))

    found = gb.measure({"batch": batch}, toy.parameters, reference=toy.exact, replicates=2048, timed=False)
    row = found.row("batch")
    assert row.engine == "batch"
    assert row.replicates == 2048
    s, a = toy.log_scale.detach().exp(), toy.mean.detach() - 1
    variance = float((4 * s**2).sum() + (4 * s**2 * a**2 + 8 * s**4).sum())
    assert row.variance_low < variance < row.variance_high
    assert row.verdict != "biased"


def test_one_evaluation_is_what_torch_gives_under_that_seed():
    """A single block by hand: seeds, gradients, mean and variance."""
    from gradbench.losses.chance import replicate_seeds

    toy = Quadratic()
    found = gb.measure(toy.pathwise, toy.parameters, replicates=8, blocks=2, seed=5, timed=False, engine="loop")
    rows = []
    for block in range(2):
        for seed in replicate_seeds(5, "block", block, count=4):
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed)
                rows.append(torch.cat(torch.autograd.grad(toy.pathwise(), [toy.mean, toy.log_scale])))
    assert found.row("pathwise").variance == pytest.approx(float(torch.stack(rows).var(0).sum()), rel=1e-9)


def test_everything_is_left_as_it_was():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
    x = torch.randn(6, 3)
    model(x).sum().backward()

    def loss() -> torch.Tensor:
        model.eval()
        model.train()
        return model(x + float(np.random.normal()) + random.random()).square().mean()

    before = {name: value.clone() for name, value in model.state_dict().items()}
    grads = [value.grad for value in model.parameters()]
    kept = [grad.clone() for grad in grads if grad is not None]
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    found = gb.measure(loss, model, timed=False, **FEW)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(value.grad is grad for value, grad in zip(model.parameters(), grads, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(grads, kept, strict=True) if a is not None)
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])
    assert states[2] == random.getstate()
    assert any("changes 1.running_mean, 1.running_var, 1.num_batches_tracked: put back" in note for note in found.notes)
    assert any("numpy's global random state, Python's global random state" in note for note in found.notes)


def test_float32_and_half_precision_parameters():
    weight = torch.tensor([0.5, -0.5], requires_grad=True)
    half = torch.tensor([0.5, -0.5], dtype=torch.bfloat16, requires_grad=True)
    for value, name in ((weight, "float32"), (half, "bfloat16")):

        def loss(value=value):
            return (value * torch.randn(2).to(value.dtype)).sum()

        row = gb.measure({"loss": loss}, value, timed=False, **FEW).row("loss")
        assert row.dtype == name
        assert row.variance == pytest.approx(2.0, rel=0.3)


def test_another_precision_inside_is_no_matter():
    layer = nn.Linear(4, 1)
    x = torch.randn(8, 4)

    def loss() -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return layer(x + torch.randn_like(x)).float().square().mean()

    assert gb.measure(loss, layer, timed=False, **FEW).row("loss").dtype == "float32"


def test_rows_are_those_of_any_run(tmp_path, quadratic):
    folder = quadratic.save(tmp_path / "run")
    frame = gb.load(folder)
    pd.testing.assert_frame_equal(frame, quadratic.frame)
    assert set(frame.problem) == {"custom"}
    assert len(gb.rank(gb.load_run(folder), "pathwise")[1])
    with pytest.raises(gb.RunError, match="holds a run already"):
        quadratic.save(tmp_path / "run")


def test_it_prints_as_a_table(quadratic):
    text = str(quadratic)
    assert "own_baseline" in text
    assert "sampled: biased in phi.mean, phi.log_scale" in text
    assert max(map(len, text.splitlines())) <= 80


def test_float64_data_beside_float64_parameters():
    assert Quadratic().mean.dtype == F64


def test_a_loss_is_not_tested_against_itself() -> None:
    """Under the same seeds the two agree in every replicate, be they right or wrong."""
    weight = torch.tensor([0.3], requires_grad=True)

    def loss():
        return (weight * torch.randn(1)).square().sum()

    with pytest.raises(UsageError, match="it is loss itself"):
        gb.testing.assert_unbiased(loss, weight, loss)
    for reference in (loss, "loss"):
        found = gb.measure(loss, weight, reference=reference, replicates=64, blocks=8, timed=False)
        assert "loss: is the reference, so that its bias is 0 whatever it is worth" in found.notes
