"""Run folders whose every text is hostile are shown, compared and exported as text, or refused in a line."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from gradbench.cli import completion
from gradbench.core.escaping import markdown_text, spreadsheet_cell
from gradbench.runner import machine
from tests.cli.test_hostile import EVIL, SHOWN, clean

FORMS = ("csv", "json", "markdown", "latex")
READERS = (
    ("show", "RUN"),
    ("show", "RUN", "--json"),
    ("compare", "RUN"),
    ("compare", "RUN", "OTHER"),
    ("compare", "OTHER", "RUN", "--json"),
    *(("export", "RUN", "--format", form) for form in FORMS),
)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places of all texts, of a list only in its first item."""
    if isinstance(value, dict):
        return [place for key in value for place in leaves(value[key], (*path, key))]
    if isinstance(value, list):
        return [place for key, one in enumerate(value[:1]) for place in leaves(one, (*path, key))]
    return [path] if isinstance(value, str) else []


def changed(value: Any, path: tuple[Any, ...], text: str) -> Any:
    """A copy of ``value`` with another text at ``path``."""
    value = copy.deepcopy(value)
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = text
    return value


@pytest.fixture
def runs(finished_run, tmp_path) -> Path:
    """A folder with the same run twice."""
    for name in ("RUN", "OTHER"):
        shutil.copytree(finished_run, tmp_path / name)
    return tmp_path


@pytest.mark.slow
def test_every_text_of_a_manifest_is_shown_as_text(gradbench, runs) -> None:
    manifest = json.loads((runs / "RUN" / "manifest.json").read_text())
    places = leaves(manifest)
    assert {place[0] for place in places} >= {"suite", "suite_resolved", "platform", "processor", "command", "versions"}
    for place in places:
        (runs / "RUN" / "manifest.json").write_text(json.dumps(changed(manifest, place, EVIL)))
        for command in (READERS[0], READERS[3]) if len(place) == 1 else READERS[:1]:
            result = gradbench(*command)
            assert result.code in (0, 2), (place, command, result.err)
            clean(result)


def test_every_text_of_a_manifest_at_once(gradbench, runs) -> None:
    manifest = json.loads((runs / "RUN" / "manifest.json").read_text())
    for place in leaves(manifest):
        manifest = changed(manifest, place, f"=1{EVIL}")
    (runs / "RUN" / "manifest.json").write_text(json.dumps(manifest))
    for command in READERS:
        result = gradbench(*command)
        assert result.code in (0, 2), (command, result.err)
        clean(result)


def test_what_the_machine_is_called_is_text(gradbench, tiny, monkeypatch) -> None:
    """A processor's name is in every row, and the system's in the manifest."""
    monkeypatch.setattr(machine, "_processor", lambda: "=1" + EVIL)
    monkeypatch.setattr(machine.platform, "platform", lambda: EVIL)
    machine.hardware.cache_clear()
    clean(gradbench("run", tiny, "--out", "RUN", "--select", "problem=gaussian-cost"))
    machine.hardware.cache_clear()
    shutil.copytree("RUN", "OTHER")
    for command in READERS:
        result = gradbench(*command)
        assert result.code == 0, (command, result.err)
        clean(result)
    told = {form: gradbench("export", "RUN", "--format", form, "--columns", "hardware").out for form in FORMS}
    assert spreadsheet_cell("=1" + EVIL)[:20] in told["csv"]
    assert markdown_text("=1" + EVIL)[:20] in told["markdown"]
    assert "\\input" not in told["latex"]
    assert json.loads(told["json"])[0]["hardware"].startswith("=1" + EVIL)


def test_the_shell_is_offered_no_folder_that_it_would_obey(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("good-run", "bad\x1b[31m", "bad$(x)", "bad`x`", "bad\nx", "bad;x", "bad x"):
        (tmp_path / "results" / name).mkdir(parents=True)
        (tmp_path / "results" / name / "manifest.json").write_text("{}")
    assert completion.runs("") == ["results/good-run"]


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1", "'=1"),
        (" =1", "' =1"),
        ("\t=1", "'\\t'=1"),
        ("\rx", "'\\rx"),
        ("a;=1", "a;'=1"),
        ("a\n+1", "a\n'+1"),
        ("a=1", "a=1"),
        ('{"k":-1,"l":[-1,-2]}', '{"k":-1,"l":[-1,-2]}'),
        ("\x1b=1", "\\x1b=1"),
        ("＝1", "'＝1"),
        ("", ""),
    ],
)
def test_no_cell_begins_a_formula(text, cell) -> None:
    assert spreadsheet_cell(text) == cell


def test_markdown_shows_every_character() -> None:
    reader = MarkdownIt("gfm-like", {"linkify": False})
    marked = ("<b>x</b>", "[a](http://b)", "![a](b)", "`c`", "*x*", "__x__", "~~x~~", "&lt;", "\\", "x\\|y", "a|b")
    for text in (EVIL, *marked):
        rendered = reader.render(f"| a | b |\n| --- | --- |\n| {markdown_text(text)} | end |\n")
        cells = rendered.split("<td>")[1:]
        assert len(cells) == 2, text
        shown = cells[0].removesuffix("</td>\n")
        assert "<" not in shown, text
        for entity, char in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
            shown = shown.replace(entity, char)
        assert shown == (text if text != EVIL else " ↵ ".join(SHOWN.split("↵")))
