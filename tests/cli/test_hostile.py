"""Names, titles, files and messages that try to be markup, a control sequence or a formula are printed as text."""

from __future__ import annotations

import ast
import csv
import io
import json
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Group
from rich.text import Text as RichText
from typer.main import get_command

from gradbench.cli import app, output
from gradbench.cli.progress import Bar, Steps
from gradbench.core.printable import OBEYED
from gradbench.report import plain
from gradbench.results.export import render

EVIL = "[/x][red]\x1b[31m\x9b2J\u202e\x7f|`\\input{y}\nnext"
SHOWN = "[/x][red]\\x1b[31m\\x9b2J\\u202e\\x7f|`\\input{y}↵next"
"""EVIL as it must be printed on one line, without spaces."""

PLUGIN = """
EVIL = @EVIL@
__doc__ = "Estimates: " + EVIL + " in the docstring"

from gradbench.estimators.base import Estimator, EstimatorParameters, held
from gradbench.objectives.base import average
from gradbench.problems.bernoulli_cost import BernoulliCost, Parameters
from gradbench.core.types import hold


class Noted(Parameters):
    note: str = EVIL


class Hostile(BernoulliCost):
    name = "problem" + EVIL
    title = "title" + EVIL
    Parameters = Noted

    @classmethod
    def size(cls, parameters):
        return "size" + EVIL


class Own(EstimatorParameters):
    word: str = EVIL


class Must(EstimatorParameters):
    must: float


def score(objective, q, noise, *parameters):
    z = hold(q.sample(noise), "z" + EVIL)
    f = objective.f(z, q.held())
    return average(f.detach() * q.log_prob(z) + f)


def boom(objective, q, noise):
    raise RuntimeError("boom" + EVIL)


def declared(name, surrogate, **more):
    ledger = (held("z" + EVIL, "why" + EVIL),)
    return Estimator(name + EVIL, "title" + EVIL, surrogate, ledger, "paper" + EVIL, frozenset({"bernoulli"}), **more)


right = declared("right", score, Parameters=Own)
wrong = declared("=wrong", boom)
must = declared("must", score, Parameters=Must)
"""

SUITE = """
name = "hostile"
title = @title@
[measure]
replicates = 64
blocks = 8
[[grid]]
problem = @problem@
note = [@note@, "other"]
estimators = [{name = @right@, word = [@word@, "other"]}, @=wrong@, "pathwise"]
[[expect]]
claim = @claim@
paper = @paper@
where = @where@
kind = "verdict"
verdict = "unbiased"
select = {estimator = @right@, note = @note@}
"""


@pytest.fixture
def hostile(tmp_path, registries, monkeypatch) -> Path:
    """A folder with a plugin and a suite whose every string is hostile."""
    monkeypatch.setenv("COLUMNS", "300")
    (tmp_path / "plug.py").write_text(PLUGIN.replace("@EVIL@", ascii(EVIL)))
    suite = SUITE
    for word in ("title", "problem", "note", "right", "word", "=wrong", "claim", "paper", "where"):
        value = EVIL if word in ("note", "word") else word + EVIL
        suite = suite.replace(f"@{word}@", json.dumps(value).replace("\x7f", "\\u007f"))
    (tmp_path / "suite.toml").write_text(suite)
    return tmp_path


def clean(result) -> None:
    """No traceback, and no character that a terminal obeys."""
    for stream in (result.out, result.err):
        assert "Traceback" not in stream
        assert {char for char in stream if unicodedata.category(char) in OBEYED} <= {"\n"}


def says(result, *words: str) -> None:
    """Each word is there with the hostile text behind it, as it stands but for its controls."""
    clean(result)
    printed = "".join((result.out + result.err).split())
    for word in words:
        assert word + SHOWN in printed, word


