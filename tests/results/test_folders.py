"""Run folders: one run at a time, half-made ones, full disks, links, and reading a part."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow.compute as pc
import pytest

import gradbench
from gradbench.core.errors import RunError, StorageError, UnknownNameError, UsageError
from gradbench.results import cells, files, lock, store
from gradbench.results.checksum import BLANK, seal, verified
from gradbench.results.columns import COLUMNS, TIMED
from gradbench.results.inventory import inventory
from gradbench.results.merging import merge
from gradbench.runner.machine import provenance
from tests.helpers import run_grids, taken_apart

COST = {"problem": "gaussian-cost", "k": [0, 3], "samples": [1, 2], "estimators": ["pathwise", "score-function"]}
SMALL = {"replicates": 32, "blocks": 8}
WHOLE = {"manifest.json", "results.parquet", "slopes.parquet"}
SAME = [name for name in COLUMNS if name not in (*TIMED, "message", "verdict")]


def grids(**keys) -> dict:
    return COST | keys


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    return run_grids(tmp_path_factory.mktemp("folders") / "done", COST, **SMALL).run.path


# Checksums


def test_every_byte_of_a_file_counts():
    sealed = seal(b"before " + BLANK.encode() + b" behind")
    assert verified(sealed)
    for at in range(len(sealed)):
        changed = bytearray(sealed)
        changed[at] ^= 1
        assert not verified(bytes(changed)), at
    with pytest.raises(ValueError, match="no blank"):
        seal(b"nothing")


def test_pages_have_checksums_as_well(done):
    import pyarrow.parquet as pq

    pq.read_table(done / "results.parquet", page_checksum_verification=True)
    data = bytearray((done / "results.parquet").read_bytes())
    group = pq.read_metadata(done / "results.parquet").row_group(0)
    places = {group.column(index).path_in_schema: group.column(index) for index in range(group.num_columns)}
    chunk = places["variance"]
    data[chunk.data_page_offset + chunk.total_compressed_size - 9] ^= 4
    bad = done.with_name("bad.parquet")
    bad.write_bytes(data)
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(bad, page_checksum_verification=True)


# One run at a time

HOLDING = """
import sys, time
from pathlib import Path
from gradbench.results import store
with store.reserved(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def holding(path: Path, seconds: float) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", HOLDING, str(path), str(seconds)], stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    return process


def test_a_second_run_into_a_folder_is_refused_and_names_the_first(tmp_path):
    process = holding(tmp_path / "run", 60)
    try:
        with pytest.raises(RunError, match=rf"in use by .*process {process.pid} on ") as refused:
            run_grids(tmp_path / "run", COST, **SMALL)
        assert len(str(refused.value).splitlines()) == 2
        who, alive = lock.holder(tmp_path / "run")
        assert alive
        assert who is not None
        assert who.pid == process.pid
    finally:
        process.kill()
        process.wait()
    who, alive = lock.holder(tmp_path / "run")
    assert not alive
    assert who is not None, "the note of a run that died is there, and known to be stale"
    with store.reserved(tmp_path / "run") as stale:
        assert stale == who
    assert run_grids(tmp_path / "run", COST, **SMALL).exit_code == 0
    assert not list((tmp_path / "run").glob(".lock*"))


@pytest.mark.parametrize("made", [[], ["cells"], [".lock"], [".manifest.json.7.partial"], ["cells", ".lock.json"]])
def test_a_half_made_folder_becomes_a_run(tmp_path, made):
    path = tmp_path / "run"
    path.mkdir()
    for name in made:
        (path / name).mkdir() if name == "cells" else (path / name).write_text("")
    assert run_grids(path, COST, **SMALL).exit_code == 0
    assert {file.name for file in path.iterdir()} == WHOLE | {"moments"}


# Many cells, full disks


def test_many_cells_are_few_files(tmp_path, monkeypatch, done):
    monkeypatch.setattr(cells, "MOST_FILES", 3)
    most = 0

    def counted(path: Path, rows) -> None:
        nonlocal most
        cells.write_cell(path, rows)
        most = max(most, len(cells.singles(path)))

    monkeypatch.setattr(store, "write_cell", counted)
    found = run_grids(tmp_path / "run", COST, **SMALL).run
    assert most <= 3
    pd.testing.assert_frame_equal(found.frame[SAME], store.load(done)[SAME], check_exact=True)


def test_cells_that_were_put_together_are_read_where_the_run_stops(done, tmp_path):
    import shutil

    path = shutil.copytree(done, tmp_path / "run")
    taken_apart(path)
    cells.compact(path)
    assert [file.name for file in (path / "cells").iterdir()] == ["batch-000001.parquet"]
    pd.testing.assert_frame_equal(store.load(path)[SAME], store.load(done)[SAME], check_exact=True)
    assert len(store.finished_cells(path)) == store.load(done).cell_id.nunique()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_full_disk_stops_the_run_and_keeps_what_has_ended(tmp_path, monkeypatch, number, done):
    path, written, real = tmp_path / "run", 0, os.fsync

    def full(descriptor: int) -> None:
        nonlocal written
        written += 1
        if written > 6:
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StorageError, match=os.strerror(number)) as stopped:
        run_grids(path, COST, **SMALL)
    assert stopped.value.exit_code == 2
    assert len(str(stopped.value).splitlines()) == 2
    monkeypatch.undo()
    left = store.load(path)
    assert left.cell_id.nunique() == 4  # after the manifest and the note of the lock
    assert not list(path.rglob("*.partial"))
    again = run_grids(path, COST, **SMALL).run
    pd.testing.assert_frame_equal(again.frame[SAME], store.load(done)[SAME], check_exact=True)


