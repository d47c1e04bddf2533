"""Noise of latents and data together, against variances derived by hand."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from gradbench.engine import general, minibatches
from gradbench.engine.measure import measure_moments as measure_fixed
from gradbench.engine.moments import Moments, joined
from gradbench.engine.options import Options
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.statistics import Figures, summarise, verdicts
from gradbench.statistics.parts import variance_parts
from gradbench.statistics.reduction import centred
from gradbench.target.points import Point
from gradbench.target.reference import Reference
from tests.helpers import objective_of, over_data, point_of, reference_of_point, task_of

EPS = float(np.finfo(np.float64).eps)
CLEAR = 4.0  # standard errors; 6e-5 where the mean of many is normal
ROWS, BATCH = 40, 8


@pytest.fixture
def bits(tmp_path: Path, monkeypatch) -> str:
    """A data set of few rows, so that a minibatch is no small part of it."""
    rows = np.random.default_rng(0).integers(0, 2, size=(ROWS, 5)).astype(float)
    # its name is part of every random stream: the same one in every run
    monkeypatch.chdir(tmp_path)
    np.savez("bits.npz", rows)
    return "file:bits.npz"


def linear(data: str, batch: int = BATCH, **keys) -> Point:
    return point_of("linear-gaussian", data=data, batch=batch, latent=2, **keys)


def measured(task: Task, blocks: int = 64, per_block: int = 16) -> tuple[Moments, Reference]:
    found = over_data(task.point, blocks * per_block, blocks).upto(blocks)
    moments = minibatches.measure_minibatches(task, range(blocks), per_block, found.gradient)
    return minibatches.probed(task, moments), found


def figures_of(task: Task, blocks: int = 64, per_block: int = 16) -> dict[str, Figures]:
    return summarise(*measured(task, blocks, per_block), EPS)


def error_of(moments: Moments, name: str, part: str) -> float:
    """The standard error of a part of one tensor's variance, from its block values."""
    values = getattr(variance_parts(moments, [name], centred(moments.means[name])[None]), part)[0]
    return float(values.std(ddof=1)) / math.sqrt(len(values))


def population_variance(each: np.ndarray, batch: int) -> float:
    """Of the mean of ``batch`` of the rows [N, P], drawn without replacement: (1 − B/N) S² / B."""
    return float(each.var(0, ddof=1).sum()) * (1 - batch / len(each)) / batch


def arrays(point: Point) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy() for name, value in point.problem.named_parameters().items()}


def test_pathwise_variances_are_those_derived_by_hand(bits):
    """L = 1, analytic KL: with z = loc + s ε and r = x − W z − b, the gradient in loc is Wᵀr/σ² − loc.

    ε enters it as −WᵀW s ε / σ², whatever x is; times xᵀ it is the gradient of the encoder's weight.
    """
    point = linear(bits, noise=0.7)
    moments, found = measured(task_of(point, "pathwise"))
    figures = summarise(moments, found, EPS)
    p, x = arrays(point), point.rows.numpy()
    weight, bias, scale = p["theta.decoder.weight"], p["theta.decoder.bias"], np.exp(p["phi.log_scale"])
    loc = x @ p["phi.encoder.weight"].T + p["phi.encoder.bias"]
    mean = (x - loc @ weight.T - bias) @ weight / 0.49 - loc
    spread = float(((weight.T @ weight / 0.49 * scale) ** 2).sum())
    exact = {
        "phi.encoder.bias": (spread / BATCH, population_variance(mean, BATCH)),
        "phi.encoder.weight": (
            spread * (x**2).sum(1).mean() / BATCH,
            population_variance(np.einsum("ni,nj->nij", mean, x).reshape(ROWS, -1), BATCH),
        ),
    }
    for name, (latent, data) in exact.items():
        one = figures[name]
        assert one.variance_data is not None
        for part, value, truth in (
            ("latent", one.variance_latent, latent),
            ("data", one.variance_data, data),
            ("total", one.variance, latent + data),
        ):
            error = error_of(moments, name, part)
            assert error < 0.3 * truth, "the measurement says nothing"
            assert abs(value - truth) < CLEAR * error, f"{name} {part}: {value} against {truth} ± {error}"
        assert one.variance == pytest.approx(one.variance_latent + one.variance_data, rel=1e-12)
        assert one.mse == pytest.approx(one.variance + one.bias_sq, rel=1e-12)


def test_without_latent_noise_all_variance_is_that_of_the_minibatch(bits):
    """fixed-sample keeps of φ the KL alone, −loc in loc and 1 − scale² in log scale, which has no x in it."""
    point = linear(bits)
    moments, found = measured(task_of(point, "fixed-sample"))
    figures = summarise(moments, found, EPS)
    p, x = arrays(point), point.rows.numpy()
    loc = x @ p["phi.encoder.weight"].T + p["phi.encoder.bias"]
    for name, each in (
        ("phi.encoder.bias", -loc),
        ("phi.encoder.weight", np.einsum("ni,nj->nij", -loc, x).reshape(ROWS, -1)),
    ):
        one, truth = figures[name], population_variance(each, BATCH)
        assert one.variance_latent == one.variance_latent_low == one.variance_latent_high == 0
        assert one.variance == one.variance_data
        assert one.variance_data is not None
        assert abs(one.variance_data - truth) < CLEAR * error_of(moments, name, "data")
        assert 0 < one.variance_data_low < one.variance_data < one.variance_data_high
    still = figures["phi.log_scale"]
    assert still.variance == still.variance_data == still.variance_data_high == still.variance_latent == 0