def strict(text: str):
    """The value of JSON in which no figure is Infinity or NaN."""

    def refuse(name: str):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def holds(result, *words: str) -> None:
    """The JSON printed is strict and has each word with the hostile text, not one character lost."""
    clean(result)
    found = json.dumps(strict(result.out))
    for word in words:
        assert json.dumps(word + EVIL)[1:-1] in found, word


PLUG = ("--plugin", "plug.py")
READ = {
    ("show", "right" + EVIL): ("right", "title", "z", "why"),
    ("show", "problem" + EVIL): ("problem", "title"),
    ("show", "must" + EVIL): ("must",),
    ("list", "estimators"): ("right", "=wrong", "title", "paper"),
    ("list", "problems"): ("problem", "title"),
    ("show", "suite.toml"): ("problem", "right", "=wrong"),
    ("check", "plug.py:wrong"): ("=wrong",),
    ("explain", "right" + EVIL, "--problem", "problem" + EVIL): ("right", "problem"),
}
"""Commands, and what each must print."""


def test_runs_print_hostile_strings_as_text(gradbench, hostile) -> None:
    ran = gradbench("run", "suite.toml", "--out", "out", *PLUG)
    assert ran.code == 3
    says(ran, "problem", "size", "right", "=wrong", "claim", "paper", "where")
    raised = "boom" + SHOWN.replace("↵", "")  # a promise is told on one line
    assert raised in "".join(ran.out.split())
    shutil.copytree("out", "other" + EVIL.replace("/", ""))
    again = gradbench("show", "out")
    says(again, "problem", "size", "right", "=wrong", "claim")
    assert raised in "".join(again.out.split())
    holds(gradbench("show", "out", "--json"), "problem", "right", "claim")
    holds(gradbench("run", "suite.toml", "--out", "out", "--json", *PLUG), "problem", "right", "claim")
    says(gradbench("compare", "out"), "problem", "right")
    compared = gradbench("compare", "out", "other" + EVIL.replace("/", ""))
    clean(compared)
    assert "other" + SHOWN.replace("/", "") in "".join(compared.out.split())
    holds(gradbench("compare", "out", "--json"), "problem", "right")
    manifest = json.loads(Path("out/manifest.json").read_text())
    manifest["suite_resolved"]["expect"][0]["claim"] = "edited" + EVIL
    manifest["suite_resolved"]["expect"][0]["verdict"] = "verdict" + EVIL
    Path("out/manifest.json").write_text(json.dumps(manifest))
    says(gradbench("show", "out"), "problem")


@pytest.mark.parametrize("command", READ, ids=lambda command: command[0] + " " + command[1][:8])
def test_commands_print_hostile_strings_as_text(gradbench, hostile, command) -> None:
    result = gradbench(*command, *PLUG)
    assert result.code in (0, 1), result.err
    says(result, *READ[command])
    data = gradbench(*command, *PLUG, "--json")
    assert data.code == result.code, data.err
    holds(data, *READ[command][:1])


@pytest.mark.parametrize(
    "command",
    [
        ("run", "no" + EVIL),
        ("run", "suite.toml"),  # without its plugin: the error names the problem
        ("show", "no" + EVIL),
        ("show", "no" + EVIL + ".toml"),
        ("compare", "no" + EVIL),
        ("export", "no" + EVIL),
        ("check", "no" + EVIL + ".py"),
        ("check", "plug.py:no" + EVIL),
        ("list", "no" + EVIL),
        ("explain", "no" + EVIL),
        ("new", "estimator", "no" + EVIL),
        ("run", "quick", "--select", "estimator=no" + EVIL),
        ("no" + EVIL,),
    ],
    ids=lambda command: " ".join(command)[:14],
)
def test_errors_name_hostile_strings_as_text(gradbench, hostile, command) -> None:
    result = gradbench(*command)
    assert (result.code, result.out) == (2, "")
    clean(result)
    assert "[/x][red]\\x1b[31m" in result.err.replace("\\\\", "\\")


