"""Families, objectives, problems and estimators from a file or an installed package, and how such a source is known."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch

from gradbench import plugins
from gradbench.core.errors import PluginError
from gradbench.estimators import ESTIMATORS
from gradbench.families import FAMILIES
from gradbench.families.gaussian import Gaussian
from gradbench.objectives import OBJECTIVES
from gradbench.objectives.elbo import Elbo
from gradbench.problems import PROBLEMS
from tests.examples import PACKAGE, WEIBULL
from tests.helpers import TIMED, point_of, run_grids

SUITE = """
name = "example"
[measure]
replicates = 256
blocks = 32
[[grid]]
problem = "laplace-sine"
estimators = ["half-and-half", "pathwise", "pathwise-antithetic", "score-function-loo", "double-counted"]
samples = 2
[[grid]]
problem = "gaussian-vae"
latent = 1
hidden = 4
batch = 2
objective = "jackknife"
estimators = ["jackknife-pathwise", "pathwise"]
samples = 2
"""


@pytest.mark.slow
def test_the_example_package_takes_part_once_installed(tmp_path: Path) -> None:
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(PACKAGE)]
    subprocess.run(pip, check=True, capture_output=True)
    (tmp_path / "example.toml").write_text(SUITE)

    def gradbench(*arguments: str) -> subprocess.CompletedProcess[str]:
        paths = f"import sys; sys.path[:0] = [{str(site)!r}, {str(PACKAGE.parents[1])!r}]; "
        code = f"{paths}from gradbench.cli import main; main({list(arguments)!r})"
        return subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)

    listed = {
        "estimators": "half-and-half",
        "problems": "laplace-sine",
        "families": "laplace",
        "objectives": "jackknife",
    }
    for what, name in listed.items():
        assert name in {next(iter(row.values())) for row in json.loads(gradbench("list", what, "--json").stdout)}
    ran = gradbench("run", "example.toml", "--out", "out")
    assert ran.returncode == 0, ran.stderr
    assert "gradbench-example" in (tmp_path / "out" / "manifest.json").read_text()
    rows = pd.read_parquet(tmp_path / "out" / "results.parquet")
    verdicts = rows[rows.group == "phi"].set_index("estimator").verdict
    assert verdicts["double-counted"] == "biased"
    assert "biased" not in set(verdicts.drop("double-counted").dropna())
    skipped = rows[rows.status == "skipped"]
    assert skipped.message.tolist() == ["pathwise estimates cost or elbo gradients, not jackknife"]
    for name in ("half-and-half", "laplace", "laplace-sine"):
        checked = gradbench(
            "check", name, "--margin", "0.2", *(["--problem", "laplace-sine"] if name != "laplace-sine" else [])
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr


NAMES = {"weibull": FAMILIES, "tempered": OBJECTIVES, "weibull-cost": PROBLEMS, "weibull-vae": PROBLEMS}
NAMES |= {"pathwise-centred": ESTIMATORS}


@pytest.mark.usefixtures("fresh")
def test_a_file_brings_all_four_kinds() -> None:
    found = plugins.load_file(WEIBULL)
    assert set(found.names) == set(NAMES)
    assert found.record()["sha256"] == hashlib.sha256(WEIBULL.read_bytes()).hexdigest()
    for name, registry in NAMES.items():
        assert name in registry
        assert registry.version_of(name) == found.version
        assert not registry.is_own(registry[name])
    assert plugins.load_file(WEIBULL) == found  # again: nothing changes


class Point:
    """An entry point as the packages' metadata give it."""

    def __init__(self, name: str, thing: Any, package: str = "strangers", version: str = "1.0") -> None:
        self.name, self.thing, self.value, self.module = name, thing, f"strangers:{name}", "strangers"
        self.dist = SimpleNamespace(name=package, version=version)

    def load(self) -> Any:
        if isinstance(self.thing, Exception):
            raise self.thing
        return self.thing


