from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from gradbench.core.canonical import digest
from gradbench.core.errors import SuiteError, UnknownNameError, UsageError
from gradbench.suite.grids import resolve_device
from gradbench.suite.shipped import find_suite, shipped
from gradbench.suite.suites import Settings, load_suite, resolve

GRID = {"problem": "gaussian-cost", "estimators": ["pathwise"]}
VAE = {"problem": "gaussian-vae", "estimators": ["pathwise"]}


def cells(*grids, settings: Settings | None = None, **top):
    raw = {"name": "test", "grid": list(grids)} | top
    return resolve(raw, "test.toml", settings or Settings()).cells


def refused(*grids, **top) -> str:
    with pytest.raises(UsageError) as error:
        cells(*grids, **top)
    text = str(error.value)
    lines = text.splitlines()
    assert len(lines) <= 2 or lines[0] == f"test.toml: {len(lines) - 1} faults"
    assert "Traceback" not in text
    assert "test.toml" in text
    return text


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        (GRID | {"sampels": 2}, ["grid[0]", "unknown key 'sampels'", "did you mean 'samples'"]),
        (GRID | {"hidden": 2}, ["unknown key 'hidden'"]),
        (GRID | {"problem": "gausian-cost"}, ["grid[0].problem", "did you mean 'gaussian-cost'"]),
        (GRID | {"problem": ["gaussian-cost"]}, ["expected one problem by name", "gradbench list problems"]),
        ({"estimators": ["pathwise"]}, ["grid[0].problem: is missing"]),
        (GRID | {"estimators": ["pathwize"]}, ["grid[0].estimators[0]", "did you mean 'pathwise'"]),
        (GRID | {"estimators": []}, ["grid[0].estimators", "expected a list"]),
        (GRID | {"estimators": "pathwise"}, ["grid[0].estimators", "expected a list"]),
        (GRID | {"estimators": [{"temperature": 1}]}, ["grid[0].estimators[0]", "a table with a name"]),
        (
            GRID | {"estimators": ["pathwise", {"name": "gumbel-softmax", "temprature": 1}]},
            ["estimators[1]", "unknown key 'temprature'", "did you mean 'temperature'"],
        ),
        (
            GRID | {"estimators": [{"name": "gumbel-softmax", "temperature": -1}]},
            ["temperature", "greater than 0", "-1"],
        ),
        (GRID | {"estimators": [{"name": "gumbel-softmax", "temperature": []}]}, ["temperature", "empty list"]),
        (GRID | {"samples": -1}, ["samples", "greater than 0", "got -1"]),
        (GRID | {"samples": [1, 0]}, ["samples", "greater than 0", "got 0"]),
        (GRID | {"samples": 1.5}, ["samples", "1.5"]),
        (GRID | {"samples": "many"}, ["samples", "'many'"]),
        (GRID | {"samples": []}, ["grid[0].samples", "empty list"]),
        (GRID | {"scale": -2}, ["scale", "greater than 0", "got -2"]),
        (GRID | {"cost": "cubic"}, ["cost", "'quadratic'", "'cubic'"]),
        (GRID | {"cost": "exp", "k": -1}, ["infinite", "choose k above -0.5"]),
        (GRID | {"k": float("nan")}, ["k", "finite"]),
        (GRID | {"size": 3}, ["grid[0].size", "hidden = 32"]),
        (GRID | {"dim": 2, "size": {"dim": 3}}, ["grid[0].size", "'dim' is also a key"]),
        (GRID | {"kl": "analytic"}, ["grid[0].kl", "the cost of gaussian-cost has no KL"]),
        (GRID | {"train_steps": 5}, ["grid[0].train_steps", "is a cost"]),
        (GRID | {"objective": "elbo"}, ["grid[0].objective", "is a cost"]),
        (VAE | {"objective": "cost"}, ["grid[0].objective", "'elbo'"]),
        (VAE | {"kl": "exact"}, ["kl", "'analytic' or 'monte-carlo'", "'exact'"]),
        (VAE | {"train_steps": -1}, ["train_steps", "greater than or equal to 0"]),
        (VAE | {"data": "digts"}, ["grid[0].data", "did you mean 'digits'"]),
        (VAE | {"data": "synthetic"}, ["grid[0].data", "write data = 'digits'"]),
        (VAE | {"dtype": "float16"}, ["dtype", "'float32' or 'float64'"]),
        (VAE | {"seed": -1}, ["seed", "greater than or equal to 0"]),
        (VAE | {"device": "tpu"}, ["device", "'tpu'"]),
    ],
    ids=lambda value: "-".join(value)[:40] if isinstance(value, list) else None,
)
def test_a_grid_that_is_not_valid_is_refused_with_its_remedy(grid, says):
    text = refused(grid)
    for part in says:
        assert part in text


