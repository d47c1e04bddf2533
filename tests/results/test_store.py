from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import gradbench
from gradbench.core.errors import RunError
from gradbench.results import columns, schema, store, verdicts
from gradbench.runner import runs
from tests.helpers import run_grids, suite_of

GRIDS = (
    {"problem": "gaussian-cost", "k": [0, 3], "samples": 1, "estimators": ["pathwise", "score-function-loo"]},
    {"problem": "bernoulli-cost", "samples": 2, "estimators": ["fixed-sample", "exact"]},
)


@pytest.fixture
def run(tmp_path):
    return run_grids(tmp_path / "run", *GRIDS, replicates=64, blocks=8).run


def refused(path) -> str:
    with pytest.raises(RunError) as error:
        store.load_run(path)
    text = str(error.value)
    assert len(text.splitlines()) <= 2
    assert str(path) in text
    return text


def test_a_run_is_a_folder_of_what_is_promised(run):
    assert {path.name for path in run.path.iterdir()} == {
        "manifest.json",
        "results.parquet",
        "slopes.parquet",
        "moments",
    }
    assert run.frame.cell_id.nunique() == 6
    for text in (
        "gradbench_version",
        "versions",
        "platform",
        "schema_version",
        "started",
        "finished",
        "suite_resolved",
    ):
        assert run.manifest[text] is not None


def test_load_gives_what_was_returned(run):
    pd.testing.assert_frame_equal(gradbench.load(run.path), run.frame)
    assert store.load_run(str(run.path)).manifest == run.manifest


def test_the_table_has_the_columns_of_the_schema_in_order(run):
    table = pq.read_table(run.path / "results.parquet")
    assert table.schema.names == [column.name for column in columns.REGISTRY]
    assert table.schema.types == schema.SCHEMA.types
    assert json.loads(table.schema.metadata[b"gradbench"]) == run.manifest
    assert set(run.frame.schema_version) == {columns.SCHEMA_VERSION}


def test_every_column_of_a_measured_row_is_filled(run):
    ok = run.ok()
    constant = ok.variance == 0
    assert schema.unfilled(run.frame) == []
    assert ok.reference.notna().all()
    # undefined for a gradient that does not vary, or is 0
    for name in ("kurtosis", "snr_mean", "cosine", "relative_bias", "relative_bias_high"):
        assert ok.loc[~constant, name].notna().all(), name


def test_what_is_empty_is_found(run):
    frame = run.frame.copy()
    frame.loc[frame.index[frame.status == "ok"][0], ["bias_p", "cosine"]] = None
    assert schema.unfilled(frame) == ["bias_p"]


def test_skipped_cells_are_rows_with_a_reason_and_no_figures(run):
    skipped = run.frame[run.frame.status == "skipped"]
    assert set(skipped.estimator) == {"score-function-loo"}
    assert len(skipped) == 2
    assert (skipped.group == "all").all()
    assert skipped.message.str.contains("samples >= 2").all()
    assert skipped[["variance", "bias_p", "verdict", "seconds", "replicates"]].isna().all(axis=None)


def test_rows_are_in_the_order_of_the_suite(run):
    order = [cell["cell_id"] for cell in run.manifest["suite_resolved"]["cells"]]
    assert list(dict.fromkeys(run.frame.cell_id)) == order


def test_identity_tells_rows_apart(run):
    assert not run.frame.duplicated(list(columns.IDENTITY)).any()


def half_measured(path, cells: int = 3) -> store.Run:
    """A run that was killed after some cells: their files alone are there."""

    class Killed(runs.Progress):
        left = cells

        def cell(self, label: str) -> None:
            self.left -= 1
            if self.left < 0:
                raise SystemExit

    with pytest.raises(SystemExit):
        runs.run(suite_of(*GRIDS, replicates=64, blocks=8), path, Killed())
    return store.load_run(path)


def test_a_run_that_was_killed_has_a_file_for_each_cell_and_loads(run, tmp_path):
    half = half_measured(tmp_path / "half")
    assert {path.stem for path in (half.path / "cells").iterdir()} == set(half.frame.cell_id)
    assert (half.frame.status == "ok").groupby(half.frame.cell_id).first().sum() == 3
    assert half.unreadable == half.warnings == ()
    assert half.manifest["finished"] is None
    again = run_grids(half.path, *GRIDS, replicates=64, blocks=8).run
    same = [name for name in columns.COLUMNS if name not in columns.TIMED]
    pd.testing.assert_frame_equal(again.frame[same], run.frame[same], check_exact=True)
    assert not (half.path / "cells").exists()


