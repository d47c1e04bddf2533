"""Run what pages show, and write what it prints into them: ``python docs/executed.py [PAGE …]``, each in a process.

What a page may show, each in a fenced block:

- ``console``: commands behind ``$``, each followed by what it prints on stdout;
- ``python``: a program, in one namespace for the whole page; a ``text`` block right behind it is what it prints;
- any language with ``title="FILE"``: a file that commands find.

Other blocks are only shown. Commands run in a folder that has the clone's ``examples`` and ``results/reference``.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "docs" / "index.md",
    *sorted(page for page in (ROOT / "docs" / "how-to").glob("*.md") if page.name != "which-estimator.md"),
]
"""Pages that are written by hand; those that are made from the code show no commands of their own."""
WIDTH = "80"
HEAD = r"```(?P<kind>[\w-]+)(?: title=\"(?P<file>[^\"]+)\")?\n"
FENCE = re.compile(rf"^{HEAD}(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Step:
    """Something that a page shows, and where what it prints stands in the page."""

    kind: str
    """``command``, ``program`` or ``file``."""
    source: str
    printed: str
    span: tuple[int, int] | None
    """From where to where that is; None where nothing is said of what it prints."""
    file: str = ""


def steps(page: str) -> Iterator[Step]:
    """What a page has to be run, in order."""
    blocks = list(FENCE.finditer(page))
    for block, after in zip(blocks, [*blocks[1:], None], strict=False):
        if block["file"]:
            yield Step("file", block["text"], "", None, block["file"])
        elif block["kind"] == "console":
            yield from _commands(block)
        elif block["kind"] == "python":
            if after is not None and after["kind"] == "text" and not page[block.end() : after.start()].strip():
                yield Step("program", block["text"], after["text"], after.span("text"))
            else:
                yield Step("program", block["text"], "", None)


def _commands(block: re.Match[str]) -> Iterator[Step]:
    starts = [found.start() for found in re.finditer(r"^\$ ", block["text"], re.MULTILINE)]
    for start, end in zip(starts, [*starts[1:], len(block["text"])], strict=True):
        command = block["text"][start + 2 : end].partition("\n")[0]
        begin = start + 2 + len(command) + 1
        span = block.start("text") + begin, block.start("text") + end
        yield Step("command", command, block["text"][begin:end], span)


@contextlib.contextmanager
def clone(folder: Path) -> Iterator[Path]:
    """``folder`` as the current one, with the parts of a clone that pages speak of, and terminals 80 columns wide."""
    (folder / "results").mkdir()
    (folder / "results" / "reference").symlink_to(ROOT / "results" / "reference")
    (folder / "examples").symlink_to(ROOT / "examples")
    tools = folder / ".bin"
    tools.mkdir()
    (tools / "gradbench").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m gradbench "$@"\n')
    (tools / "gradbench").chmod(0o755)
    path = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
    set_now = {"COLUMNS": WIDTH, "PATH": path, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"}
    before, here = {name: os.environ.get(name) for name in set_now}, Path.cwd()
    os.environ.update(set_now)
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(here)
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def run(step: Step, names: dict[str, object]) -> str:
    """What a step prints on stdout, in the current folder; programs share ``names``.

    Raises RuntimeError where it fails.
    """
    if step.kind == "file":
        Path(step.file).write_text(step.source, encoding="utf-8")
        return ""
    if step.kind == "program":
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(step.source, "the page", "exec"), names)
        return _lines(out.getvalue())
    words = shlex.split(step.source, comments=True)
    into = words[-1] if words[-2:-1] == [">"] else ""
    words = words[:-2] if into else words
    if words[0] == "gradbench" and not {"|", ">", "&&"} & set(words):
        printed = _lines(_gradbench(words[1:], step.source))
        if into:
            Path(into).write_text(printed, encoding="utf-8")
        return "" if into else printed
    done = subprocess.run(step.source, shell=True, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{step.source}: {done.stderr}")
    return _lines(done.stdout)


def _gradbench(words: list[str], command: str) -> str:
    """The command line in this process, which has imported what takes long."""
    from gradbench.cli import main

    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            main(words)
        except SystemExit as end:
            if end.code not in (None, 0, 1):
                raise RuntimeError(f"{command}: {err.getvalue()}") from None
    return out.getvalue()


def _lines(text: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def filled(page: str) -> str:
    """``page`` with what its steps print now, run in the current folder."""
    names: dict[str, object] = {}
    printed = [(step, run(step, names)) for step in steps(page)]
    for step, text in reversed(printed):
        if step.span is not None:
            page = page[: step.span[0]] + text + page[step.span[1] :]
    return page


def main(files: list[str]) -> None:
    """Write pages anew: the one that is named here, or each of those named or of all in a process of its own."""
    if len(files) != 1:
        for file in files or map(str, PAGES):
            subprocess.run([sys.executable, __file__, file], check=True)
        return
    page = Path(files[0]).resolve()
    with tempfile.TemporaryDirectory() as folder, clone(Path(folder)):
        text = filled(page.read_text(encoding="utf-8"))
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main(sys.argv[1:])