@pytest.mark.parametrize(
    ("top", "says"),
    [
        ({"titel": "x"}, ["unknown key 'titel'", "did you mean 'title'"]),
        ({"measure": {"replicate": 5}}, ["unknown key 'replicate'", "did you mean 'replicates'"]),
        ({"measure": {"replicates": 100, "blocks": 32}}, ["replicates = 100", "blocks = 32", "96 or 128"]),
        ({"measure": {"replicates": 8, "blocks": 32}}, ["replicates = 8", "take 32"]),
        ({"measure": {"replicates": -8}}, ["replicates", "greater than 0"]),
        ({"measure": {"blocks": 2}}, ["blocks", "greater than or equal to 4"]),
        ({"name": "a/b"}, ["name", "'a/b'"]),
        ({"grid": []}, ["grid", "at least 1"]),
        ({"seed": "one"}, ["seed", "'one'"]),
    ],
    ids=lambda value: "-".join(value)[:40] if isinstance(value, list) else None,
)
def test_a_top_level_that_is_not_valid_is_refused(top, says):
    text = refused(GRID, **top)
    for part in says:
        assert part in text


CLAIM = {"claim": "c", "kind": "value", "select": {"estimator": "pathwise"}, "above": 0.0}
OVER = CLAIM | {"kind": "ratio", "over": {"estimator": "pathwise"}}


@pytest.mark.parametrize(
    ("top", "says"),
    [
        (
            {"expect": [CLAIM | {"high": 3}]},
            "test.toml: expect[0]: unknown key 'high'; valid: above, against, at, below, ",
        ),
        (
            {"expect": [CLAIM, CLAIM | {"figur": 3}]},
            "test.toml: expect[1]: unknown key 'figur'; did you mean 'figure'?",
        ),
        ({"expect": [CLAIM | {"kind": "big"}]}, "test.toml: expect[0].kind: input should be 'value', 'ratio'"),
        ({"expect": [CLAIM | {"tolerance": -1}]}, "test.toml: expect[0].tolerance: input should be greater than"),
        (
            {"expect": [{"claim": "c"}]},
            "test.toml: 2 faults\n  expect[0].kind: is missing\n  expect[0].select: is missing",
        ),
        ({"expect": [CLAIM | {"order": ["a"]}]}, "test.toml: expect[0]: order belongs to a claim of kind ordering"),
        ({"expect": [CLAIM | {"select": {"k": 7}}]}, "test.toml: expect[0].select.k: no cell has k = 7"),
        ({"expect": [CLAIM | {"select": {"q": 7}}]}, "test.toml: expect[0].select: unknown key 'q'"),
        ({"expect": [OVER | {"over": {"q": 7}}]}, "test.toml: expect[0].over: unknown key 'q'"),
        ({"expect": {"claim": "c"}}, "test.toml: expect: is one table; write [[expect]] with two brackets"),
        ({"measure": {"high": 3}}, "test.toml: measure: unknown key 'high'; valid: blocks, budget, engine, "),
        ({"measure": {"blocks": 2}}, "test.toml: measure.blocks: input should be greater than or equal to 4, got 2"),
        ({"measure": 3}, "test.toml: measure: input should be a valid dictionary"),
        ({"high": 3}, "test.toml: unknown key 'high'; valid: expect, grid, measure, name, seed, title"),
    ],
)
def test_a_key_of_a_table_is_named_with_its_place_and_the_valid_ones(top, says):
    assert says in refused(GRID, **top)


def test_a_key_of_a_grid_is_named_with_its_place():
    for grid, says in (
        (GRID | {"high": 3}, "test.toml: grid[1]: unknown key 'high'; valid: "),
        (GRID | {"size": {"high": 3}}, "test.toml: grid[1]: unknown key 'high'; valid: "),
        (GRID | {"estimators": [{"name": "exact", "high": 3}]}, "grid[1].estimators[0] (exact): unknown key 'high'"),
    ):
        assert says in refused(GRID, grid)


