"""The registry of columns: it agrees with itself, with what is computed and written, and with runs of older schemas."""

from __future__ import annotations

import ast
import json
import math
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from scipy.stats import t

from gradbench.core.errors import RunError
from gradbench.report.pages.columns import columns_page
from gradbench.results import columns, schema, store
from gradbench.results.columns import BY_NAME, REGISTRY, TABLE
from gradbench.results.compare import INCOMPARABLE, UNDECIDED, compare_runs
from gradbench.results.outcomes import interval_of
from gradbench.runner import runs
from gradbench.statistics.figures import Figures
from gradbench.suite import claims
from gradbench.suite.suites import Settings, load_suite, resolve

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "results" / "reference"
GRID = {"problem": "bernoulli-cost", "samples": 2, "estimators": ["score-function", "disarm"]}
SUITE = {"name": "s", "measure": {"replicates": 64, "blocks": 8}, "grid": [GRID]}
LATER = [column.name for column in TABLE if column.before is not None]
MAY_LACK = [column.name for column in TABLE if column.later]


def measured(path: Path, progress: runs.Progress | None = None) -> store.Run:
    return runs.run(resolve(SUITE, "s.toml", Settings()), path, progress).run


def aged(run: store.Run, path: Path) -> Path:
    """A copy of a run as the first versions wrote it: schema 1, without the columns that came later."""
    shutil.copytree(run.path, path)
    table = pq.read_table(path / "results.parquet").drop_columns(LATER).replace_schema_metadata(None)
    ones = pa.array([1] * table.num_rows, pa.int32())
    table = table.set_column(table.schema.get_field_index("schema_version"), "schema_version", ones)
    pq.write_table(table.drop_columns(["block_variance"]), path / "results.parquet")
    (path / "cells").mkdir()
    for cell in table.column("cell_id").unique():
        pq.write_table(table.filter(pc.equal(table.column("cell_id"), cell)), path / "cells" / f"{cell}.parquet")
    manifest = json.loads(json.dumps(run.manifest)) | {"schema_version": 1}
    for cell in manifest["suite_resolved"]["cells"]:
        for name in set(LATER) & cell.keys():
            del cell[name]
    (path / "manifest.json").write_text(json.dumps(manifest))
    return path


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    return measured(tmp_path_factory.mktemp("columns") / "run")


@pytest.fixture
def old(fresh, tmp_path):
    return aged(fresh, tmp_path / "old")


# The registry by itself


def test_names_are_given_once_and_named_columns_exist():
    assert len(BY_NAME) == len(REGISTRY)
    for column in REGISTRY:
        before = column.before.same_as if column.before else None
        for name in (*(column.interval or ()), column.over, column.error, before):
            assert name is None or name in BY_NAME, (column.name, name)


def test_sections_follow_one_another_as_on_the_page():
    sections = [column.section for column in TABLE]
    assert sections == sorted(sections, key=list(dict.fromkeys(sections)).index)


@pytest.mark.parametrize("column", REGISTRY, ids=lambda column: column.name)
def test_a_column_that_came_later_says_what_there_was_before(column):
    assert (column.since > 1) == (column.before is not None)
    assert 1 <= column.since <= columns.SCHEMA_VERSION
    if column.identity and column.before:
        assert column.before.value is not None, "an old row is told apart by a value"
    if column.before and column.before.same_as:
        assert BY_NAME[column.before.same_as].type == column.type
        assert BY_NAME[column.before.same_as].since < column.since


def test_an_interval_is_of_numbers_and_of_one_kind():
    for column in TABLE:
        assert not (column.interval and column.error), column.name
        for name in (*(column.interval or ()), *filter(None, [column.over, column.error])):
            assert BY_NAME[name].type == "real", (column.name, name)


def test_whoever_only_lists_columns_waits_for_nothing():
    tree = ast.parse(Path(columns.__file__).read_text(encoding="utf-8"))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert {str(module).partition(".")[0] for module in modules} <= sys.stdlib_module_names


# What is computed and written


def test_figures_are_columns_of_their_types():
    for field in fields(Figures):
        column = BY_NAME[field.name]
        kind = {"int": ("int32", "int64"), "str": ("text",), "float": ("real",)}[field.type.removesuffix(" | None")]  # pyright: ignore
        assert column.type in kind, field.name
        assert column.nullable == (str(field.type).endswith("None") or column.later), field.name


def test_a_key_that_is_no_column_is_an_error(tmp_path):
    (tmp_path / "cells").mkdir()
    with pytest.raises(ValueError, match=r"no such columns: variense; declare them in gradbench/results/columns\.py"):
        store.write_cell(tmp_path, [{"cell_id": "a", "variense": 1.0}])
    assert not list((tmp_path / "cells").iterdir())


def test_what_tells_cells_apart_tells_rows_apart():
    cell = load_suite("quick", Settings(device="cpu")).cells[0]
    assert {*cell.identity(), "objective_params", "group"} == set(columns.IDENTITY)


def test_a_fresh_run_fills_its_columns(fresh):
    assert schema.unfilled(fresh.frame) == []
    assert set(fresh.frame.schema_version) == {columns.SCHEMA_VERSION}
    assert set(fresh.frame.objective_params) == {"{}"}


