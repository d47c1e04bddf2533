"""Run what tutorial.md says to run, write what is printed and drawn into it, and make tutorial.ipynb of it.

``python docs/tutorial.py`` does all of it. The tests run the same and compare. Blocks of Python are cells of one
session, the first of which has the numbers to change; blocks of commands are run by a shell.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE, NOTEBOOK = HERE / "tutorial.md", HERE / "tutorial.ipynb"
BLOCK = re.compile(r"```console\n(.*?)```\n", re.DOTALL)
CELL = re.compile(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```\n)?(?:\n!\[([^\]]*)\]\(([^)]*)\)\n)?", re.DOTALL)
"""A block of Python, what it printed, and the picture that it drew: its words and its file."""
PICTURE = "image/png"


@dataclass(frozen=True)
class Cell:
    """One block of Python."""

    code: str
    printed: str
    words: str
    """What the picture shows, in words."""
    file: str
    """The picture's file beside the page; empty where there is none."""
    picture: bytes = b""

    @classmethod
    def of(cls, match: re.Match[str]) -> Cell:
        """As it stands in a page, the picture from its file."""
        code, printed, words, file = (part or "" for part in match.groups())
        picture = HERE / file
        return cls(code, printed, words, file, picture.read_bytes() if file and picture.exists() else b"")

    def page(self) -> str:
        """As it stands in the page."""
        printed = f"\n```text\n{self.printed}```\n" if self.printed else ""
        picture = f"\n![{self.words}]({self.file})\n" if self.file else ""
        return f"```python\n{self.code}```\n{printed}{picture}"

    def outputs(self) -> list[dict[str, Any]]:
        """As a notebook has them."""
        found: list[dict[str, Any]] = []
        if self.printed:
            found.append({"name": "stdout", "output_type": "stream", "text": _lines(self.printed)})
        if self.picture:
            data = {PICTURE: base64.b64encode(self.picture).decode(), "text/plain": [self.words]}
            found.append({"data": data, "metadata": {}, "output_type": "display_data"})
        return found


def commands(block: str) -> list[tuple[str, str]]:
    """The commands of a console block, each with what it printed."""
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [(part.partition("\n")[0], part.partition("\n")[2]) for part in parts]


def environment() -> dict[str, str]:
    """Variables under which this gradbench is found."""
    paths = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": paths}


def run(command: str, folder: Path) -> str:
    """What ``command`` prints on stdout, run in ``folder`` by a shell that finds this gradbench."""
    tools = folder / ".bin"
    tools.mkdir(exist_ok=True)
    shim = tools / "gradbench"
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} -c "from gradbench.cli import main; main()" "$@"\n')
    shim.chmod(0o755)
    env = {**environment(), "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "100"}
    env["PYTHONDONTWRITEBYTECODE"] = "1"  # a file edited twice within a second must not be taken for its old self
    done = subprocess.run(command, shell=True, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1) or "Traceback" in done.stderr:
        raise RuntimeError(f"{command}: {done.stderr}")
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    return "".join(f"{line}\n" for line in lines)


def cells(page: str) -> list[Cell]:
    """The blocks of Python of ``page``."""
    return [Cell.of(match) for match in CELL.finditer(page)]


def executed(given: list[Cell]) -> list[Cell]:
    """The cells with what they print and draw, run in order in one Jupyter kernel. Raises where one of them does."""
    import nbformat
    from nbclient import NotebookClient

    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.code.rstrip("\n")) for cell in given])
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(book, timeout=120, kernel_name="python3", resources={"metadata": {"path": folder}})
        env = {name: value for name, value in environment().items() if name != "MPLBACKEND"}
        client.execute(env=env)
    return [_with_outputs(cell, done.outputs) for cell, done in zip(given, book.cells, strict=True)]


def _with_outputs(cell: Cell, outputs: list[Any]) -> Cell:
    printed = "".join(one.text for one in outputs if one.output_type == "stream" and one.name == "stdout")
    pictures = [one.data[PICTURE] for one in outputs if PICTURE in one.get("data", {})]
    return replace(cell, printed=printed, picture=base64.b64decode(pictures[0]) if pictures else b"")


def filled(page: str, folder: Path) -> tuple[str, list[Cell]]:
    """``page`` with what its commands and cells print now, and those cells with their pictures."""

    def block(match: re.Match[str]) -> str:
        parts = [f"$ {command}\n{run(command, folder)}" for command, _ in commands(match[1])]
        return "```console\n" + "".join(parts) + "```\n"

    done = executed(cells(page))
    left: Iterator[Cell] = iter(done)
    page = CELL.sub(lambda match: next(left).page(), page)
    return BLOCK.sub(block, page), done


def notebook(page: str) -> dict[str, Any]:
    """``page`` as a notebook: prose in markdown cells, each block in a code cell with its output."""
    found: list[dict[str, Any]] = []

    def prose(text: str) -> None:
        if text.strip():
            found.append({"cell_type": "markdown", "metadata": {}, "source": _lines(text.strip())})

    def code(source: str, outputs: list[dict[str, Any]]) -> None:
        own = {"execution_count": None, "metadata": {}, "outputs": outputs, "source": _lines(source)}
        found.append({"cell_type": "code", **own})

    at = 0
    for match in sorted([*BLOCK.finditer(page), *CELL.finditer(page)], key=lambda match: match.start()):
        prose(page[at : match.start()])
        at = match.end()
        if match.re is CELL:
            cell = Cell.of(match)
            code(cell.code.rstrip("\n"), cell.outputs())
            continue
        given = commands(match[1])
        printed = "".join(output for _, output in given)
        outputs = [{"name": "stdout", "output_type": "stream", "text": _lines(printed)}] if printed else []
        code("\n".join(f"!{command}" for command, _ in given), outputs)
    prose(page[at:])
    for index, one in enumerate(found):
        one["id"] = f"cell-{index}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": found, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def main() -> None:
    """Write the page, its pictures and the notebook anew."""
    with tempfile.TemporaryDirectory() as folder:
        page, done = filled(PAGE.read_text(encoding="utf-8"), Path(folder))
    for cell in done:
        if bool(cell.file) != bool(cell.picture):
            raise RuntimeError(
                f"a cell draws a picture, and the page has no place for it, or the reverse:\n{cell.code}"
            )
        if cell.file:
            (HERE / cell.file).write_bytes(cell.picture)
    PAGE.write_text(page, encoding="utf-8")
    NOTEBOOK.write_text(json.dumps(notebook(page), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
