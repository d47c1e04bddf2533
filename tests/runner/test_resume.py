"""A run that is taken up again: stale cells, another machine, another suite."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gradbench import plugins
from gradbench.core.errors import RunError
from gradbench.estimators import ESTIMATORS
from gradbench.problems.data import loading
from gradbench.results import store
from gradbench.runner import runs
from gradbench.skeletons import write_skeleton
from gradbench.suite.suites import Settings, Suite, resolve
from tests.helpers import TIMED

SMALL = {"replicates": 64, "blocks": 8}
MODEL = {"problem": "gaussian-vae", "hidden": 4, "latent": 1, "batch": 4, "train_steps": 3, "device": "cpu"}
COST = {"problem": "gaussian-cost", "estimators": ["pathwise"], "device": "cpu"}
NAMES = ["pathwise", "score-function"]


class Notes(runs.Progress):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.cells: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)

    def cell(self, label: str) -> None:
        self.cells.append(label)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(0)
    return tmp_path


def write(seed: int, name: str = "a.npz") -> None:
    np.savez(name, np.random.default_rng(seed).integers(0, 2, (40, 12)).astype(float))


def suite(data: str = "file:a.npz", **keys) -> Suite:
    grids = [MODEL | {"data": data, "estimators": NAMES} | keys, COST]
    return resolve({"name": "test", "measure": SMALL, "grid": grids}, "test.toml", Settings())


def taken_up(data: str = "file:a.npz", out: str = "run", **keys) -> tuple[store.Run, Notes]:
    told = Notes()
    outcome = runs.run(suite(data, **keys), Path(out), told)
    assert outcome.exit_code == 0, outcome.run.frame.message.dropna().tolist()
    return outcome.run, told


def figures(run: store.Run) -> pd.DataFrame:
    return run.frame.drop(columns=[*TIMED, "hardware"])


def model_rows(run: store.Run) -> pd.DataFrame:
    return run.frame[run.frame.problem == "gaussian-vae"]


# Data files


def test_cells_of_a_file_with_other_contents_are_measured_anew():
    first, told = taken_up()
    assert told.notes == []
    write(1)
    second, told = taken_up()
    assert told.notes == [
        "data 'file:a.npz': its contents have changed since this run; its 2 cells are stale: measured anew"
    ]
    assert told.cells == ["gaussian-vae pathwise L=1", "gaussian-vae score-function L=1"]
    assert not set(model_rows(first).cell_id) & set(model_rows(second).cell_id)
    assert len(second.frame) == len(first.frame)
    assert second.manifest["data"][0]["sha256"] != first.manifest["data"][0]["sha256"]
    # as if the folder had never held anything else, parameters included
    fresh, _ = taken_up(out="fresh")
    pd.testing.assert_frame_equal(figures(second), figures(fresh), check_exact=True)
    pd.testing.assert_frame_equal(figures(store.load_run("run")), figures(fresh), check_exact=True)
    assert set(second.frame.data.dropna()) == {"file:a.npz"}


def test_cells_of_contents_that_come_back_are_not_measured_again():
    first, _ = taken_up()
    write(1)
    taken_up()
    write(0)
    third, told = taken_up()
    assert told.notes[0].endswith("its 2 cells are stale: 0 measured anew, the others were measured before")
    assert told.cells == []
    pd.testing.assert_frame_equal(figures(third), figures(first), check_exact=True)


def test_stale_figures_do_not_outlive_a_session_that_is_killed():
    taken_up()
    write(1)

    class Killed(runs.Progress):
        def start(self, total: int) -> None:
            raise SystemExit

    with pytest.raises(SystemExit):
        runs.run(suite(), Path("run"), Killed())
    left = store.load_run("run")
    assert set(left.frame.problem) == {"gaussian-cost"}
    assert left.manifest["finished"] is None


@pytest.mark.parametrize("name", ["file:./a.npz", "absolute", "file:b.npz", "file:a.npz#arr_0", "file:a.npy"])
def test_the_same_contents_under_another_name_are_the_same_cells(here, name):
    first, _ = taken_up()
    write(0, "b.npz")
    np.save("a.npy", np.load("a.npz")["arr_0"])
    name = f"file:{here / 'a.npz'}" if name == "absolute" else name
    again, told = taken_up(name)
    assert told.notes == told.cells == []
    fresh, _ = taken_up(name, out="fresh")
    pd.testing.assert_frame_equal(figures(again), figures(fresh), check_exact=True)
    pd.testing.assert_frame_equal(figures(again).drop(columns="data"), figures(first).drop(columns="data"))


def test_a_run_half_measured_under_another_name_has_one_name():
    class Killed(runs.Progress):
        def cell(self, label: str) -> None:
            if label == "gaussian-vae score-function L=1":
                raise SystemExit

    with pytest.raises(SystemExit):
        runs.run(suite(), folder := Path("run"), Killed())
    assert set(store.load(folder).data.dropna()) == {"file:a.npz"}
    run, told = taken_up("file:./a.npz")
    assert told.cells == ["gaussian-vae score-function L=1", "gaussian-cost pathwise L=1"]
    assert set(model_rows(run).data) == set(model_rows(store.load_run(folder)).data) == {"file:./a.npz"}


def test_a_run_of_another_suite_is_not_added_to():
    taken_up()
    write(1, "b.npz")
    before = Path("run/manifest.json").read_bytes(), Path("run/results.parquet").read_bytes()
    raw = {"name": "test", "measure": SMALL, "grid": [MODEL | {"data": "file:a.npz", "estimators": NAMES}, COST]}
    for change, said in (
        ({"name": "other"}, r'suite = "test" there, "other" asked for$'),
        ({"measure": {"replicates": 64, "blocks": 16}}, "blocks = 8 there, 16 asked for$"),
        ({"measure": SMALL | {"decide": True}}, "decide = false there, true asked for$"),
        (
            {"measure": SMALL | {"variance": "whole", "precision": 0.1}},
            r'variance = "auto" there, "whole" asked for; precision = not set there, 0\.1 asked for$',
        ),
        ({"seed": 1}, "seed = 0 there, 1 asked for$"),
    ):
        with pytest.raises(RunError, match=f"(?m)run: holds another run: {said}"):
            runs.run(resolve(raw | change, "test.toml", Settings()), Path("run"))
    assert (Path("run/manifest.json").read_bytes(), Path("run/results.parquet").read_bytes()) == before


@pytest.mark.parametrize("keys", [{"data": "file:b.npz"}, {"scale": 2.0}, {"batch": 5}, {"data": "digits"}])
def test_cells_that_the_suite_has_no_longer_are_set_aside_and_said(keys):
    first, _ = taken_up()
    write(1, "b.npz")
    run, told = taken_up(**keys)
    assert told.notes == [
        "the suite has changed: 2 cells of this run are not in it any more, and set aside",
        "the suite has grown: 2 cells are new",
    ]
    assert len(told.cells) == 2
    fresh, _ = taken_up(out="fresh", **keys)
    pd.testing.assert_frame_equal(figures(run), figures(fresh), check_exact=True)
    pd.testing.assert_frame_equal(figures(store.load_run("run")), figures(fresh), check_exact=True)
    back, told = taken_up()
    assert told.cells == []
    pd.testing.assert_frame_equal(figures(back), figures(first), check_exact=True)


def test_a_suite_that_has_grown_measures_what_is_new():
    taken_up(estimators=["pathwise"])
    run, told = taken_up()
    assert told.notes == ["the suite has grown: 1 cell is new"]
    assert told.cells == ["gaussian-vae score-function L=1"]
    fresh, _ = taken_up(out="fresh")
    pd.testing.assert_frame_equal(figures(run), figures(fresh), check_exact=True)


def test_a_part_of_the_suite_leaves_the_run_whole():
    first, _ = taken_up()
    run, told = taken_up(estimators=["pathwise"])
    assert told.notes == told.cells == []
    pd.testing.assert_frame_equal(figures(run), figures(first), check_exact=True)


def test_a_moved_path_to_changed_contents_is_still_the_run_s_file(here):
    """Another spelling of the same path, and other contents at once: stale, not another suite."""
    taken_up()
    write(1)
    _, told = taken_up(f"file:{here / 'a.npz'}")
    assert "2 cells are stale" in told.notes[0]


def test_a_run_that_does_not_say_what_its_file_held_is_stale():
    taken_up()
    path = Path("run/manifest.json")
    manifest = json.loads(path.read_text())
    renamed = {cell: f"{'0' * 19}{index}" for index, cell in enumerate(manifest["data"][0]["cells"])}
    for cell in manifest["suite_resolved"]["cells"]:
        cell["cell_id"] = renamed.get(cell["cell_id"], cell["cell_id"])
    del manifest["data"], manifest["sessions"], manifest["checksum"]
    path.write_text(json.dumps(manifest))
    run, told = taken_up()
    assert told.notes == [
        "data 'file:a.npz': this run does not say what it held; its 2 cells are stale: 0 measured "
        "anew, the others were measured before"
    ]
    assert run.manifest["data"][0]["sha256"]


def test_the_manifest_says_what_was_read(here):
    run, _ = taken_up()
    (file,) = run.manifest["data"]
    assert file["data"] == "file:a.npz"
    assert file["path"] == str((here / "a.npz").resolve())
    assert (file["rows"], file["features"], file["scale"], file["chosen"]) == (40, 12, None, [])
    assert len(file["sha256"]) == 64
    assert set(file["cells"]) == set(model_rows(run).cell_id)


def test_a_scale_is_told_beside_the_parameters_of_the_problem():
    np.savez("a.npz", 255 * np.load("a.npz")["arr_0"])
    run, _ = taken_up(scale=255)
    assert {json.loads(text)["scale"] for text in model_rows(run).problem_params} == {255.0}
    scaled = set(model_rows(run).cell_id)
    write(0)
    plain, _ = taken_up(out="plain")
    assert set(model_rows(plain).cell_id) == scaled
    assert all("scale" not in json.loads(text) for text in model_rows(plain).problem_params)


def test_a_file_replaced_while_the_run_goes_on_does_not_mix_contents():
    class Replacing(runs.Progress):
        def cell(self, label: str) -> None:
            write(1)

    first = runs.run(suite(), Path("mixed"), Replacing())
    write(0)
    loading._kept.clear()
    clean, _ = taken_up()
    pd.testing.assert_frame_equal(figures(first.run), figures(clean), check_exact=True)


# What else has changed


def edited(change) -> None:
    path = Path("run/manifest.json")
    manifest = json.loads(path.read_text())
    del manifest["checksum"]  # it is edited on purpose
    change(manifest)
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("keys", "was", "says"),
    [
        (["versions", "torch"], "1.0", "torch was 1.0, is 2."),
        (["versions", "numpy"], "1.0", "numpy was 1.0, is "),
        (["gradbench_version"], "0.0.1", "gradbench version was 0.0.1, is "),
        (["python_version"], "2.7", "python version was 2.7, is 3."),
        (["processor"], "Z80", "processor was Z80, is "),
        (["threads"], 77, "threads was 77, is "),
        (["gpus"], ["Voodoo"], "gpus was Voodoo, is "),
        (["git"], {"commit": "0123456789abcdef", "dirty": False}, "git commit was 0123456789ab, is "),
    ],
)
def test_a_run_taken_up_on_another_machine_says_so_in_one_line(keys, was, says):
    first, _ = taken_up()

    def change(manifest) -> None:
        at = manifest["sessions"][0]
        for key in keys[:-1]:
            at = at[key]
        at[keys[-1]] = was

    edited(change)
    run, told = taken_up()
    (note,) = told.notes
    assert note.startswith("this run was begun under other versions or hardware: ")
    assert says in note
    assert len(note.splitlines()) == 1
    assert note.count(", is ") == 1
    assert len(run.manifest["sessions"]) == 2
    assert run.manifest["sessions"][1]["versions"] == first.manifest["versions"]


def test_an_earlier_session_elsewhere_is_not_forgotten():
    taken_up()
    edited(lambda manifest: manifest["sessions"][0].update(threads=77))
    taken_up()
    _, told = taken_up()
    assert told.notes
    assert "threads was 77 and" not in told.notes[0]
    assert "threads was 77, is" in told.notes[0]


def test_a_run_from_before_there_were_sessions_is_judged_by_its_manifest():
    taken_up()

    def change(manifest) -> None:
        del manifest["sessions"]
        manifest["versions"]["torch"] = "1.0"

    edited(change)
    run, told = taken_up()
    assert "torch was 1.0" in told.notes[0]
    assert [session["versions"]["torch"] == "1.0" for session in run.manifest["sessions"]] == [True, False]


def test_the_same_machine_has_nothing_to_say():
    taken_up()
    _, told = taken_up()
    assert told.notes == []


def test_cells_of_a_plugin_with_another_source_are_measured_anew(here, monkeypatch):
    monkeypatch.setattr(plugins, "_loaded", {})
    file = write_skeleton("estimator", "own-score", here / "own.py")

    def run(out: str = "run") -> tuple[store.Run, Notes]:
        plugins.load_file(file)
        return taken_up("digits", out, estimators=["pathwise", "own-score"])

    first, _ = run()
    assert run()[1].notes == []
    file.write_text(file.read_text().replace("q.log_prob(z)", "2 * q.log_prob(z)"))
    second, told = run()
    assert told.notes == [f"plugin {str(file)!r} has changed since this run; its cell is stale: measured anew"]
    assert told.cells == ["gaussian-vae own-score L=1"]
    fresh, _ = run("fresh")
    pd.testing.assert_frame_equal(figures(second), figures(fresh), check_exact=True)
    own = [one.ok()[one.ok().estimator == "own-score"].variance.iloc[0] for one in (first, second)]
    assert own[0] != own[1]
    del ESTIMATORS["own-score"]


@pytest.mark.parametrize("broken", [{"data": [{}]}, {"data": "a"}, {"suite_resolved": {"cells": [1]}}])
def test_a_manifest_without_its_cells_or_files_is_refused(broken):
    taken_up()
    edited(lambda manifest: manifest.update(broken))
    assert "expected the cells and data files" in store.load_run("run").warnings[0]
    Path("run/results.parquet").unlink()
    with pytest.raises(RunError, match="expected the cells and data files"):
        store.load_run("run")