@pytest.mark.parametrize("engine", ["layers", "general"])
def test_exact_gradients_have_the_variance_of_a_finite_population(bits, engine):
    point = point_of("sigmoid-belief", data=bits, batch=BATCH, latent=3)
    task = task_of(point, "exact")
    found = over_data(point, 64 * 16, 64).upto(64)
    moments = minibatches.measure_minibatches(task, range(64), 1, found.gradient, options=Options(engine))
    assert moments.engine == engine
    figures = summarise(minibatches.probed(task, moments), found, EPS)
    each = [reference_of_point(point.at(slice(n, n + 1)), 4, 4).gradient for n in range(ROWS)]
    for name in point.names:
        one = figures[name]
        truth = population_variance(np.array([gradient[name].flatten().numpy() for gradient in each]), BATCH)
        assert one.variance_latent == 0
        assert one.variance_data is not None
        assert abs(one.variance_data - truth) < CLEAR * error_of(moments, name, "data")
        # against the gradient at its own minibatch an exact gradient shows no bias at all
        assert one.bias_norm < 1e-12 * one.gradient_norm
        assert one.bias_p == 1


def test_a_minibatch_of_all_the_data_adds_nothing(bits):
    point = linear(bits, ROWS)
    assert torch.equal(point.minibatch(0).x, point.minibatch(3).x)
    for estimator in ("pathwise", "fixed-sample"):
        moments, found = measured(task_of(point, estimator), 32)
        figures = summarise(moments, found, EPS)
        for name in point.names:
            one = figures[name]
            assert one.variance_data is not None
            if one.variance == 0:
                assert one.variance_data == one.variance_data_high == 0
                continue
            error = error_of(moments, name, "data")
            assert error < 0.05 * one.variance_latent
            assert abs(one.variance_data) < CLEAR * error


def test_bias_is_measured_against_the_gradient_over_all_the_data(bits):
    point = linear(bits)
    for name in ("pathwise", "score-function", "pathwise-antithetic"):
        figures = figures_of(task_of(point, name, 2), 32, 64)
        assert min(one.bias_p for one in figures.values()) > 1e-4  # ten groups
    moments, found = measured(task_of(point, "double-counted"), 64, 64)
    biased = summarise(moments, found, EPS)
    # ∇E_q[log p(x|z)] is counted once more: the φ-gradient over all the data, less that of −KL
    p, x = arrays(point), point.rows.numpy()
    loc = x @ p["phi.encoder.weight"].T + p["phi.encoder.bias"]
    extra = found.gradient["phi.encoder.bias"].numpy() + loc.mean(0)
    one = biased["phi.encoder.bias"]
    assert abs(one.bias_sq - float(extra @ extra)) < CLEAR * one.bias_sq_se
    columns = ([one.bias_p], [one.bias_high], [one.gradient_norm], [one.variance])
    assert verdicts(*(np.array(column) for column in columns)) == ["biased"]


def test_the_gradients_of_the_minibatches_take_the_noise_of_the_data_out_of_bias(bits):
    point = linear(bits)
    moments, found = measured(task_of(point, "pathwise"), 32, 64)
    plain = summarise(moments, dataclasses.replace(found, minibatches=None), EPS)["phi"]
    own = summarise(moments, found, EPS)["phi"]
    assert own.bias_sq_se < 0.3 * plain.bias_sq_se
    assert own.bias_high < 0.6 * plain.bias_high
    assert (own.variance, own.snr, own.cosine) == (plain.variance, plain.snr, plain.cosine)


def test_shards_of_blocks_agree_bit_for_bit(bits):
    point = linear(bits)
    found = over_data(point, 64, 8).upto(8)
    for name in ("pathwise", "score-function"):
        task = task_of(point, name)
        whole = minibatches.measure_minibatches(task, range(10), 8, found.gradient)
        shards = joined(
            [minibatches.measure_minibatches(task, some, 8, found.gradient) for some in (range(6), range(6, 10))]
        )
        assert shards.minibatches
        # a control that no block of one shard has use for, and some block of the other has, stands for nothing there
        assert set(shards.adjusted) == set(whole.adjusted)
        for key, value in shards.adjusted.items():
            np.testing.assert_array_equal(value, whole.adjusted[key])
        for key in point.names:
            np.testing.assert_array_equal(shards.means[key], whole.means[key])
        for group in ("all", "phi"):
            np.testing.assert_array_equal(shards.by_datapoint[group], whole.by_datapoint[group])
            np.testing.assert_array_equal(shards.cosine[group], whole.cosine[group])