def test_a_truncated_cell_is_named_and_the_rest_loads(tmp_path):
    half = half_measured(tmp_path / "half")
    lost = half.frame.cell_id.iloc[0]
    file = half.path / "cells" / f"{lost}.parquet"
    file.write_bytes(file.read_bytes()[:200])
    found = store.load_run(half.path)
    assert found.unreadable == (f"cells/{lost}.parquet",)
    assert set(found.frame.cell_id) == set(half.frame.cell_id) - {lost}
    assert set(found.ok().verdict) <= {"biased", "unbiased", "unresolved"}
    assert lost not in store.finished_cells(half.path)


def test_a_truncated_table_is_refused_with_the_remedy_and_measured_anew(run):
    file = run.path / "results.parquet"
    file.write_bytes(damaged := file.read_bytes()[:-50])
    assert "run the suite again with --out" in refused(run.path)
    again = run_grids(run.path, *GRIDS, replicates=64, blocks=8).run
    assert len(again.frame) == len(run.frame)
    assert (run.path / "results.parquet.damaged").read_bytes() == damaged


def test_a_table_of_something_else_is_refused(run):
    pd.DataFrame({"a": [1]}).to_parquet(run.path / "results.parquet")
    assert "cannot be read as a gradbench table" in refused(run.path)


def test_a_run_without_any_readable_cell_is_refused(tmp_path):
    half = half_measured(tmp_path / "half")
    for file in (half.path / "cells").iterdir():
        file.write_bytes(b"")
    assert "no cell that can be read" in refused(half.path)


def test_what_is_no_run_folder_is_refused(tmp_path):
    assert "no such folder" in refused(tmp_path / "nowhere")
    assert "manifest.json is missing" in refused(tmp_path)
    file = tmp_path / "a.txt"
    file.write_text("x")
    assert "no run folder" in refused(file)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "cannot be read"),
        ("[]", "expected the manifest of a run"),
        ("{}", "expected the manifest of a run"),
        ('{"schema_version": "two", "suite_resolved": {}}', "expected the manifest of a run"),
        ('{"schema_version": 1, "suite_resolved": []}', "expected the manifest of a run"),
    ],
)
def test_a_broken_manifest_is_replaced_by_its_copy_or_refused(run, content, says):
    (run.path / "manifest.json").write_text(content)
    found = store.load_run(run.path)
    assert found.unreadable == ("manifest.json",)
    assert says in found.warnings[0]
    assert "the copy inside results.parquet is used" in found.warnings[0]
    assert found.manifest == run.manifest
    pd.testing.assert_frame_equal(found.frame, run.frame)
    (run.path / "results.parquet").unlink()
    assert says in refused(run.path)


def test_a_newer_schema_is_refused(run):
    (run.path / "manifest.json").write_text(json.dumps(run.manifest | {"schema_version": 3}))
    assert "newer gradbench (schema 3); upgrade" in refused(run.path)
    with pytest.raises(RunError, match=r"newer gradbench \(schema 3\); upgrade"):
        run_grids(run.path, *GRIDS, replicates=64, blocks=8)


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="no run folder"):
        run_grids(tmp_path, *GRIDS, replicates=64, blocks=8)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="may write"):
        run_grids(tmp_path / "file" / "run", *GRIDS, replicates=64, blocks=8)


@pytest.mark.parametrize(("change", "said"), [({"seed": 1}, "seed = 0 there, 1"), ({"blocks": 16}, "blocks = 8 there")])
def test_a_folder_of_another_run_is_not_added_to(run, change, said):
    keys = {"replicates": 64, "blocks": 8} | change
    with pytest.raises(RunError, match=said):
        run_grids(run.path, *GRIDS, **keys)
    pd.testing.assert_frame_equal(gradbench.load(run.path), run.frame)


def test_a_row_in_which_nothing_was_seen_to_vary_says_how_many_replicates_there_were():
    counts, high = np.array([1048576.0] * 2), np.array([np.inf] * 2)
    still, varied = verdicts._what_would_decide([10**15] * 2, counts, high, np.array([0.0, 1.0]))
    assert still.startswith("all 1048576 replicates gave one gradient")
    assert "3 in 1048576" in still
    assert varied.startswith(
        "1048576 replicates do not bound the bias: a rare event, or rare values of f, may be missing"
    )