def announced(monkeypatch: pytest.MonkeyPatch, **groups: list[Point]) -> list[str]:
    """What loading installed packages complains of, where these are announced."""
    points = {f"gradbench.{kind}": found for kind, found in groups.items()}
    monkeypatch.setattr(plugins.metadata, "entry_points", lambda group: points.get(group, []))
    return plugins.load_installed()


def all_four() -> dict[str, list[Point]]:
    module = plugins.import_file(WEIBULL)
    return {
        "estimators": [Point("pathwise-centred", module.ESTIMATOR)],
        "problems": [Point("weibull-cost", module.WeibullCost), Point("weibull-vae", module.WeibullVae)],
        "objectives": [Point("tempered", module.Tempered)],
        "families": [Point("weibull", module.Weibull)],
    }


@pytest.mark.usefixtures("fresh")
def test_a_package_announces_all_four_kinds_in_any_order(monkeypatch) -> None:
    assert announced(monkeypatch, **all_four()) == []
    for name, registry in NAMES.items():
        assert registry.version_of(name) == f"strangers:strangers:{name} 1.0"
    assert {plugin.names[0] for plugin in plugins.loaded()} >= set(NAMES)


@pytest.mark.usefixtures("fresh")
def test_what_a_package_announces_wrongly_is_left_out_with_the_reason(monkeypatch) -> None:
    class Nameless(Gaussian):
        pass

    class Unfinished(plugins.Problem):
        name = "unfinished"
        family = "gaussian"

    class Taken(Gaussian):
        name = "gaussian"

    good = all_four()
    said = announced(
        monkeypatch,
        families=[Point("nameless", Nameless), Point("taken", Taken), *good["families"]],
        problems=[Point("unfinished", Unfinished), Point("broken", ImportError("no such module")), *good["problems"]],
        objectives=[Point("wrong-kind", Gaussian)],
    )
    for name, reason in {
        "nameless": "family Nameless has no name of its own; write name = '…' in the class",
        "taken": "another family has the name 'gaussian'",
        "unfinished": "problem 'unfinished' is unfinished; write __init__, latent_dim, posterior in Unfinished",
        "broken": "ImportError: no such module",
        "wrong-kind": "strangers:wrong-kind is no Objective",
    }.items():
        assert [one for one in said if f": {name} is left out" in one and reason in one], (name, said)
    assert len(said) == 5
    assert FAMILIES["gaussian"] is Gaussian
    assert "unfinished" not in PROBLEMS
    assert "weibull-vae" in PROBLEMS


