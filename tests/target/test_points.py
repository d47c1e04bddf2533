from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scipy.stats import chi2

from gradbench.core import sealed
from gradbench.core.errors import MeasurementError, UsageError
from gradbench.problems import PROBLEMS
from gradbench.problems.networks import Calls
from gradbench.target import points, trained_parameters
from gradbench.target.points import Axes, build
from tests.helpers import exact_reference, point_of


def parameters(point) -> dict:
    return {name: value.detach().clone() for name, value in point.problem.named_parameters().items()}


def same(a: dict, b: dict) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


VAE = {"hidden": 4, "latent": 2, "batch": 5}


def test_a_point_depends_on_its_axes_alone():
    first = point_of("gaussian-vae", **VAE)
    torch.manual_seed(3)
    again, other = point_of("gaussian-vae", **VAE), point_of("gaussian-vae", seed=1, **VAE)
    assert same(parameters(first), parameters(again))
    assert first.x is not None
    assert again.x is not None
    assert torch.equal(first.x, again.x)
    assert not same(parameters(first), parameters(other))


def test_the_batch_size_does_not_move_the_parameters():
    small, large = (point_of("gaussian-vae", train_steps=3, hidden=4, batch=b) for b in (2, 5))
    assert same(parameters(small), parameters(large))


def test_building_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    point_of("gaussian-vae", train_steps=2, **VAE)
    point_of("linear-gaussian", batch=3)
    assert torch.equal(before, torch.get_rng_state())


def test_names_tell_phi_from_theta():
    point = point_of("sigmoid-belief", latent=3, batch=2)
    assert set(point.names) == {
        "phi.encoder.output.weight",
        "phi.encoder.output.bias",
        "theta.prior.logits",
        "theta.decoder.output.weight",
        "theta.decoder.output.bias",
    }


def test_another_precision_is_a_copy_at_the_same_values():
    point = point_of("gaussian-vae", dtype=torch.float32, **VAE)
    precise = point.to(torch.float64)
    assert precise.dtype() == torch.float64
    assert point.dtype() == torch.float32
    for name, value in parameters(point).items():
        assert torch.equal(value.double(), parameters(precise)[name])


@pytest.mark.parametrize(("problem", "steps"), [("gaussian-vae", 60), ("sigmoid-belief", 60)])
def test_training_raises_the_elbo(problem, steps):
    def elbo(point) -> float:
        """The exact objective, by enumeration or on a grid of the noise wide enough for two latents."""
        p, q = point.problem, point.problem.posterior(Calls(point.problem.phi), point.x)
        if problem == "sigmoid-belief":
            z, weight = q.states().all()
        else:
            line = torch.linspace(-6, 6, 61, dtype=torch.float64)
            noise = torch.cartesian_prod(line, line)[None, :, None, :]
            weight = (-(noise**2).sum(-1) / 2).exp()
            weight, z = weight / weight.sum(), q.sample(noise)
        likelihood = (weight * p.log_likelihood(Calls(p.theta), point.x, z)).sum(1)
        return (likelihood - q.kl(p.prior(Calls(p.theta)))[:, 0]).mean().item()

    before = point_of(problem, latent=2, batch=64)
    after = point_of(problem, latent=2, batch=64, train_steps=steps)
    # Adam at 1e-3 moves every parameter by up to steps × 1e-3; the data term must gain from it
    assert elbo(after) > elbo(before) + 1


def test_training_is_cached_and_read_back(tmp_path):
    first = point_of("gaussian-vae", train_steps=3, cache=tmp_path, **VAE)
    (file,) = tmp_path.glob("*.safetensors")
    kept = load_file(file)
    assert set(kept) == set(first.names)
    kept_at = file.stat().st_mtime_ns
    again = point_of("gaussian-vae", train_steps=3, cache=tmp_path, **VAE)
    assert same(parameters(first), parameters(again))
    assert file.stat().st_mtime_ns == kept_at
    assert same(parameters(first), parameters(point_of("gaussian-vae", train_steps=3, **VAE)))


def test_another_number_of_steps_is_another_cache_entry(tmp_path):
    three = point_of("gaussian-vae", train_steps=3, cache=tmp_path, **VAE)
    four = point_of("gaussian-vae", train_steps=4, cache=tmp_path, **VAE)
    assert len(list(tmp_path.glob("*.safetensors"))) == 2
    assert not same(parameters(three), parameters(four))