def test_a_setting_is_named_as_on_the_command_line():
    with pytest.raises(SuiteError, match=r"^--replicates: input should be greater than 0, got -1"):
        cells(GRID, settings=Settings(replicates=-1))
    with pytest.raises(SuiteError, match=r"^--replicates: replicates = 33 is no multiple"):
        cells(GRID, settings=Settings(replicates=33))


def test_the_second_grid_is_named_as_the_second():
    assert "grid[1].problem" in refused(GRID, GRID | {"problem": "x"})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"name = ", "not valid TOML"),
        (b"\xff\xfe\x00", "not valid TOML"),
        (b"", r"name: is missing: a suite begins with name"),
    ],
)
def test_a_file_that_is_no_suite_is_refused(tmp_path, content, says):
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(SuiteError, match=says) as error:
        load_suite(str(path))
    assert str(path) in str(error.value)
    assert len(str(error.value).splitlines()) <= 3


def test_a_suite_that_is_not_there_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'quick'"):
        find_suite("quik")
    with pytest.raises(SuiteError, match=r"expected a suite file .*quick"):
        find_suite("nowhere.toml")
    with pytest.raises(SuiteError, match="expected a suite file"):
        find_suite("/")


@pytest.mark.parametrize("name", shipped())
def test_shipped_suites_are_valid(name):
    found = load_suite(name)
    assert found.name == name.rpartition("/")[2]
    assert found.title
    assert any(cell.skip is None for cell in found.cells)
    assert len({cell.cell_id for cell in found.cells}) == len(found.cells)


# Grids


def test_lists_make_a_grid():
    grid = GRID | {"k": [1, 2], "samples": [1, 2, 4], "estimators": ["pathwise", "score-function"], "seed": [0, 1]}
    found = cells(grid)
    points = {(c.axes.parameters.k, c.samples, c.estimator, c.axes.seed) for c in found}
    assert points == set(itertools.product([1, 2], [1, 2, 4], ["pathwise", "score-function"], [0, 1]))
    assert len(found) == 24


def test_a_list_of_tables_sweeps_linked_values():
    found = cells(VAE | {"size": [{"hidden": 2, "latent": 1}, {"hidden": 8, "latent": [3, 4]}], "batch": 2})
    sizes = [(c.axes.parameters.hidden, c.axes.parameters.latent) for c in found]
    assert sizes == [(2, 1), (8, 3), (8, 4)]


def test_parameters_of_estimators_make_a_grid_too():
    grid = {"problem": "bernoulli-cost", "estimators": [{"name": "gumbel-softmax", "temperature": [0.1, 1]}]}
    assert [c.estimator_params for c in cells(grid)] == [{"temperature": 0.1}, {"temperature": 1.0}]


def test_the_same_cell_twice_is_one_cell():
    assert len(cells(GRID, GRID | {"k": [0, 1]})) == 2


def test_defaults():
    (cost,), (model,) = cells(GRID), cells(VAE)
    assert (cost.objective.name, cost.kl, cost.dtype, cost.samples, cost.axes.data) == (
        "cost",
        None,
        "float64",
        1,
        None,
    )
    assert (model.objective.name, model.kl, model.dtype, model.axes.data) == ("elbo", "analytic", "float32", "digits")
    assert cost.device == ("cuda" if torch.cuda.is_available() else "cpu")


def test_settings_go_before_the_suite_and_grid_seeds_before_its_own():
    assert [c.axes.seed for c in cells(GRID, seed=3)] == [3]
    assert [c.axes.seed for c in cells(GRID | {"seed": [4, 5]}, seed=3)] == [4, 5]
    assert [c.axes.seed for c in cells(GRID | {"seed": 4}, seed=3, settings=Settings(seed=9))] == [9]
    assert cells(GRID, settings=Settings(device="cpu"))[0].device == "cpu"
    raw = {"name": "test", "grid": [GRID], "measure": {"replicates": 64, "blocks": 8, "margin": 0.1}}
    measure = resolve(raw, "", Settings(replicates=128)).measure
    assert (measure.replicates, measure.blocks, measure.margin) == (128, 16, 0.1)  # more blocks of the same size
    measure = resolve(raw, "", Settings(replicates=32)).measure
    assert (measure.replicates, measure.blocks) == (32, 8)
    measure = resolve(raw, "", Settings(replicates=128, blocks=4)).measure
    assert (measure.replicates, measure.blocks) == (128, 4)
    with pytest.raises(SuiteError, match=r"--replicates.*96 or 104"):
        resolve(raw, "", Settings(replicates=100))