@pytest.mark.parametrize("text", ["raise ValueError(@)", "import gradbench; EVIL = @; 1 / 0"])
def test_a_plugin_that_raises_is_named_as_text(gradbench, hostile, text) -> None:
    file = "bad[x]\x1b[31m.py"
    Path(file).write_text(text.replace("@", ascii("boom " + EVIL)))
    result = gradbench("list", "estimators", "--plugin", file)
    assert result.code == 2
    clean(result)
    assert "bad[x]\\x1b[31m.py, line 1" in result.err


def test_a_data_file_with_a_hostile_name(gradbench, tmp_path) -> None:
    (tmp_path / "bad[").mkdir()
    np.savez(tmp_path / "bad[/x]\x1b[31m.npz", x=np.array([[0.0, np.nan], [1.0, 1.0]]))
    (tmp_path / "s.toml").write_text(
        'name = "s"\n[measure]\nreplicates = 64\nblocks = 8\n[[grid]]\nproblem = "gaussian-vae"\n'
        'data = "file:bad[/x]\\u001b[31m.npz"\nbatch = 1\nestimators = ["pathwise"]\n'
    )
    result = gradbench("run", "s.toml", "--out", "out")
    assert result.code in (2, 4)
    clean(result)
    assert "bad[/x]\\x1b[31m.npz" in result.out + result.err


# Formats


FRAME = pd.DataFrame(
    {
        "estimator": ["=HYPERLINK(1)", "+1", "-1+1", "@SUM(1)", "\t=1", "plain", "a|b`c`", "\\input{y} $x$ 50 % #_^~&"],
        "message": [EVIL, None, "-", "<b>", "[a](b)", "two\nlines", "x", "＝1"],
        "variance": [-1.5, np.inf, -np.inf, np.nan, 0.0, 1.0, 2.0, 3.0],
        "samples": pd.array([1, 2, None, 4, 5, 6, 7, 8], dtype="Int64"),
    }
)


def obeyed(text: str) -> set[str]:
    return {char for char in text if unicodedata.category(char) in OBEYED} - {"\n"}


def test_csv_has_no_formula_and_keeps_figures() -> None:
    text = render(FRAME, "csv").decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["estimator"][:2] for row in rows[:5]] == ["'=", "'+", "'-", "'@", "'\\"]
    assert rows[5]["estimator"] == "plain"
    assert rows[5]["message"] == "two\nlines"
    assert rows[7]["message"] == "'＝1"
    assert [row["variance"] for row in rows] == ["-1.5", "inf", "-inf", "", "0.0", "1.0", "2.0", "3.0"]
    assert [row["samples"] for row in rows[:4]] == ["1", "2", "", "4"]
    assert not obeyed(text)


def test_markdown_cells_stay_cells() -> None:
    text = render(FRAME, "markdown").decode()
    lines = text.strip().split("\n")
    assert len(lines) == len(FRAME) + 2
    for line in lines:
        bars = line.replace("\\\\", "").replace("\\|", "").count("|")
        assert bars == len(FRAME.columns) + 1, line
    assert "a\\|b\\`c\\`" in text
    assert "\\[a\\](b)" in text
    assert "\\<b\\>" in text
    assert not obeyed(text)


def test_latex_commands_are_text() -> None:
    text = render(FRAME, "latex").decode()
    body = text.split("\\midrule\n")[1].split("\\bottomrule")[0]
    assert "\\input" not in text
    assert "\\textbackslash input\\{y\\} \\$x\\$ 50 \\% \\#\\_" in body
    assert body.count("\\\\") == len(FRAME)
    assert not obeyed(text)


def test_json_is_strict() -> None:
    rows = strict(render(FRAME, "json").decode())
    assert [row["variance"] for row in rows[:4]] == [-1.5, None, None, None]
    assert rows[0]["message"] == EVIL
    assert rows[2]["samples"] is None


def test_printed_json_is_strict(capsys) -> None:
    output.show_json({"a": [np.inf, np.nan, np.float64(2), EVIL, "\U000e0041"]})
    text = capsys.readouterr().out
    assert strict(text) == {"a": [None, None, 2.0, EVIL, "\U000e0041"]}
    assert not obeyed(text)