@pytest.fixture
def kept(tmp_path) -> Path:
    """The file of a model's trained parameters."""
    point_of("gaussian-vae", train_steps=1, cache=tmp_path / "parameters", **VAE)
    (file,) = (tmp_path / "parameters").glob("*.safetensors")
    return file


def rejected(file: Path) -> str:
    with pytest.raises(UsageError, match="delete the file: the model is then trained again") as error:
        point_of("gaussian-vae", train_steps=1, cache=file.parent, **VAE)
    assert str(file) in str(error.value)
    assert len(str(error.value).splitlines()) == 2
    return str(error.value)


def rewritten(file: Path, change, hashed: bool = True) -> None:
    """The file with its tensors changed; with ``hashed`` by someone who writes a fitting hash."""
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    tensors = load_file(file)
    change(tensors)
    if hashed:
        metadata[sealed.HASH] = sealed.values_hash(metadata[sealed.MODEL], tensors)
    save_file(tensors, file, metadata=metadata)


@pytest.mark.parametrize("content", [b"broken", b"", b"\x10\x00\x00\x00\x00\x00\x00\x00{}"])
def test_a_broken_cache_file_is_refused(kept, content):
    kept.write_bytes(content)
    assert "cannot be read" in rejected(kept) or "no hash" in rejected(kept)


def test_half_a_cache_file_is_refused(kept):
    kept.write_bytes(kept.read_bytes()[:-8])
    assert "cannot be read" in rejected(kept)


def test_other_values_are_refused(kept):
    rewritten(kept, lambda tensors: tensors.update({name: 3 * value for name, value in tensors.items()}), hashed=False)
    assert "the hash of the contents is another" in rejected(kept)


def test_one_flipped_bit_is_refused_wherever_it_is(kept):
    """In the values, in the header, in the hash: 200 places at random, and every part of the file among them."""
    whole = kept.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    generator = np.random.default_rng(0)
    places = [
        *generator.integers(0, 8, 10),
        *generator.integers(8, header, 100),
        *generator.integers(header, len(whole), 90),
    ]
    for place in places:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(generator.integers(8))
        kept.write_bytes(flipped)
        rejected(kept)
    kept.write_bytes(whole)
    point_of("gaussian-vae", train_steps=1, cache=kept.parent, **VAE)


BIAS = "phi.encoder.output.bias"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda tensors: tensors.update({BIAS: tensors[BIAS][:1]}),
            f"have [1] of torch.float32 as {BIAS}, expected [4]",
        ),
        (lambda tensors: tensors.update({BIAS: tensors[BIAS].double()}), f"have [4] of torch.float64 as {BIAS}"),
        (lambda tensors: tensors.pop(BIAS), f"have nothing as {BIAS}"),
        (lambda tensors: tensors.update({"phi.more": tensors[BIAS].clone()}), "have phi.more, which the model has not"),
        (lambda tensors: tensors[BIAS].fill_(float("nan")), f"are not finite in {BIAS}"),
    ],
    ids=["broadcast", "precision", "missing", "more", "nan"],
)
def test_parameters_that_do_not_fit_are_refused_even_with_a_fitting_hash(kept, change, says):
    rewritten(kept, change)
    assert says in rejected(kept)


def test_parameters_of_another_model_are_refused(kept):
    other = kept.parent.parent / "other"
    point_of("gaussian-vae", train_steps=1, seed=1, cache=other, **VAE)
    (file,) = other.glob("*.safetensors")
    kept.write_bytes(file.read_bytes())
    assert "are of another model, data set or seed" in rejected(kept)


def test_parameters_without_a_hash_are_refused(kept):
    save_file(load_file(kept), kept)
    assert "have no hash to be checked against" in rejected(kept)


def test_refused_parameters_leave_the_model_as_it_was(kept):
    rewritten(kept, lambda tensors: tensors.pop("theta.decoder.output.bias"))
    problem = point_of("gaussian-vae", dtype=torch.float32, **VAE).problem
    with safe_open(kept, "pt") as opened:
        model = opened.metadata()[sealed.MODEL]
    before = {name: value.detach().clone() for name, value in problem.named_parameters().items()}
    with pytest.raises(UsageError, match="have nothing as theta"):
        trained_parameters.read_into(kept, model, problem.named_parameters())
    assert all(torch.equal(before[name], value) for name, value in problem.named_parameters().items())