def test_every_column_has_a_type_of_arrow(fresh):
    table = pq.read_table(fresh.path / "results.parquet")
    assert table.schema.names == [column.name for column in REGISTRY]
    assert table.schema.field("samples").type == pa.int32()
    assert table.schema.field("objective_params").type == pa.string()
    assert table.schema.field("started_at").type == pa.timestamp("us", tz="UTC")
    assert table.schema.field("block_variance").type == pa.list_(pa.float64())


@pytest.mark.parametrize(
    "suite", sorted(path.parent.relative_to(KEPT).as_posix() for path in KEPT.rglob("manifest.json"))
)
def test_kept_runs_have_the_columns_of_the_registry(suite):
    kept = pq.read_schema(KEPT / suite / "results.parquet")
    there = [name for name in schema.SCHEMA.names if name in kept.names or name not in MAY_LACK]
    assert kept.names == there
    assert kept.types == [schema.SCHEMA.field(name).type for name in there]


# Runs of other schemas


def test_a_run_of_schema_1_is_read_with_what_it_would_have_held(fresh, old):
    found = store.load_run(old)
    assert found.unreadable == ()
    changed = ["schema_version", "engine", *MAY_LACK]
    pd.testing.assert_frame_equal(found.frame.drop(columns=changed), fresh.frame.drop(columns=changed))
    assert found.frame.engine.isna().all()
    assert set(found.frame.schema_version) == {1}
    (old / "results.parquet").unlink()
    gathered = store.load_run(old).frame
    keys = ["cell_id", "group"]
    pd.testing.assert_frame_equal(*(f.sort_values(keys, ignore_index=True) for f in (gathered, found.frame)))


@pytest.mark.parametrize("name", [name for name in LATER if name not in MAY_LACK])
def test_a_run_of_this_schema_must_have_every_column(fresh, tmp_path, name):
    path = shutil.copytree(fresh.path, tmp_path / "run")
    pq.write_table(pq.read_table(path / "results.parquet").drop_columns([name]), path / "results.parquet")
    with pytest.raises(RunError, match="cannot be read as a gradbench table"):
        store.load_run(path)


def test_a_schema_version_that_is_no_number_is_refused(fresh, tmp_path):
    path = shutil.copytree(fresh.path, tmp_path / "run")
    table = pq.read_table(path / "results.parquet")
    words = pa.array(["one"] * table.num_rows)
    pq.write_table(table.set_column(0, "schema_version", words), path / "results.parquet")
    with pytest.raises(RunError, match="cannot be read as a gradbench table"):
        store.load_run(path)


def test_runs_of_both_schemas_are_compared_row_by_row(fresh, old):
    table = compare_runs(store.load_run(old), fresh)
    assert len(table) == len(fresh.ok())
    assert set(table["mark"]) == {UNDECIDED}
    assert (table.variance_ratio.dropna() == 1).all()


def test_another_parameter_of_the_objective_is_another_row(fresh):
    other = store.Run(Path("other"), fresh.frame.assign(objective_params='{"alpha":0.5}'), fresh.manifest)
    one = other.frame.index[other.frame.estimator == "disarm"]
    other.frame.loc[one, "objective_params"] = "{}"
    table = compare_runs(fresh, other)
    alone = table[table["mark"] == INCOMPARABLE]
    assert set(alone.estimator) == {"score-function"}
    assert set(alone.why) == {"other alpha: None and 0.5", "other alpha: 0.5 and None"}


def test_a_run_of_schema_1_is_taken_up_as_the_same_run(fresh, old):
    sorted((old / "cells").iterdir())[0].unlink()
    (old / "results.parquet").unlink()

    class Cells(runs.Progress):
        measured = 0

        def cell(self, label: str) -> None:
            self.measured += label.startswith("bernoulli-cost ")

    told = Cells()
    run = measured(old, told)
    assert told.measured == 1
    assert run.manifest["schema_version"] == columns.SCHEMA_VERSION
    assert len(run.frame) == len(fresh.frame)
    assert set(run.frame.schema_version) == {1, columns.SCHEMA_VERSION}
    assert schema.unfilled(run.frame) == []
    pd.testing.assert_frame_equal(store.load_run(old).frame, run.frame)


# Intervals and claims


def test_intervals_are_those_that_columns_declare():
    row = {"blocks": 9, "gradient_norm": 4.0, "reference_se": 0.5, "relative_bias": 0.2}
    row |= {"bias_norm": 0.8, "bias_low": 0.4, "bias_high": 1.2, "mse": 3.0, "mse_low": 2.0, "mse_high": 5.0}
    assert interval_of(row, "mse") == (3.0, 2.0, 5.0)
    assert interval_of(row, "bias_norm") == (0.8, 0.4, 1.2)
    assert interval_of(row, "relative_bias") == (0.2, 0.1, pytest.approx(0.3))
    half = 0.5 * t.ppf(0.975, 8)
    assert interval_of(row, "gradient_norm") == pytest.approx((4.0, 4.0 - half, 4.0 + half))
    nothing = interval_of(row | {"gradient_norm": 0.0, "relative_bias": math.nan}, "relative_bias")
    assert all(math.isnan(value) for value in nothing)