def test_a_folder_that_vanishes_is_said(tmp_path, monkeypatch):
    import shutil

    path = tmp_path / "run"

    def vanishing(where: Path, rows) -> None:
        shutil.rmtree(where, ignore_errors=True)
        cells.write_cell(where, rows)

    monkeypatch.setattr(store, "write_cell", vanishing)
    with pytest.raises(StorageError, match="the run folder is gone"):
        run_grids(path, COST, **SMALL)


# Links


def test_links_out_of_the_folder_are_not_followed(done, tmp_path):
    import shutil

    path = shutil.copytree(done, tmp_path / "run")
    taken_apart(path)
    (path / "cells").rename(tmp_path / "outside")
    (path / "cells").symlink_to(tmp_path / "outside")
    with pytest.raises(RunError, match="cells is a link, and not followed"):
        store.load(path)
    before = sorted(file.name for file in (tmp_path / "outside").iterdir())
    with pytest.raises(StorageError, match="link out of the run folder"):
        run_grids(path, COST, **SMALL)
    assert sorted(file.name for file in (tmp_path / "outside").iterdir()) == before


# Reading a part


def test_columns_and_rows_that_are_asked_for(done):
    whole = gradbench.load(done)
    some = gradbench.load(done, ["samples", "variance"], {"group": "phi", "samples": [2]})
    right = whole[(whole.group == "phi") & (whole.samples == 2)][["samples", "variance"]].reset_index(drop=True)
    pd.testing.assert_frame_equal(some, right)
    by_expression = gradbench.load(
        done, ["samples", "variance"], (pc.field("group") == "phi") & (pc.field("samples") > 1)
    )
    pd.testing.assert_frame_equal(by_expression, right)
    assert gradbench.load(done, where={"kl": None}).shape == whole.shape
    assert len(gradbench.load(done, ["block_variance"]).block_variance[0]) == 8
    for where, error in (({"varience": 1}, UnknownNameError), ({"samples": "two"}, UsageError), ("phi", UsageError)):
        with pytest.raises(error):
            gradbench.load(done, where=where)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError):
        gradbench.load(done, where=pc.field("nothing") == 1)
    with pytest.raises(UnknownNameError):
        gradbench.load(done, ["nothing"])


def test_a_part_of_a_run_under_way_is_the_same(done, tmp_path):
    import shutil

    path = shutil.copytree(done, tmp_path / "run")
    taken_apart(path)
    asked = (["estimator", "variance", "block_variance"], {"group": "phi", "estimator": "pathwise"})
    one, two = gradbench.load(done, *asked), gradbench.load(path, *asked)
    pd.testing.assert_frame_equal(one.drop(columns="block_variance"), two.drop(columns="block_variance"))
    assert [list(v) for v in one.block_variance] == [list(v) for v in two.block_variance]


# Merging and status


def test_shards_are_put_together_as_if_they_had_been_one_run(done, tmp_path):
    for name, k in (("a", 0), ("b", 3)):
        run_grids(tmp_path / name, grids(k=k), **SMALL)
    found = merge(tmp_path / "both", [tmp_path / "a", tmp_path / "b"])
    right = store.load(done)
    order = ["cell_id", "group"]
    one, two = (frame.sort_values(order, ignore_index=True) for frame in (found.run.frame, right))
    pd.testing.assert_frame_equal(one[[*SAME, "verdict"]], two[[*SAME, "verdict"]], check_exact=True)
    assert found.twice == 0
    assert merge(tmp_path / "again", [tmp_path / "a", done]).twice == 4
    assert {file.name for file in (tmp_path / "both").iterdir()} == {
        "manifest.json",
        "results.parquet",
        "slopes.parquet",
    }


def test_runs_that_differ_are_not_merged(done, tmp_path):
    import shutil

    changed = shutil.copytree(done, tmp_path / "changed")
    table = store.gathered(changed, None, store.SCHEMA.names).table
    index = table.column_names.index("variance")
    values = table.column("variance").to_pylist()
    values[0] *= 1.0000001
    store.write_rows(changed, changed / "results.parquet", table.set_column(index, "variance", [values]), {})
    with pytest.raises(RunError, match=r"has other figures than .*gaussian-cost .*variance is"):
        merge(tmp_path / "out", [done, changed])
    run_grids(tmp_path / "other", COST, replicates=64, blocks=8)
    with pytest.raises(RunError, match="was measured with replicates = 64"):
        merge(tmp_path / "out", [done, tmp_path / "other"])
    with pytest.raises(RunError, match="exists already"):
        merge(done, [done, changed])
    assert not (tmp_path / "out").exists()


def test_the_inventory_of_a_run(done, tmp_path):
    import shutil

    path = shutil.copytree(done, tmp_path / "run")
    taken_apart(path)[0].unlink()
    manifest = json.loads((path / "manifest.json").read_text())
    found = inventory(path, manifest)
    assert (found.count("ok"), found.count("missing"), found.count("failed")) == (7, 1, 0)
    assert (found.holder, found.alive, found.stale, found.conditions) == (None, False, (), ())
    other = inventory(path, provenance() | {"processor": "Z80"})
    assert "is Z80" in other.conditions[0]
