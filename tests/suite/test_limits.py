"""What a suite may hold at most; past it, it is refused in a line before anything is made of it."""

from __future__ import annotations

import time

import pytest
from pydantic import model_validator

from gradbench.core.errors import SuiteError, UsageError
from gradbench.problems import PROBLEMS
from gradbench.suite import limits
from gradbench.suite.reading import read_toml
from gradbench.suite.suites import Settings, load_suite, resolve

COST = {"problem": "gaussian-cost", "estimators": ["pathwise"]}
VAE = {"problem": "gaussian-vae", "estimators": ["pathwise"]}
CLAIM = {"claim": "c", "kind": "value", "select": {"estimator": "pathwise"}, "above": 0.0}


def refused(*grids, settings: Settings | None = None, **top) -> str:
    begun = time.perf_counter()
    with pytest.raises(UsageError) as error:
        resolve({"name": "test", "grid": list(grids)} | top, "test.toml", settings or Settings())
    assert time.perf_counter() - begun < 20
    text = str(error.value)
    assert len(text.splitlines()) <= 2
    assert len(text) < 700
    return text


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        (COST | {"samples": True}, "grid[0].samples: input should be a valid integer, got True"),
        (COST | {"samples": "2"}, "grid[0].samples: input should be a valid integer, got '2'"),
        (COST | {"samples": 2.0}, "grid[0].samples: input should be a valid integer, got 2.0"),
        (COST | {"k": True}, "grid[0].k: input should be a valid number, got True"),
        (COST | {"k": "0.5"}, "grid[0].k: input should be a valid number, got '0.5'"),
        (COST | {"seed": False}, "grid[0].seed: input should be a valid integer, got False"),
        (COST | {"dim": "1"}, "grid[0].dim: input should be a valid integer, got '1'"),
        ({"problem": "sigmoid-belief", "stochastic_layers": True, "estimators": ["exact"]}, "stochastic_layers: "),
        (
            VAE | {"estimators": [{"name": "zv-cv", "degree": True}]},
            "estimators[0] (zv-cv).degree: input should be a whole number, got True",
        ),
        (
            COST | {"estimators": [{"name": "lax", "hidden": "4"}]},
            "estimators[0] (lax).hidden: input should be a valid integer, got '4'",
        ),
        (
            VAE | {"objective": {"name": "vr-iwae", "alpha": "0.5"}},
            "objective[0] (vr-iwae).alpha: input should be a valid number, got '0.5'",
        ),
    ],
)
def test_what_reads_like_a_number_is_none(grid, says) -> None:
    assert says in refused(grid)