def claim(kind: str, figure: str, **keys):
    parts = {"ratio": {"over": {"samples": 1}}, "ordering": {"order": ["a", "b"]}}.get(kind, {})
    band = {} if kind == "ordering" else {"value": 1.0}
    return claims.Claim(claim="c", kind=kind, select={}, figure=figure, **parts, **band, **keys)  # pyright: ignore


@pytest.mark.parametrize(
    ("kind", "figure"),
    [
        ("value", "relative_bias"),
        ("value", "gradient_norm"),
        ("ratio", "mse"),
        ("ordering", "seconds"),
        ("slope", "snr_root"),
        ("slope", "bias_sq"),
    ],
)
def test_a_claim_is_about_a_figure_with_what_its_kind_needs(kind, figure):
    assert claim(kind, figure).figure == figure
    for other in ("kurtosis", "group", "variense"):
        with pytest.raises(ValidationError, match=f"a claim of kind '{kind}' is about .*variance.*, not {other}"):
            claim(kind, other)


def test_a_slope_is_against_a_column_that_is_an_axis():
    assert claim("slope", "variance", against="num_parameters").against == "num_parameters"
    with pytest.raises(ValidationError, match="a slope is against samples or num_parameters, not seed"):
        claim("slope", "variance", against="seed")


# Docs, and the whole of it


def test_names_that_a_frame_or_sql_has_a_use_for_are_mentioned():
    page = columns_page()
    hidden = [name for name in columns.COLUMNS if hasattr(pd.DataFrame, name)]
    assert {"size", "kurtosis"} <= set(hidden)
    for name in hidden:
        assert f'`frame["{name}"]`' in page
    assert "In SQL, `group`" in page


def test_the_page_has_each_column_once_in_order():
    lines = re.findall(r"^\| `(\w+)` \| (?:text|json|int|real|time)", columns_page(), flags=re.MULTILINE)
    assert tuple(lines) == columns.COLUMNS


ENTRY = """
    Column(
        "added", "real", "a column made up", "spread", interval=("variance_low", "variance_high"), readable=True,
        compared=True, slope=SlopeFigure("added", "Added"), since=2, later=True,
        before=Before(same_as="variance"),
    ),
"""
SCRIPT = """
import json, sys
from gradbench.cli import main
from gradbench.report.pages.columns import columns_page
from gradbench.results import columns, export, schema, store
from gradbench.results.compare import rank, where
from gradbench.results.slopes import slopes
from gradbench.suite import claims

run = store.load_run(sys.argv[1])
_, ranked = rank(run, figure="added")
print(json.dumps({
    "file": columns.__file__,
    "type": str(schema.SCHEMA.field("added").type),
    "loaded": bool((run.ok().added == run.ok().variance).all()),
    "page": [line for line in columns_page().splitlines() if line.startswith("| `added`")],
    "csv": export.render(run.frame, "csv").decode().splitlines()[0].split(","),
    "readable": "added" in columns.READABLE,
    "where": len(where(run, ["added=" + repr(float(run.ok().added.iloc[0]))]).frame),
    "claims": sorted(kind for kind, figures in claims.FIGURES.items() if "added" in figures),
    "ranked": int(ranked.added_ratio.notna().sum()),
    "slopes": int((slopes(run.ok()).figure == "added").sum()),
}), flush=True)
main(sys.argv[2:])
"""


@pytest.mark.slow
def test_a_column_is_one_entry(tmp_path):
    """In a copy of the package: what one entry more reaches."""
    shutil.copytree(ROOT / "gradbench", tmp_path / "gradbench", ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / "gradbench" / "results" / "columns.py"
    before, after = file.read_text(encoding="utf-8").split('    Column("status"')
    file.write_text(before + ENTRY.lstrip("\n") + '    Column("status"' + after, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "COLUMNS": "200"}

    def printed(*command: str) -> tuple[dict, str]:
        words = [sys.executable, "-c", SCRIPT, str(KEPT / "costs"), *command]
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        first, _, rest = done.stdout.partition("\n")
        return json.loads(first), rest

    found, listed = printed("list", "metrics", "--json")
    assert found["file"] == str(file)
    assert found["type"] == "double"
    assert found["loaded"]
    assert found["page"] == [
        "| `added` | real | a column made up | `variance_low` to `variance_high` |",
        "| `added` | 2 | the same as `variance` |",
    ]
    assert found["csv"].index("added") == columns.COLUMNS.index("status")
    assert found["readable"]
    assert found["where"] >= 1
    assert found["claims"] == ["ordering", "ratio", "slope", "value"]
    assert found["ranked"] > 1
    assert found["slopes"] > 0
    assert {"metric": "added", "meaning": "a column made up"} in json.loads(listed)
    assert "work_variance or added" in printed("compare", "--help")[1]
    _, exported = printed("export", str(KEPT / "costs"), "--format", "markdown", "--rows")
    assert "| added" in exported.splitlines()[0]
