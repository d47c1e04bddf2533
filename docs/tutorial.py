"""Run the commands of tutorial.md, write what they print into it, and make tutorial.ipynb of it.

``python docs/tutorial.py`` does both. The tests run the same commands and compare.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE, NOTEBOOK = HERE / "tutorial.md", HERE / "tutorial.ipynb"
BLOCK = re.compile(r"```console\n(.*?)```\n", re.DOTALL)


def commands(block: str) -> list[tuple[str, str]]:
    """The commands of a console block, each with what it printed."""
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [(part.partition("\n")[0], part.partition("\n")[2]) for part in parts]


def run(command: str, folder: Path) -> str:
    """What ``command`` prints on stdout, run in ``folder`` by a shell that finds this gradbench."""
    tools = folder / ".bin"
    tools.mkdir(exist_ok=True)
    shim = tools / "gradbench"
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} -c "from gradbench.cli import main; main()" "$@"\n')
    shim.chmod(0o755)
    paths = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": paths, "COLUMNS": "100"}
    env["PYTHONDONTWRITEBYTECODE"] = "1"  # a file edited twice within a second must not be taken for its old self
    done = subprocess.run(command, shell=True, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1) or "Traceback" in done.stderr:
        raise RuntimeError(f"{command}: {done.stderr}")
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    return "".join(f"{line}\n" for line in lines)


def filled(page: str, folder: Path) -> str:
    """``page`` with what its commands print now."""

    def block(match: re.Match[str]) -> str:
        parts = [f"$ {command}\n{run(command, folder)}" for command, _ in commands(match[1])]
        return "```console\n" + "".join(parts) + "```\n"

    return BLOCK.sub(block, page)


def notebook(page: str) -> dict:
    """``page`` as a notebook: prose in markdown cells, each console block in a code cell with its output."""
    cells: list[dict] = []
    for index, part in enumerate(BLOCK.split(page)):
        if index % 2 == 0:
            if part.strip():
                cells.append({"cell_type": "markdown", "metadata": {}, "source": _lines(part.strip())})
            continue
        found = commands(part)
        printed = "".join(output for _, output in found)
        outputs = [{"name": "stdout", "output_type": "stream", "text": _lines(printed)}] if printed else []
        source = "\n".join(f"!{command}" for command, _ in found)
        cells.append(
            {
                "cell_type": "code",
                "execution_count": None,
                "metadata": {},
                "outputs": outputs,
                "source": _lines(source),
            }
        )
    for index, cell in enumerate(cells):
        cell["id"] = f"cell-{index}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def main() -> None:
    """Write both files anew."""
    with tempfile.TemporaryDirectory() as folder:
        page = filled(PAGE.read_text(encoding="utf-8"), Path(folder))
    PAGE.write_text(page, encoding="utf-8")
    NOTEBOOK.write_text(json.dumps(notebook(page), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