def test_what_cannot_work_is_skipped_with_its_reason():
    names = ["pathwise", "disarm", "score-function-loo"]
    found = {c.estimator: c.skip for c in cells(VAE | {"estimators": names})}
    assert found["pathwise"] is None
    assert "needs bernoulli latents" in str(found["disarm"])
    assert "samples >= 2" in str(found["score-function-loo"])


def test_a_cell_id_depends_on_what_is_measured_and_on_nothing_else():
    (one,) = cells(GRID, name="a", title="t", measure={"replicates": 64, "blocks": 8})
    (same,) = cells(GRID | {"k": 0.0, "samples": [1]})
    assert one.cell_id == same.cell_id
    changes = [{"k": 1}, {"samples": 2}, {"seed": 1}, {"dtype": "float32"}, {"estimators": ["score-function"]}]
    assert len({one.cell_id, *(cells(GRID | change)[0].cell_id for change in changes)}) == 6


# Selection


def test_select():
    raw = {"name": "test", "grid": [GRID | {"samples": [1, 2, 4], "estimators": ["pathwise", "score-function"]}]}
    whole = resolve(raw, "", Settings())
    assert len(whole.select([]).cells) == 6
    assert len(whole.select(["estimator=pathwise"]).cells) == 3
    assert {c.samples for c in whole.select(["estimator=pathwise", "samples=1,4"]).cells} == {1, 4}
    assert len(whole.select(["k=0.0"]).cells) == len(whole.select(["k=0"]).cells) == 6
    with pytest.raises(UnknownNameError, match="did you mean 'estimator'"):
        whole.select(["estimatr=pathwise"])
    with pytest.raises(UsageError, match="samples is 1, 2, 4"):
        whole.select(["samples=3"])
    with pytest.raises(UsageError, match="expected key=value"):
        whole.select(["pathwise"])


@pytest.mark.parametrize(
    ("name", "says"), [("cuda:99", "--device cpu or auto"), ("gpu", "expected auto"), ("cuda:x", "expected auto")]
)
def test_a_device_that_is_not_there(name, says):
    with pytest.raises(UsageError, match=says):
        resolve_device(name)


# Noise


BOTH = {"measure": {"noise": "latent+data"}}


def test_the_noise_of_a_run_is_part_of_each_cell():
    (fixed,), (redrawn,) = cells(VAE), cells(VAE, **BOTH)
    assert (fixed.noise, redrawn.noise) == ("latent", "latent+data")
    assert fixed.cell_id != redrawn.cell_id
    assert redrawn.identity()["noise"] == "latent+data"
    (told,) = cells(VAE, settings=Settings(noise="latent+data"))
    assert told.cell_id == redrawn.cell_id


def test_cells_with_fixed_minibatches_are_named_as_they_always_were():
    (cell,) = cells(GRID | {"device": "cpu"})
    identity = cell.identity()
    assert identity.pop("noise") == "latent"
    assert identity.pop("objective_params") == {}
    assert cell.cell_id == digest(identity, 20) == "2c446bf027110bbf8f6a"


def test_a_problem_without_data_is_skipped_where_minibatches_are_drawn():
    cost, model = cells(GRID, VAE, **BOTH)
    assert cost.skip == "gaussian-cost has no data to draw minibatches from; use noise = 'latent'"
    assert model.skip is None


def test_minibatches_without_any_data_are_refused():
    text = refused(GRID, **BOTH)
    assert "measure.noise: 'latent+data' draws minibatches" in text
    assert "use 'latent'" in text
    with pytest.raises(SuiteError, match=r"--noise: 'latent.data' draws minibatches"):
        cells(GRID, settings=Settings(noise="latent+data"))


def test_noise_that_cannot_be_had_is_refused():
    assert "'latent' or 'latent+data', got 'data'" in refused(VAE, measure={"noise": "data"})
    text = refused(VAE, measure={"noise": "latent+data", "replicates": 32})
    assert "take replicates = 64 or more" in text
    assert cells(VAE, measure={"noise": "latent+data", "replicates": 64})


