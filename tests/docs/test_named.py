"""What pages name is there: commands, their options, suites, estimators' files, files of the repository."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
import typer.main

from gradbench.cli import app
from gradbench.suite.shipped import shipped

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "RELEASE.md", "results/README.md", "examples/README.md")]
    + [page for page in (ROOT / "docs").rglob("*.md") if page.name != "cli.md"]
)
CODE = re.compile(r"```[^\n]*\n(.*?)```|`([^`\n]+)`", re.DOTALL)
CALL = re.compile(r"^(?:\$ )?gradbench ([a-z][a-z-]*)((?:[^\n#|>&`]|\\\n)*)", re.MULTILINE)


@cache
def options() -> dict[str, set[str]]:
    """By command, its options."""
    commands = typer.main.get_command(app).commands  # pyright: ignore[reportAttributeAccessIssue]
    return {
        name: {"--help", *(option for one in command.params for option in (*one.opts, *one.secondary_opts))}
        for name, command in commands.items()
    }


def calls(page: Path) -> list[tuple[str, str]]:
    """The commands in the code of a page, each with the rest of its line."""
    code = (fenced or inline for fenced, inline in CODE.findall(page.read_text(encoding="utf-8")))
    return [found for text in code for found in CALL.findall(text)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_and_their_options_are_there(page: Path) -> None:
    for command, rest in calls(page):
        assert command in options(), f"gradbench {command}"
        for option in re.findall(r"(?<!\S)(--?[a-z][a-z-]*)", rest):
            assert option in options()[command], f"gradbench {command} {option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_suites_of_findings_and_files_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"papers/[a-z]+-\d{4}\b", text):
        assert name in shipped()
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not re.match(r"[a-z]+:", link):
            assert (page.parent / link).exists(), link


def test_pages_are_found_and_call_commands() -> None:
    called = {command for page in PAGES for command, _ in calls(page)}
    assert {"run", "show", "compare", "check", "explain", "export", "status", "merge", "list", "new"} <= called
