"""The pages of docs/ made from the code and the kept runs are up to date, whole, and valid Markdown."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from gradbench.cli.pages import write, written
from gradbench.core.errors import UsageError
from gradbench.estimators import ESTIMATORS
from gradbench.report.described import documentation
from gradbench.report.format import number, span
from gradbench.report.markdown import unmarked
from gradbench.report.pages import ESTIMATORS_FOLDER as FOLDER
from gradbench.report.pages import pages
from gradbench.report.pages.estimators import ROOMS, room_of
from gradbench.report.sections import sections
from gradbench.results.compare import rank
from gradbench.results.store import load_run

ROOT = Path(__file__).parents[3]
DOCS, KEPT = ROOT / "docs", ROOT / "results" / "reference"
OWN = [f"{FOLDER}/{name}.md" for name in ESTIMATORS.lines]
API = "reference/api"
OTHERS = ["how-to/which-estimator.md", *(f"reference/{name}.md" for name in ("cli", "columns", "suites"))]
EVERY = [*OTHERS, f"{FOLDER}/index.md", *OWN]
SUITES = sorted(path.parent.name for path in KEPT.glob("*/results.parquet"))
"""Those whose figures the pages of estimators have; findings of papers have a suite for one question each."""
MARKDOWN = MarkdownIt("commonmark").enable("table")
made = cache(lambda: written(DOCS))


def page(name: str) -> str:
    return made()[f"{FOLDER}/{name}.md"]


def test_every_estimator_has_a_page_and_nothing_else_has() -> None:
    assert {name for name in made() if not name.startswith(f"{API}/")} == set(EVERY)
    assert {f"{FOLDER}/{path.name}" for path in (DOCS / FOLDER).iterdir()} == {f"{FOLDER}/index.md", *OWN}


def test_pages_of_the_api_are_those_that_are_made() -> None:
    found = {f"{API}/{path.name}": path.read_text(encoding="utf-8") for path in (DOCS / API).iterdir()}
    assert found == {name: text for name, text in made().items() if name.startswith(f"{API}/")}, "run make docs"


@pytest.mark.parametrize("name", EVERY)
def test_the_page_is_what_the_code_declares(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == made()[name], "run make docs"


@pytest.mark.parametrize("name", EVERY)
def test_the_page_renders(name: str) -> None:
    """Every table is parsed as one, its rows as long as its head; no section is empty, and no text becomes HTML."""
    tokens = MARKDOWN.parse(made()[name])
    tables = [block.splitlines() for block in made()[name].split("\n\n") if block.startswith("|")]
    assert [token.type for token in tokens].count("table_open") == len(tables)
    for table in tables:
        assert len(table) >= 3, table
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1, table
    assert not [token for token in tokens if token.type == "html_block"]
    for token in tokens:
        assert not [child for child in token.children or [] if child.type == "html_inline"]
    for here, after in zip(tokens, [*tokens[1:], None], strict=True):
        if here.type == "heading_close":
            assert after is not None
            assert after.type != "heading_open" or here.tag < after.tag, "a section has nothing in it"


def test_text_is_shown_as_it_is_written() -> None:
    texts = [text for name in ESTIMATORS for text in sections(documentation(ESTIMATORS[name])).values()]
    for text in [*texts, "a * b * c, _x_ <b> [link](to) \\ | ~ & `code_of` 2 ` 3"]:
        (inline,) = [token for token in MARKDOWN.parse(unmarked(text)) if token.type == "inline"]
        assert {child.type for child in inline.children or []} <= {"text", "code_inline"}
        shown = "".join(child.content for child in inline.children or [])
        assert shown == re.sub(r"`+([^`|]+)`+", r"\1", " ".join(text.split()))


def test_the_index_leads_to_every_page_by_room() -> None:
    found = re.findall(r"^## (.+)$|^\| \[[^]]+\]\(([^)]+)\.md\)", page("index"), re.MULTILINE)
    rooms: dict[str, list[str]] = {}
    for title, name in found:
        if title:
            rooms[title] = last = []
        else:
            last.append(name)
    assert rooms == {title: [n for n in ESTIMATORS.lines if room_of(n) == room] for room, title in ROOMS.items()}
    assert {room_of(name) for name in ESTIMATORS.lines} == set(ROOMS)


@pytest.mark.parametrize("name", ESTIMATORS.lines)
def test_the_page_has_its_declarations(name: str) -> None:
    estimator, text = ESTIMATORS[name], page(name)
    for factor in estimator.ledger:
        assert f"| {unmarked(factor.name)} |" in text
        assert unmarked(factor.why) in text
    for parameter, field in estimator.Parameters.model_fields.items():
        assert field.description, f"{name}: say in a docstring below {parameter} what it means"
        assert f"| `{parameter}` |" in text


@pytest.mark.parametrize("suite", SUITES)
def test_figures_are_those_of_the_kept_run(suite: str) -> None:
    run = load_run(KEPT / suite)
    rows = run.ok()
    rows = rows[rows.group == "phi"]
    ranked = cache(lambda baseline: rank(run, baseline)[1])
    assert len(rows)
    compared = 0
    for row in rows.itertuples():
        text = page(str(row.estimator)).partition(f"### Suite {suite}\n")[2].partition("\n### ")[0]
        variance = f"{number(row.variance)} ({span(row.variance_low, row.variance_high)})"  # pyright: ignore
        lines = [line for line in text.splitlines() if f" {row.samples} | {variance} |" in line]
        ends = f" {number(row.evaluations)} |"  # pyright: ignore
        assert [line for line in lines if f" | {row.verdict} | " in line and line.endswith(ends)]
        told = []
        for baseline in set(re.findall(r"baseline: ([\w-]+)", text)) - {row.estimator}:
            ratios = ranked(baseline)
            over = ratios[(ratios.cell_id_b == row.cell_id) & (ratios.group == "phi")]
            for ratio, low, high in over[[f"variance_ratio{end}" for end in ("", "_low", "_high")]].values:
                alike = len({number(ratio), number(low), number(high)}) == 1
                told.append(number(ratio) if alike else f"{number(ratio)} ({span(low, high)})")
        assert not told or [line for line in lines for one in told if f"| {one} |" in line]
        compared += len(told)
    assert compared


def test_what_no_kept_run_has_is_said() -> None:
    measured = {name for suite in SUITES for name in load_run(KEPT / suite).ok().estimator.unique()}
    for name in ESTIMATORS.lines:
        assert ("No kept run measures it." in page(name)) == (name not in measured)
        assert ("### Suite " in page(name)) == (name in measured)


def test_without_kept_runs_there_are_no_pages(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no kept runs in"):
        pages(tmp_path / "docs")


def test_pages_of_estimators_that_are_no_more_are_removed(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("gradbench.cli.pages.written", lambda docs: made())
    old = tmp_path / "docs" / FOLDER / "of-old.md"
    old.parent.mkdir(parents=True)
    old.write_text("# of-old\n")
    write(tmp_path / "docs")
    assert not old.exists()
    assert (tmp_path / "docs" / FOLDER / "index.md").exists()