# The things of rich


def printed(renderable, **options) -> str:
    console = plain.Console(file=io.StringIO(), width=60, **options)
    console.print(renderable)
    return console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def test_markup_is_text_wherever_it_stands() -> None:
    table = plain.Table(title="title [/x] [red]")
    table.add_column("[rows, features]")
    table.add_row("[rows, features] :warning:")
    table.add_row(plain.Text("one\ntwo [bold]"))
    text = printed(Group("[/x] of a group :warning:", table, plain.Text("[i]").append(" [/x]\x1b")))
    for word in ("[/x] of a group :warning:", "title [/x] [red]", ":warning:", "one ↵ two [bold]", "[i] [/x]\\x1b"):
        assert word in text
    assert text.count("[rows, features]") == 2


def test_a_cell_is_as_wide_as_what_it_shows() -> None:
    table = plain.Table(box=None, pad_edge=False, padding=0)
    table.add_column("")
    table.add_column("")
    table.add_row("\x1b\x1b", "|")
    table.add_row("12345678", "|")
    assert printed(table).split("\n")[1:3] == ["\\x1b\\x1b|", "12345678|"]


def test_the_console_catches_what_was_missed_and_keeps_its_own_colours() -> None:
    assert printed(RichText("\x1b[31mred\u202e", style="bold")) == "\\x1b[31mred\\u202e\n"
    assert printed(plain.Text("x", style="bold"), force_terminal=True, color_system="standard") == "\x1b[1mx\x1b[0m\n"


def test_progress_shows_labels_as_text(monkeypatch) -> None:
    console = plain.Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    monkeypatch.setattr("gradbench.cli.progress.stderr", lambda: console)
    with Steps() as steps:
        steps.tick("[/x][red]\x1b[31m\nlabel", 3)
        steps.progress.refresh()
    with Bar("[/x] of \x1b[31m a bar") as bar:
        bar.start(3)
        bar.cell("[/y]\x1b[31m\ncell")
        bar.progress.refresh()
    text = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert "[/x][red]\\x1b[31m ↵ label: 3 replicates" in text
    assert "[/y]\\x1b[31m ↵ cell" in text
    assert "\x1b[31m" not in text


HOMES = {"report/plain.py"}
"""Where rich's own tables, texts and consoles may be imported."""


def test_reports_and_commands_use_tables_and_texts_that_take_strings_as_text() -> None:
    package = Path(output.__file__).parents[1]
    raw = {"Table", "Text", "Console", "print", "Markdown", "Panel", "markup", "table", "text", "console"}
    found = []
    for file in sorted([*package.glob("report/*.py"), *package.glob("cli/*.py")]):
        name = file.relative_to(package).as_posix()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "rich" and name not in HOMES:
                found += [f"{name}: {alias.name}" for alias in node.names if alias.name in raw]
            if isinstance(node, ast.Import) and name not in HOMES:
                found += [f"{name}: {alias.name}" for alias in node.names if alias.name.split(".")[0] == "rich"]
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "sys.stdout.write", "typer.echo"):
                found.append(f"{name}: {ast.unparse(node.func)}")
    # the version, which is the package's own, and JSON, which has been escaped
    assert sorted(found) == ["cli/__init__.py: print", "cli/output.py: print"]


@pytest.mark.parametrize("name", ["", *get_command(app).commands])  # pyright: ignore[reportAttributeAccessIssue]
def test_help_prints_its_brackets(gradbench, monkeypatch, name) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    command = get_command(app)
    command = command.commands[name] if name else command  # pyright: ignore[reportAttributeAccessIssue]
    shown = gradbench(*([name] if name else []), "--help").out
    for parameter in command.params:
        if text := getattr(parameter, "help", None):
            assert text in " ".join(shown.split()), text
    assert (command.help or "").split("\n")[0] in " ".join(shown.split())
