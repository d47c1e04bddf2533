"""``python -m gradbench.cli.pages docs``: write the pages of docs/ that are made from the code and the kept runs."""

from __future__ import annotations

import sys
from pathlib import Path

from gradbench.core.errors import GradbenchError

ESTIMATORS = "reference/estimators"
HEAD = """\
# Command line

Results go to stdout, progress and messages to stderr. Every command that prints a table also takes `--json`.
`gradbench --install-completion` makes the Tab key complete commands, options, names and run folders.

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | a claim or comparison failed under `--check`, or `check` found an estimator wrong or unresolved |
| 2 | wrong usage, an invalid suite, or an unreadable run |
| 3 | finished, but some cells failed |
| 4 | nothing was measured |
| 130 | interrupted; the same command with `--out` goes on where it stopped |
"""
FOOT = "*Made from the commands by `make docs`.*\n"


def commands_page() -> str:
    """The page on the command line, in Markdown, of what the commands declare."""
    from typer import cli
    from typer.testing import CliRunner

    done = CliRunner().invoke(cli.app, ["gradbench.cli", "utils", "docs", "--name", "gradbench"])
    if done.exit_code:
        raise GradbenchError(f"typer cannot describe the commands: {done.output.strip() or done.exception}")
    _, *commands = done.stdout.replace("```console", "```text").split("\n## `gradbench ")
    return "\n".join([HEAD, *(f"## `{command.strip()}\n" for command in commands), FOOT])


def written(docs: Path) -> dict[str, str]:
    """Every page that is made, by its file below ``docs``."""
    from gradbench.report.pages import pages

    return {"reference/cli.md": commands_page(), **pages(docs)}


def write(docs: Path) -> None:
    """Write the pages, and remove those of estimators and of sections of the API that are no more."""
    found = written(docs)
    for folder in (docs / ESTIMATORS, docs / "reference" / "api"):
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.md"):
            if old.relative_to(docs).as_posix() not in found:
                old.unlink()
    for file, text in found.items():
        (docs / file).parent.mkdir(parents=True, exist_ok=True)
        (docs / file).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