# Data files


@pytest.fixture
def bits(tmp_path, monkeypatch) -> str:
    monkeypatch.chdir(tmp_path)
    np.savez("a.npz", np.random.default_rng(0).integers(0, 2, (40, 12)))
    return "file:a.npz"


def test_a_data_file_is_known_by_its_contents(bits, tmp_path):
    (one,) = cells(VAE | {"data": bits})
    np.save("b.npy", np.load("a.npz")["arr_0"].astype(float))
    for name in ("file:./a.npz", f"file:{tmp_path / 'a.npz'}", "file:b.npy"):
        (same,) = cells(VAE | {"data": name})
        assert same.cell_id == one.cell_id
        assert same.axes.canonical() == one.axes.canonical()
        assert same.identity()["data"] == name
    np.savez("a.npz", np.load("a.npz")["arr_0"][::-1])
    (other,) = cells(VAE | {"data": bits})
    assert other.cell_id != one.cell_id
    assert other.axes.model() != one.axes.model()


def test_two_names_of_the_same_contents_are_one_cell_under_the_first(bits):
    found = cells(VAE | {"data": [bits, "file:./a.npz"]}, VAE | {"data": "file:./a.npz", "samples": 2})
    assert [(cell.axes.data, cell.samples) for cell in found] == [(bits, 1), (bits, 2)]


def test_pictures_need_a_scale_and_say_so(bits):
    np.savez("a.npz", np.random.default_rng(0).integers(0, 256, (40, 4, 3)).astype(np.uint8))
    text = refused(VAE | {"data": bits})
    assert "gaussian-vae models pixels in [0, 1]" in text
    assert "give it scale = 255" in text
    (cell,) = cells(VAE | {"data": bits, "scale": 255})
    assert cell.flat()["scale"] == 255
    assert cell.features() == 12
    raw = {"name": "test", "grid": [VAE | {"data": bits, "scale": [255, 510]}]}
    assert len(resolve(raw, "", Settings()).cells) == 2
    assert len(resolve(raw, "", Settings()).select(["scale=510"]).cells) == 1


def test_a_scale_belongs_to_a_file(bits):
    assert "scale = 255 divides the values of a file" in refused(VAE | {"scale": 255})
    assert "grid[0].scale: bernoulli-cost is a cost" in refused(
        {"problem": "bernoulli-cost", "estimators": ["exact"], "scale": 2}
    )
    assert "scale: input should be greater than 0" in refused(VAE | {"data": bits, "scale": 0})
    # a problem's own parameter of that name stays its own
    (cost,) = cells(GRID | {"scale": 2})
    assert (cost.axes.parameters.scale, cost.axes.scale) == (2, None)


UNFIT = {
    "a large batch": ({"batch": 41}, "batch = 41 is more than the 40 rows"),
    "digits, a large batch": ({"data": "digits", "batch": 5000}, "choose at most 1797"),
    "drawn data, a large batch": ({"problem": "linear-gaussian", "data": "synthetic", "batch": 1001}, "at most 1000"),
    "few columns": ({"problem": "linear-gaussian", "latent": 13}, "latent = 13 needs data of as many columns, not 12"),
    "few drawn columns": ({"problem": "linear-gaussian", "data": "synthetic", "latent": 9}, "as many columns, not 8"),
    "data of its own": ({"problem": "rainforth"}, "its optimum is that of its own data"),
    "a column that is not there": ({"data": "file:a.npz#b"}, "grid[0].data: data 'file:a.npz#b': has no array 'b'"),
    "below 0": ({"data": "file:b.npy"}, "these values lie in [-1, 1]; give it rescaled values"),
}


@pytest.mark.parametrize("fault", UNFIT)
def test_data_that_do_not_fit_are_refused_before_anything_runs(bits, fault):
    np.save("b.npy", np.linspace(-1, 1, 40 * 3).reshape(40, 3))
    keys, says = UNFIT[fault]
    assert says in refused(VAE | {"data": bits} | keys)


def test_values_of_any_size_are_data_of_problems_without_pixels(bits):
    np.save("b.npy", np.linspace(-9, 9, 40 * 3).reshape(40, 3))
    assert cells(VAE | {"problem": "linear-gaussian", "data": "file:b.npy"})[0].skip is None