@pytest.mark.parametrize(
    ("top", "says"),
    [
        ({"seed": True}, "test.toml: seed: input should be a valid integer, got True"),
        ({"seed": "1"}, "test.toml: seed: input should be a valid integer, got '1'"),
        ({"measure": {"replicates": "64"}}, "measure.replicates: input should be a valid integer, got '64'"),
        ({"measure": {"blocks": 8.0}}, "measure.blocks: input should be a valid integer, got 8.0"),
        ({"measure": {"margin": "0.1"}}, "measure.margin: input should be a valid number"),
        ({"measure": {"memory": True}}, "measure.memory: expected bytes with a unit, such as 2GB or 500MiB, got True"),
        ({"measure": {"memory": "9" * 400 + "GB"}}, "measure.memory: expected bytes with a unit"),
        ({"measure": {"budget": True}}, "measure.budget: input should be a valid number"),
        ({"measure": {"replicates": 10**12 + 1}}, "replicates: input should be less than or equal to 1000000000000"),
        ({"expect": [CLAIM | {"above": "0"}]}, "expect[0].above: input should be a valid number, got '0'"),
        ({"expect": [CLAIM | {"tolerance": True}]}, "expect[0].tolerance: input should be a valid number"),
        ({"title": 3}, "title: input should be a valid string, got 3"),
    ],
)
def test_the_same_beside_the_grids(top, says) -> None:
    assert says in refused(COST, **top)


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        (COST | {"seed": 2**63}, "grid[0].seed: whole numbers lie within ±9223372036854775807"),
        (COST | {"seed": -(2**63)}, "grid[0].seed: whole numbers lie within"),
        (COST | {"k": [0.5, 10**400]}, "grid[0].k[1]: whole numbers lie within"),
        (COST | {"samples": 2**31}, "grid[0].samples: input should be less than or equal to 2147483647"),
        (VAE | {"samples": 2**31 - 1}, "grid[0]: one gradient would draw 137,438,953,408 numbers (samples × batch"),
        (VAE | {"latent": 10**8}, "grid[0]: one gradient would draw 3,200,000,000 numbers"),
        (VAE | {"hidden": 2**31}, "grid[0].hidden: input should be less than or equal to 2147483647"),
        (VAE | {"hidden": 2**31 - 1}, "146,028,887,996 weights; a network has at most 100,000,000"),
        (VAE | {"hidden": 10**5, "layers": 2}, "weights; a network has at most 100,000,000"),
        (VAE | {"layers": 2**31 - 1}, "layers = 2147483647: a network has at most 1000 hidden layers"),
        (VAE | {"train_steps": 10**9 + 1}, "grid[0].train_steps: input should be less than or equal to 1000000000"),
        (COST | {"estimators": [{"name": "lax", "fit_steps": 2**31}]}, "(lax).fit_steps: input should be less than"),
        (VAE | {"objective": {"name": "miwae", "groups": 2**31}}, "(miwae).groups: input should be less than"),
        (VAE | {"device": "cuda:²"}, "grid[0].device: expected auto, cpu, cuda or cuda:N"),
        (VAE | {"device": "cuda:" + "9" * 4000}, "grid[0].device: expected auto, cpu, cuda or cuda:N"),
    ],
)
def test_numbers_are_bounded(grid, says) -> None:
    assert says in refused(grid)


def test_every_size_of_every_problem_is_bounded() -> None:
    """The largest number of each that is let through takes neither memory nor time to be refused, or is harmless."""
    for name, kind in PROBLEMS.items():
        for key in kind.Parameters.sizes:
            refused({"problem": name, "estimators": ["score-function"], key: 2**31})


def test_the_largest_numbers_that_are_let_through() -> None:
    largest = {"seed": 2**63 - 1, "samples": 2**31 - 1}
    (cell,) = resolve({"name": "test", "grid": [COST | largest]}, "test.toml", Settings()).cells
    assert (cell.axes.seed, cell.samples) == (2**63 - 1, 2**31 - 1)
    assert "--seed: input should be less than or equal to 9223372036854775807" in refused(
        COST, settings=Settings(seed=2**63)
    )
    assert resolve({"name": "test", "grid": [COST]}, "", Settings(seed=2**63 - 1)).cells[0].axes.seed == 2**63 - 1


def test_cells_are_counted_before_they_are_made() -> None:
    numbers = list(range(1, 401))
    text = refused(COST | {"samples": numbers, "seed": numbers}, COST)
    assert "these grids make 160,001 cells, 160,000 of them of grid[0]; a suite has at most 100,000" in text
    many = {key: list(range(1, 1000)) for key in ("samples", "seed", "k", "mean", "scale", "dim")}
    assert "about 10^17 cells; a suite has at most 100,000" in refused(COST | many)


@pytest.mark.parametrize(
    "grid",
    [
        COST | {"samples": [1, 2], "seed": [1, 2, 3]},
        COST | {"estimators": ["pathwise", {"name": "gumbel-softmax", "temperature": [0.1, 0.5, 1.0]}]},
        VAE | {"size": [{"hidden": [3, 4], "latent": [2, 3]}, {"hidden": 5}], "samples": [1, 2]},
        VAE | {"objective": ["elbo", {"name": "vr-iwae", "alpha": [0.1, 0.5]}]},
        VAE | {"objective": "iwae"},
    ],
)
def test_the_count_is_that_of_the_cells(grid) -> None:
    assert limits.count_cells(grid) == len(resolve({"name": "test", "grid": [grid]}, "", Settings()).cells)


