"""The examples: what they say is right, by other means than gradbench's, and every command serves them as its own."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from gradbench import cli, plugins
from gradbench.checking.kinds import check
from gradbench.core.errors import UsageError
from gradbench.estimators import ESTIMATORS
from gradbench.families import FAMILIES
from gradbench.objectives.chosen import ChosenObjective
from gradbench.objectives.iwae import Iwae
from gradbench.problems import PROBLEMS
from gradbench.results import store
from gradbench.target import exact
from tests.examples import FOLDER, PACKAGE, WEIBULL, module, weibull
from tests.helpers import point_of

F64 = torch.float64
pytestmark = pytest.mark.usefixtures("fresh")
jackknife = module(PACKAGE / "src" / "gradbench_example" / "jackknife.py").Jackknife


@pytest.fixture
def loaded(fresh) -> None:
    plugins.load_file(WEIBULL)


def row(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=F64)[None, None, None]


def member(scale: float, concentration: float):
    return weibull.Weibull(scale=row(scale), concentration=row(concentration))


@pytest.mark.parametrize(("scale", "concentration"), [(0.7, 0.8), (1.9, 2.4), (1.0, 1.0)])
def test_the_law_is_scipy_s(scale: float, concentration: float) -> None:
    q, law = member(scale, concentration), stats.weibull_min(concentration, scale=scale)
    z = np.array([0.01, 0.5, 1.0, 3.0])
    found = q.log_prob(torch.tensor(z)[None, :, None, None])[0, :, 0]
    np.testing.assert_allclose(found, law.logpdf(z), rtol=1e-12)
    e = np.array([1e-12, 0.2, 1.0, 30.0])
    noise = torch.tensor(e)[None, :, None, None]
    # z is the quantile of u = 1 − exp(−e), and opposite noise that of 1 − u = exp(−e)
    np.testing.assert_allclose(q.sample(noise).flatten(), scale * e ** (1 / concentration), rtol=1e-12)
    np.testing.assert_allclose(law.sf(q.sample(noise).flatten()), np.exp(-e), rtol=1e-9)
    np.testing.assert_allclose(law.cdf(q.sample(q.opposite(noise)).flatten()), np.exp(-e), rtol=1e-9)
    np.testing.assert_allclose(q.opposite(q.opposite(noise)).flatten()[1:3], e[1:3], rtol=1e-12)
    assert float(q.mean()) == pytest.approx(law.mean(), rel=1e-12)


@pytest.mark.parametrize(("scale", "concentration"), [(0.7, 0.8), (1.9, 2.4)])
def test_kl_and_grid_are_those_of_an_integral(scale: float, concentration: float) -> None:
    q, prior = member(scale, concentration), member(1.1, 1.5)
    law, other = stats.weibull_min(concentration, scale=scale), stats.weibull_min(1.5, scale=1.1)

    def expected(function) -> float:
        return integrate.quad(lambda u: function(law.ppf(u)), 0, 1, epsabs=1e-11, epsrel=1e-11, limit=400)[0]

    assert float(q.kl(prior)) == pytest.approx(expected(lambda z: law.logpdf(z) - other.logpdf(z)), rel=1e-6)
    z, mass = q.grid(64).all()
    for function in (np.sin, lambda z: z**2, lambda z: np.exp(-z)):
        assert float((mass * torch.tensor(function(z[..., 0].numpy()))).sum()) == pytest.approx(
            expected(function), rel=1e-6
        )


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize(
    "keys", [{"dim": 2, "power": 1.5}, {"dim": 1, "power": 2.0, "concentration": 0.9, "scale": 1.4}]
)
def test_the_cost_has_one_exact_gradient(monkeypatch, keys) -> None:
    """By its closed form, by the grid, and by hand: of E[z^p], p E[z^p] and −(p/k) ψ(1 + p/k) E[z^p], in logarithms."""
    point, chosen = point_of("weibull-cost", **keys), ChosenObjective("cost")
    kind, closed = exact.exactly(point, chosen, 1)
    assert kind == "closed-form"
    monkeypatch.setattr(type(point.problem), "closed_form", lambda *given: None)
    kind, by_grid = exact.exactly(point, chosen, 1)
    assert kind == "quadrature"
    p, k, a, dim = keys["power"], keys.get("concentration", 1.5), keys.get("scale", 1.0), keys.get("dim", 1)
    value = a**p * math.gamma(1 + p / k) / dim
    psi = float(torch.digamma(torch.tensor(1 + p / k, dtype=F64)))
    for name, wanted in {"phi.log_scale": p * value, "phi.log_concentration": -p / k * psi * value}.items():
        torch.testing.assert_close(closed[name], torch.full((dim,), wanted, dtype=F64), rtol=1e-10, atol=0)
        torch.testing.assert_close(by_grid[name], closed[name], rtol=1e-6, atol=0)


def tempered_by_hand(point, power: float) -> torch.Tensor:
    """E_q[power · log p(x|z)] − KL by a fine sum over the logarithm of e, without family, objective, or grid."""
    t = torch.linspace(-45, 4.5, 3000, dtype=F64)
    nodes, weights = t.exp(), (t - t.exp()).exp() * (t[1] - t[0])
    problem, x = point.problem, point.x[0, 0]
    log_scale, sharpness = problem.phi.encoder(x).chunk(2, -1)
    scale, k = log_scale.exp(), 1 + torch.nn.functional.softplus(sharpness)
    total = 0.0
    for e, weight in zip(nodes, weights, strict=True):
        z = scale * e ** (1 / k)
        likelihood = -torch.nn.functional.binary_cross_entropy_with_logits(
            problem.theta.decoder(z), x, reduction="none"
        ).sum(-1)
        log_q = k.log() - scale.log() + (k - 1) * (z / scale).log() - (z / scale) ** k
        log_p = math.log(1.5) + 0.5 * z.log() - z**1.5
        total = total + weight * (power * likelihood + (log_p - log_q).sum(-1)).mean()
    return total


@pytest.mark.usefixtures("loaded")
def test_the_objective_has_one_exact_gradient_whatever_the_kl() -> None:
    point = point_of("weibull-vae", latent=1, hidden=3, batch=3)
    chosen = ChosenObjective("tempered", None, weibull.TemperedParameters(power=0.2))
    kind, found = exact.exactly(point, chosen, 1)
    assert kind == "quadrature"
    parameters = point.problem.named_parameters()
    wanted = torch.autograd.grad(tempered_by_hand(point, 0.2), list(parameters.values()))
    for (name, one), other in zip(found.items(), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7, msg=lambda text, name=name: f"{name}: {text}")


def test_a_jackknifed_bound_of_two_samples_is_twice_the_bound_less_the_elbo() -> None:
    plugins.register(jackknife, "here", "1")
    point = point_of("gaussian-vae", latent=1, hidden=2, batch=2)
    gradients = {name: exact.exactly(point, ChosenObjective(name), 2)[1] for name in ("jackknife", "iwae", "elbo")}
    for name, found in gradients["jackknife"].items():
        torch.testing.assert_close(found, 2 * gradients["iwae"][name] - gradients["elbo"][name], rtol=1e-5, atol=1e-7)


def test_the_jackknife_leaves_each_sample_out_once() -> None:
    f = torch.randn(2, 4, 3, dtype=F64, generator=torch.Generator().manual_seed(0))

    def bound(part):
        return torch.logsumexp(part, 1) - math.log(part.shape[1])

    left = [bound(torch.stack(rows, 1)) for rows in itertools.combinations(f.unbind(1), 3)]
    wanted = 4 * bound(f) - 3 * torch.stack(left).mean(0)
    torch.testing.assert_close(jackknife.reduce(None, f), wanted)
    torch.testing.assert_close(Iwae.reduce(None, f), bound(f))


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize("name", [*sorted(FAMILIES.lines), "weibull"])
def test_check_passes_every_family(name: str) -> None:
    result = check(FAMILIES[name], margin=0.1)
    assert result.as_declared, (result.violations, result.parts)


class WrongKl(weibull.Weibull):
    name = "wrong-kl"

    def kl(self, prior):
        return weibull.Weibull.kl(weibull.Weibull(**self.parameters), prior) + 0.1 * self.parameters["scale"].sum(-1)

    def grid(self, nodes):
        return weibull.Weibull.grid(self, nodes)


class WrongVae(weibull.WeibullVae):
    name, family = "wrong-vae", "wrong-kl"

    def posterior(self, phi, x):
        return WrongKl(**super().posterior(phi, x).parameters)

    def prior(self, theta):
        return weibull.Weibull(**super().prior(theta).parameters)


def test_check_finds_a_wrong_kl_and_says_where() -> None:
    for thing in (WrongKl, WrongVae):
        plugins.register(thing, "here", "1")
    result = check(WrongKl, problems=["wrong-vae"])
    assert result.exit_code == 1
    (found,) = result.violations
    assert found.kind == "kl"
    assert "wrong-vae" in found.target


def test_a_family_without_a_problem_and_an_objective_that_none_names_say_what_is_missing() -> None:
    with pytest.raises(UsageError, match="no problem has wrong-kl latents"):
        check(WrongKl)
    with pytest.raises(UsageError, match=r"checked = \(Small\(objective='jackknife'\),\)"):
        check(jackknife)


def command(capsys, *arguments: object, code: int = 0) -> str:
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert ended.value.code == code, out + err
    return out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["weibull", "tempered", "weibull-cost", "weibull-vae", "pathwise-centred"])
def test_check_serves_a_file_by_the_names_in_it(capsys, name: str) -> None:
    data = json.loads(command(capsys, "check", f"{WEIBULL}:{name}", "--json"))
    assert data["verdict"] == "unbiased"
    assert {finding["reference"] for finding in data["findings"]} <= {"closed-form", "quadrature"}


def test_list_show_and_explain_serve_what_a_file_brings(capsys) -> None:
    brought = {
        "families": "weibull",
        "objectives": "tempered",
        "problems": "weibull-vae",
        "estimators": "pathwise-centred",
    }
    for what, name in brought.items():
        rows = json.loads(command(capsys, "list", what, "--plugin", WEIBULL, "--json"))
        (found,) = [one for one in rows if name in one.values()]
        if what == "objectives":
            assert {"pathwise", "pathwise-centred", "sticking-the-landing"} <= set(found["estimators"].split(", "))
            assert "iwae-pathwise" not in found["estimators"]
        assert name in command(capsys, "show", name, "--plugin", WEIBULL)
    data = json.loads(command(capsys, "explain", "pathwise-centred", "--plugin", WEIBULL, "--json"))
    outcomes = {variant["factor"]: variant["outcome"] for variant in data["variants"]}
    assert outcomes["mean of z"] == "biased"  # held, it is one
    assert all(part["verdict"] == "unbiased" for part in data["parts"])
    text = command(capsys, "explain", "pathwise-centred", "--plugin", WEIBULL)
    assert "mean of z" in text
    assert "weibull-cost" in text


def test_a_suite_over_all_four_measures_what_is_declared(capsys, tmp_path: Path) -> None:
    """Biased are the controls, and of the others none; where an estimator cannot work is said."""
    out = tmp_path / "run"
    command(capsys, "run", FOLDER / "weibull_latents.toml", "--plugin", WEIBULL, "--out", out, "--replicates", 1024)
    frame = store.load(out)
    rows = frame[(frame.group == "phi") & (frame.status == "ok")]
    controls = {"fixed-sample", "double-counted"}
    assert set(rows[rows.estimator.isin(controls)].verdict) == {"biased"}
    assert set(rows[~rows.estimator.isin(controls)].verdict) <= {"unbiased", "unresolved"}
    assert set(rows[rows.problem == "weibull-vae"].reference) == {"quadrature"}
    assert {"elbo", "tempered", "iwae"} == set(rows[rows.problem == "weibull-vae"].objective)
    powers = rows[rows.objective == "tempered"].objective_params.map(json.loads).map(lambda found: found["power"])
    assert set(powers) == {0.2}
    reasons = set(frame[frame.status == "skipped"].message)
    assert "disarm needs bernoulli latents; weibull-cost has weibull" in reasons
    assert len(rows) + (frame.status == "skipped").sum() == 32
    # both weights of the estimator with a parameter, and compare ranks them as any other
    ranked = json.loads(command(capsys, "compare", out, "--baseline", "pathwise", "--json"))
    of_cost = {
        row["estimator_params_b"]: row["mark"]
        for row in ranked
        if row["estimator_b"] == "pathwise-centred" and row["problem"] == "weibull-cost"
    }
    assert of_cost == {'{"weight":0.5}': "better", '{"weight":1.0}': "better"}
    manifest = json.loads((out / "manifest.json").read_text())
    (plugin,) = manifest["plugins"]
    assert set(plugin["names"]) == {"weibull", "tempered", "weibull-cost", "weibull-vae", "pathwise-centred"}


@pytest.mark.usefixtures("loaded")
def test_built_in_estimators_know_nothing_of_the_family_and_work() -> None:
    """Those that ask for what it has; none that asks for states, or names another family."""
    kind = PROBLEMS["weibull-cost"]
    assert FAMILIES["weibull"].has("grid")
    works = {
        name for name, one in ESTIMATORS.items() if all(map(FAMILIES["weibull"].has, one.uses)) and one.latents is None
    }
    assert {"pathwise", "pathwise-antithetic", "score-function", "iwae-dreg", "fixed-sample"} <= works
    assert "exact" not in works
    assert kind.family == "weibull"