FAMILY = """
import gradbench as gb
from torch import distributions as td

class Mine(gb.Family):
    name = "{name}"
    def _distribution(self): return td.Normal(**self.parameters, validate_args=False)
    def noise(self, replicates, samples, generator): return self.empty(replicates, samples).normal_(generator=generator)
    def sample(self, noise): return self.parameters["loc"] + self.parameters["scale"] * noise
"""
PROBLEM = """
import gradbench as gb

class Mine(gb.PROBLEMS["bernoulli-cost"]):
    name = "{name}"
    family = "{family}"
"""
ESTIMATOR = """
import dataclasses
import gradbench as gb

ESTIMATOR = dataclasses.replace(gb.ESTIMATORS["pathwise"], name="{name}", {what})
"""
REFUSED = {
    "a family whose name is taken": (FAMILY.format(name="bernoulli"), "another family has the name 'bernoulli'"),
    "a problem whose name is taken": (
        PROBLEM.format(name="gaussian-vae", family="bernoulli"),
        "another problem has the name 'gaussian-vae'",
    ),
    "an estimator whose name is taken": (
        ESTIMATOR.format(name="exact", what="title=''"),
        "another estimator has the name 'exact'",
    ),
    "a problem of an unknown family": (
        PROBLEM.format(name="mine", family="wishart"),
        "problem 'mine' is for wishart latents, which there are none of",
    ),
    "an estimator for an unknown family": (
        ESTIMATOR.format(name="mine", what="latents=frozenset({'cauchy', 'gaussian'})"),
        "estimator 'mine' is for cauchy latents, which there are none of",
    ),
    "an estimator for an unknown objective": (
        ESTIMATOR.format(name="mine", what="unbiased=gb.unbiased('renyi')"),
        "estimator 'mine' is for renyi objectives, which there are none of",
    ),
    "an objective like an unknown one": (
        "import gradbench as gb\nclass Mine(gb.OBJECTIVES['elbo']):\n    name, like = 'mine', 'renyi'\n",
        "objective 'mine' is for renyi objectives, which there are none of",
    ),
    "a family without its law": (
        "import gradbench as gb\nclass Mine(gb.Family):\n    name = 'mine'\n",
        "family 'mine' is unfinished; write noise, sample in Mine",
    ),
    "an objective without f": (
        "import gradbench as gb\nclass Mine(gb.Objective):\n    name = 'mine'\n",
        "objective 'mine' is unfinished; write f, treatments, why_not in Mine",
    ),
    "classes without names": (
        "import gradbench as gb\nclass Mine(gb.Family): pass\nclass Other(gb.Problem): pass\n",
        "defines no Estimator, and no Problem, Objective or Family with a name",
    ),
}


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("what", REFUSED)
def test_a_file_is_refused_with_the_remedy(tmp_path, what) -> None:
    source, words = REFUSED[what]
    file = tmp_path / "plugin.py"
    file.write_text(source)
    with pytest.raises(PluginError) as refused:
        plugins.load_file(file)
    assert words in str(refused.value)
    assert str(refused.value).startswith(str(file))
    assert len(str(refused.value).splitlines()) <= 2


@pytest.mark.usefixtures("fresh")
def test_things_of_one_file_may_name_one_another(tmp_path) -> None:
    file = tmp_path / "plugin.py"
    file.write_text(
        ESTIMATOR.format(name="mine", what="latents=frozenset({'mine'}), unbiased=gb.unbiased('mine-too')")
        + FAMILY.format(name="mine")
        + "class Objective(gb.OBJECTIVES['elbo']):\n    name, like = 'mine-too', 'elbo'\n"
    )
    assert set(plugins.load_file(file).names) == {"mine", "mine-too"}
    assert ESTIMATORS["mine"].latents == {"mine"}


VAE = {"problem": "weibull-vae", "latent": 1, "hidden": 2, "batch": 2, "estimators": ["pathwise"], "device": "cpu"}


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    ("name", "registry"), [("weibull-vae", PROBLEMS), ("weibull", FAMILIES), ("pathwise-centred", ESTIMATORS)]
)
def test_trained_parameters_are_of_one_version_of_problem_family_and_estimator(tmp_path, name, registry) -> None:
    plugins.load_file(WEIBULL)
    FAMILIES["weibull"].trained_by = type(FAMILIES["weibull"].judged_by)("pathwise-centred", 1)
    point_of("weibull-vae", train_steps=2, cache=tmp_path, latent=1, hidden=2)
    point_of("weibull-vae", train_steps=2, cache=tmp_path, latent=1, hidden=2)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    registry._versions[name] = "another"
    point_of("weibull-vae", train_steps=2, cache=tmp_path, latent=1, hidden=2)
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


@pytest.mark.usefixtures("fresh")
def test_cells_of_another_version_of_a_family_or_an_objective_are_measured_anew(tmp_path, monkeypatch) -> None:
    keys = {"replicates": 64, "blocks": 8}
    announced(monkeypatch, **all_four())
    grid = VAE | {"objective": "tempered"}
    first = run_grids(tmp_path / "run", grid, **keys)
    again = run_grids(tmp_path / "run", grid, **keys)
    assert (first.exit_code, again.exit_code) == (0, 0)
    measured = {row.cell_id: row.started_at for row in again.run.frame.itertuples()}
    assert measured == {row.cell_id: row.started_at for row in first.run.frame.itertuples()}
    for kind in ("families", "objectives"):
        kept = dict(plugins._loaded)
        (changed,) = all_four()[kind]
        plugins._loaded.pop(f"strangers:{changed.value}")
        changed.dist.version = "1.1"
        announced(monkeypatch, **{kind: [changed]})
        anew = run_grids(tmp_path / "run", grid, **keys)
        assert not set(anew.run.frame.cell_id) & set(measured), "cells of another version are others"
        plugins._loaded.clear()
        plugins._loaded.update(kept)