def test_estimators_and_sample_counts_share_their_minibatches(bits):
    point = linear(bits)
    found = over_data(point, 64, 8).upto(8)
    one, other = (
        minibatches.measure_minibatches(task_of(point, name, samples), range(8), 8, found.gradient)
        for name, samples in (("fixed-sample", 1), ("fixed-sample", 4))
    )
    # of φ there is the KL alone, which no sample is in: what is left is the minibatch
    np.testing.assert_allclose(one.means["phi.encoder.bias"], other.means["phi.encoder.bias"], rtol=1e-12)


def test_a_block_is_the_engine_at_its_minibatch(bits):
    point = linear(bits)
    found = over_data(point, 64, 8).upto(8)
    task = task_of(point, "pathwise")
    moments = minibatches.measure_minibatches(task, range(3), 8, found.gradient)
    here = dataclasses.replace(task, point=point.minibatch(2))
    alone = measure_fixed(here, range(2, 3), 8, found.gradient)
    for name in point.names:
        np.testing.assert_array_equal(moments.means[name][2:], alone.means[name])


def test_block_means_past_the_memory_budget_are_the_same(bits):
    point = linear(bits)
    found = over_data(point, 64, 8).upto(8)
    task = task_of(point, "score-function")
    a, b = (
        minibatches.measure_minibatches(task, range(4), 8, found.gradient, options=Options(memory=size))
        for size in (1, 2**30)
    )
    for name in point.names:
        np.testing.assert_array_equal(a.means[name], b.means[name])
        if name in a.adjusted:
            np.testing.assert_array_equal(a.adjusted[name], b.adjusted[name])


def test_blocks_whose_control_is_not_worth_while_stand_beside_those_that_have_one(bits, monkeypatch):
    point = linear(bits)
    found = over_data(point, 64, 8).upto(8)
    task = task_of(point, "score-function")
    original = minibatches.measure_moments

    def sometimes(task, blocks, *rest):
        part = original(task, blocks, *rest)
        return dataclasses.replace(part, adjusted={}) if blocks.start % 2 == 0 else part

    monkeypatch.setattr(minibatches, "measure_moments", sometimes)
    moments = minibatches.measure_minibatches(task, range(4), 8, found.gradient)
    name = "phi.encoder.bias"
    same = (moments.adjusted[name] == moments.means[name]).all(1)
    assert same.tolist() == [True, False, True, False]


def test_kurtosis_and_snr_mean_are_those_of_single_gradients(bits):
    """Against the gradients of many replicates, each at a minibatch of its own, formed one by one."""
    point = linear(bits)
    task = task_of(point, "pathwise")
    figures = figures_of(task, 512, 8)["phi.encoder.bias"]
    draws = []
    for block in range(512):
        here = dataclasses.replace(task, point=point.minibatch(1000 + block))
        noise = here.noise(4, torch.Generator().manual_seed(block))
        draws.append(general.replicate_gradients(here, noise, 4)["phi.encoder.bias"].detach().numpy())
    each = np.array(draws)  # [block, replicate, parameter]
    centre = each.mean((0, 1))
    away = ((each - centre) ** 2).sum(-1)
    kurtosis = (away**2).mean(1) / away.mean() ** 2
    assert figures.kurtosis is not None
    # both sides have the error of some hundreds of independent blocks
    assert abs(figures.kurtosis - kurtosis.mean()) < CLEAR * 2 * kurtosis.std() / math.sqrt(512)
    ratio = np.abs(centre) / np.sqrt(((each - centre) ** 2).mean((0, 1)))
    assert figures.snr_mean == pytest.approx(ratio.mean(), rel=0.15)  # 512 blocks: 4.4 % for each standard deviation


def test_without_probes_nothing_is_said_of_single_gradients(bits):
    task = task_of(linear(bits), "pathwise")
    found = over_data(task.point, 64, 8).upto(8)
    moments = minibatches.measure_minibatches(task, range(8), 8, found.gradient)
    one = summarise(moments, found, EPS)["phi"]
    assert one.kurtosis is None
    assert one.snr_mean is None


def test_a_trained_baseline_is_fitted_once_on_more_than_a_minibatch(bits):
    point = point_of("sigmoid-belief", data=bits, batch=2, latent=3)
    estimator = ESTIMATORS["score-function-learned"]
    seen = []
    spied = dataclasses.replace(estimator, fit=lambda objective, *rest, **keys: seen.append(objective.x) or {})
    task = Task(point, spied, estimator.Parameters().model_dump(), 1, objective_of(point))
    assert minibatches.fitted(task).point is point
    assert [x.shape[2] for x in seen] == [ROWS]


def test_a_trained_baseline_is_unbiased_at_every_minibatch(bits):
    point = point_of("sigmoid-belief", data=bits, batch=4, latent=3)
    estimator = ESTIMATORS["score-function-learned"]
    values = estimator.Parameters(fit_steps=50).model_dump()
    task = minibatches.fitted(Task(point, estimator, values, 1, objective_of(point)))
    figures = figures_of(task, 32, 64)
    assert min(one.bias_p for one in figures.values()) > 1e-4