@pytest.mark.parametrize(
    ("top", "says"),
    [
        ({"title": "a" * 4097}, "title: a text has at most 4,096 characters, got 4,097"),
        ({"a" * 201: 1}, "a key of 201 characters; a key has at most 200"),
        ({"expect": [CLAIM] * 501}, "expect: list should have at most 500 items after validation, not 501"),
        ({"expect": [CLAIM | {"select": {"samples": [1] * 101}}]}, "select.samples: a list of 101 values"),
        ({"expect": [CLAIM | {"select": {"k": {"a": [[[[1]]]]}}}]}, "tables and lists nest more than 8 deep"),
    ],
)
def test_texts_lists_and_nests_are_bounded(top, says) -> None:
    assert says in refused(COST, **top)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seed = " + "9" * 5000, "holds a number of thousands of digits"),
        ("seed = 0x" + "f" * 5000, "seed: whole numbers lie within"),
        ("seed = " + "[" * 100_000, "lists or tables nest hundreds deep"),
        (".".join(["a"] * 100_000) + " = 1", "a key has more than 100 dots"),
        ("[" + ".".join(["'='"] * 100_000) + "]", "a key has more than 100 dots"),
        (".".join(["a"] * 100) + " = 1", "tables and lists nest more than 8 deep"),
        ("seed = 2026-01-02", "seed: a suite has no dates, got 2026-01-02; put a text in quotes"),
        ("title = 2026-01-02T10:00:00Z", "title: a suite has no dates"),
        ("title = 10:00:00", "title: a suite has no dates"),
        ("title = 2026-13-02", "not valid TOML"),
        ("#" * 2**20, "is larger than 1,048,576 bytes, as no suite is"),
        ("\ufeffname = 1", "not valid TOML"),
    ],
    ids=lambda text: text[:20],
)
def test_files_are_bounded(tmp_path, text, says) -> None:
    path = tmp_path / "s.toml"
    path.write_text(f'{text}\nname = "s"\n')
    with pytest.raises(SuiteError) as error:
        load_suite(str(path))
    told = str(error.value)
    assert told.startswith(f"{path}: ")
    assert says in told
    assert len(told) < 400


def test_a_file_that_is_no_text_is_named_with_the_first_byte(tmp_path) -> None:
    (tmp_path / "s.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(SuiteError, match="not valid TOML \\(no UTF-8 at byte 8\\)"):
        read_toml(tmp_path / "s.toml")


def test_names_of_suites_that_no_file_can_have() -> None:
    for name in ("a" * 5000, "a" * 5000 + ".toml", "\0", "a\0.toml"):
        with pytest.raises(UsageError):
            load_suite(name)


# Plugins


@pytest.mark.parametrize(
    ("method", "answer", "says"),
    [
        ("latent_dim", lambda cls, p: 1 // 0, "its latent_dim raises ZeroDivisionError: "),
        ("latent_dim", lambda cls, p: "3", "its latent_dim returns '3'; expected int"),
        ("layers", lambda cls, p: True, "its layers returns True; expected int"),
        ("states", lambda cls, p: {}[1], "its states raises KeyError: 1"),
        ("kls", lambda cls, p: None, "its kls returns None; expected tuple or list"),
        ("size", lambda cls, p: 3, "its size returns 3; expected str"),
    ],
)
def test_a_problem_that_cannot_say_what_it_is_is_refused(fresh, method, answer, says) -> None:
    kind = type("Mine", (PROBLEMS["bernoulli-cost"],), {"name": "mine", method: classmethod(answer)})
    PROBLEMS.add("mine", kind, "1")
    text = refused({"problem": "mine", "estimators": ["score-function"]})
    assert text.startswith(f"test.toml: grid[0]: mine: {says}")


def test_a_check_of_parameters_that_raises_is_named(fresh) -> None:
    class Own(PROBLEMS["bernoulli-cost"].Parameters):
        @model_validator(mode="after")
        def _check(self) -> Own:
            raise ZeroDivisionError("by\nzero")

    PROBLEMS.add("mine", type("Mine", (PROBLEMS["bernoulli-cost"],), {"name": "mine", "Parameters": Own}), "1")
    text = refused({"problem": "mine", "estimators": ["score-function"]})
    assert text == "test.toml: grid[0]: its own check raises ZeroDivisionError: by\nzero"
