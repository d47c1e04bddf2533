"""What there is of a run: the title stands on a line of its own, however narrow the table below it."""

from __future__ import annotations

from gradbench.report.inventories import inventory_text
from gradbench.results.inventory import inventory
from tests.helpers import run_grids
from tests.report.test_tables import printed


def test_a_title_is_one_line(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a-folder-of-some-length"
    run_grids(path, {"problem": "bernoulli-cost", "samples": 2, "estimators": ["disarm"]}, replicates=64, blocks=8)
    found = inventory(path.relative_to(tmp_path), {})
    first, second, *_ = printed(inventory_text(found)).splitlines()
    assert first == f"a-folder-of-some-length: {found.suite}, 1 cell"
    assert second.split() == ["1", "done"]