@pytest.mark.usefixtures("fresh")
def test_an_objective_that_breaks_a_promise_spoils_no_other_row(tmp_path) -> None:
    """Built-in problem and estimator; what leaves torch changed is the objective, and it is named."""

    class Meddling(Elbo):
        name = "meddling"
        like = "elbo"

        def f(self, z, q):
            torch.set_default_dtype(torch.float64)
            return super().f(z, q)

    plugins.register(Meddling, "here", "1")
    grid = {
        "problem": "gaussian-vae",
        "latent": 1,
        "hidden": 2,
        "batch": 2,
        "estimators": ["pathwise"],
        "device": "cpu",
    }
    alone = run_grids(tmp_path / "alone", grid, replicates=64, blocks=8).run.ok()
    both = run_grids(tmp_path / "both", grid | {"objective": ["meddling", "elbo"]}, replicates=64, blocks=8).run.frame
    assert torch.get_default_dtype() == torch.float32
    (failed,) = both[both.objective == "meddling"].itertuples()
    assert failed.status == "failed"
    assert "default dtype" in failed.message
    right = both[both.objective == "elbo"].reset_index(drop=True)
    drop = [*TIMED, "cell_id"]
    pd.testing.assert_frame_equal(right.drop(columns=drop), alone.reset_index(drop=True).drop(columns=drop))


NEIGHBOUR = """
from {neighbour} import COST
import gradbench as gb

class Mine(gb.PROBLEMS["bernoulli-cost"]):
    name = "mine-with-neighbours"
    cost_of = COST
"""


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("changed", ["beside_one.py", "beside_two.py", "beside_pack/deep.py"])
def test_the_version_of_a_plugin_covers_what_it_imports_from_beside_it(tmp_path, changed):
    file = tmp_path / "plugin.py"
    file.write_text(NEIGHBOUR.format(neighbour="beside_one"))
    (tmp_path / "beside_one.py").write_text("from beside_two import COST\nimport beside_pack.deep\n")
    (tmp_path / "beside_two.py").write_text("COST = 1\n")
    (tmp_path / "beside_pack").mkdir()
    (tmp_path / "beside_pack" / "__init__.py").write_text("")
    (tmp_path / "beside_pack" / "deep.py").write_text("")
    (tmp_path / "stranger.py").write_text("")
    first = plugins.load_file(file)
    assert PROBLEMS.version_of("mine-with-neighbours") == first.version
    (tmp_path / "stranger.py").write_text("X = 1\n")
    assert plugins.load_file(file) == first
    (tmp_path / changed).write_text("COST = 2\nfrom beside_two import COST\n" if "one" in changed else "COST = 2\n")
    second = plugins.load_file(file)
    assert second.version != first.version
    assert PROBLEMS.version_of("mine-with-neighbours") == second.version
    # what the neighbours say now is what runs
    assert PROBLEMS["mine-with-neighbours"].cost_of == (2 if changed == "beside_two.py" else 1)
    for name in ("beside_one", "beside_two", "beside_pack", "beside_pack.deep"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("fresh")
def test_the_version_of_a_plugin_without_neighbours_is_its_own_hash(tmp_path):
    file = tmp_path / "plugin.py"
    file.write_text("import gradbench as gb\nclass M(gb.PROBLEMS['bernoulli-cost']): name = 'alone'\n")
    assert plugins.load_file(file).version == hashlib.sha256(file.read_bytes()).hexdigest()
    assert PROBLEMS.version_of("gaussian-vae") is None