def test_training_that_diverges_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(points, "LEARNING_RATE", float("inf"))
    with pytest.raises(MeasurementError, match="not finite after training"):
        point_of("gaussian-vae", train_steps=2, cache=tmp_path, **VAE)
    assert not list(tmp_path.iterdir())


def data_file(path: Path, seed: int) -> str:
    np.savez(path, np.random.default_rng(seed).integers(0, 2, (40, 12)))
    return f"file:{path}"


def test_the_same_contents_are_the_same_point_whatever_the_file_is_called(tmp_path):
    one, two = data_file(tmp_path / "a.npz", 0), data_file(tmp_path / "b.npz", 0)
    first, second = (point_of("gaussian-vae", data=name, train_steps=2, cache=tmp_path, **VAE) for name in (one, two))
    assert same(parameters(first), parameters(second))
    assert torch.equal(first.x, second.x)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    drawn = (torch.rand(3, generator=point.axes.stream("noise")) for point in (first, second))
    assert torch.equal(*drawn)


def test_parameters_trained_on_other_contents_are_not_taken(tmp_path):
    name = data_file(tmp_path / "a.npz", 0)
    first = point_of("gaussian-vae", data=name, train_steps=2, cache=tmp_path, **VAE)
    data_file(tmp_path / "a.npz", 1)
    second = point_of("gaussian-vae", data=name, train_steps=2, cache=tmp_path, **VAE)
    assert len(list(tmp_path.glob("*.safetensors"))) == 2
    assert not same(parameters(first), parameters(second))
    assert same(parameters(second), parameters(point_of("gaussian-vae", data=name, train_steps=2, **VAE)))


def test_parameters_of_another_version_of_a_plugin_are_not_taken(tmp_path, monkeypatch):
    for version in ("one", "two", "one"):
        monkeypatch.setitem(PROBLEMS._versions, "gaussian-vae", version)
        point_of("gaussian-vae", train_steps=1, cache=tmp_path, **VAE)
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


def test_built_in_data_are_named_in_streams_as_they_always_were():
    point = point_of("gaussian-vae", **VAE)
    assert point.axes.canonical()["data"] == "digits"
    assert torch.rand(1, generator=point.axes.stream("noise")).item() == 0.5399435758590698


def test_data_that_are_no_pixels_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", np.full((10, 4), 7.0))
    with pytest.raises(UsageError, match=r"pixels in \[0, 1\]"):
        point_of("gaussian-vae", data=f"file:{tmp_path / 'a.npz'}", batch=2)


def test_a_batch_larger_than_the_data_is_refused():
    axes = Axes("gaussian-vae", PROBLEMS["gaussian-vae"].Parameters(batch=5000), "digits", 0, 0)
    with pytest.raises(UsageError, match="at most 1797"):
        build(axes, "cpu", torch.float32)


def test_synthetic_data_have_the_covariance_of_the_model():
    point = point_of("linear-gaussian", latent=2, features=4, batch=1000)
    decoder = point.problem.theta.get_submodule("decoder")
    weight = decoder.weight.detach().numpy()
    covariance = weight @ weight.T + 0.25 * np.eye(4)
    rows = point.x.squeeze().numpy()
    centred = rows - decoder.bias.detach().numpy()
    # tr(S Σ⁻¹) of 1000 Gaussian rows is χ²(4000)/1000: mean 4, standard deviation √8000/1000; 4 of them, 6e-5
    found = np.trace(np.linalg.solve(covariance, centred.T @ centred / 1000))
    assert abs(found - 4) < 4 * np.sqrt(8000) / 1000


@pytest.mark.parametrize("latent", [1, 3])
def test_the_start_at_the_posterior_is_the_posterior(latent):
    """There log p(x,z) − log q(z|x) does not depend on z: it is log p(x)."""
    point = point_of("linear-gaussian", latent=latent, features=4, batch=3, start="posterior")
    p, q = point.problem, point.problem.posterior(Calls(point.problem.phi), point.x)
    z = torch.linspace(-2, 2, 5 * latent, dtype=torch.float64).reshape(1, 5, 1, latent)
    theta = Calls(p.theta)
    f = p.log_likelihood(theta, point.x, z) + p.prior(theta).log_prob(z) - q.log_prob(z)
    assert (f - f[:, :1]).abs().max().item() < 1e-12 * f.abs().max().item()


@pytest.mark.parametrize(
    ("keys", "spread"),
    [({"start": "near"}, 0.1), ({"start": "posterior", "perturb": 0.3}, 0.3), ({"start": "far"}, 1.0)],
)
def test_starts_near_the_posterior_are_perturbed_by_what_they_say(keys, spread):
    point = point_of("linear-gaussian", latent=4, features=20, batch=3, **keys)
    weight, bias = (parameters(point)[f"theta.decoder.{name}"] for name in ("weight", "bias"))
    precision = 0.25 * torch.eye(4, dtype=torch.float64) + weight.T @ weight
    posterior = torch.linalg.solve(precision, weight.T)
    shifts = (
        parameters(point)["phi.encoder.weight"] - posterior,
        parameters(point)["phi.encoder.bias"] + posterior @ bias,
        parameters(point)["phi.log_scale"] - (0.25 / precision.diagonal()).log() / 2,
    )
    together = torch.cat([shift.flatten() for shift in shifts]) / spread
    # a χ² of 88 normal draws, within the interval that 99.9 % of them fall in
    low, high = chi2.ppf([0.0005, 0.9995], together.numel())
    assert low < float(together.square().sum()) < high


@pytest.mark.parametrize("start", ["random", "posterior", "near"])
def test_the_width_of_q_multiplies_its_standard_deviations(start):
    one, wide = (point_of("linear-gaussian", batch=3, start=start, **keys) for keys in ({}, {"width": 1.5}))
    for name, value in parameters(one).items():
        away = math.log(1.5) if name == "phi.log_scale" else 0.0
        torch.testing.assert_close(parameters(wide)[name], value + away)


def test_the_gradient_of_phi_at_the_posterior_is_zero():
    found = exact_reference(point_of("linear-gaussian", batch=3, start="posterior")).gradient
    size = max(float(value.abs().max()) for name, value in found.items() if name.startswith("theta."))
    assert all(float(value.abs().max()) < 1e-12 * size for name, value in found.items() if name.startswith("phi."))


def test_where_q_starts_leaves_model_and_data_as_they_are():
    points = {}
    for start, perturb in (("random", None), ("posterior", None), ("near", 0.1), ("near", 0.5), ("far", None)):
        parameters = PROBLEMS["linear-gaussian"].Parameters(start=start, perturb=perturb)
        points[start, perturb] = build(Axes("linear-gaussian", parameters, "synthetic", 0, 0), "cpu", torch.float64)
    first = points["posterior", None]
    for point in points.values():
        assert point.x is not None
        assert torch.equal(point.x, first.x)
        for name, value in point.problem.named_parameters().items():
            same = torch.equal(value, first.problem.named_parameters()[name])
            assert same == (name.startswith("theta") or point is first)
    # the perturbation is one direction, further along
    far, near = points["near", 0.5].problem.phi.log_scale, points["near", 0.1].problem.phi.log_scale
    centre = first.problem.phi.log_scale
    torch.testing.assert_close(far - centre, 5 * (near - centre))


def test_minibatches_of_blocks_are_drawn_without_replacement_by_axes_and_block():
    point, again = (point_of("linear-gaussian", batch=20) for _ in range(2))
    assert point.rows is not None
    index = {tuple(row.tolist()): n for n, row in enumerate(point.rows)}

    def drawn(point, block: int) -> list[int]:
        return [index[tuple(row.tolist())] for row in point.minibatch(block).x.squeeze()]

    batches = [drawn(point, block) for block in range(200)]
    assert all(len(set(batch)) == 20 for batch in batches)
    assert batches[:3] == [drawn(again, block) for block in range(3)]
    assert len({tuple(batch) for batch in batches}) == 200
    # each of 1000 rows is in 4 of 200 minibatches on average: χ² with 999 degrees of freedom, less the 2 % drawn
    counts = np.bincount(np.concatenate(batches), minlength=1000)
    statistic = ((counts - 4) ** 2 / (4 * 0.98)).sum()
    low, high = chi2.ppf([5e-5, 1 - 5e-5], 999)
    assert low < statistic < high


def test_a_minibatch_has_the_precision_of_its_point():
    point = point_of("gaussian-vae", dtype=torch.float32, **VAE)
    assert point.minibatch(1).x.dtype == torch.float32
    precise = point.to(torch.float64).minibatch(1).x
    assert precise.dtype == torch.float64
    assert torch.equal(precise, point.minibatch(1).x.double())
