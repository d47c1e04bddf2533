"""gradbench report RUN [RUN …]"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradbench.cli import completion

FILE = "report.html"
"""The name of the page in the folder of the first run, where no other is given."""


def report(
    runs: Annotated[
        list[str],
        typer.Argument(help="Run folders; several are told apart by their names.", autocompletion=completion.runs),
    ],
    baseline: Annotated[
        str | None,
        typer.Option(
            help="Estimator that ratios are over; default: the usual one.", autocompletion=completion.estimators
        ),
    ] = None,
    output_: Annotated[
        Path | None, typer.Option("--output", "-o", help=f"File to write; default: {FILE} in the first run's folder.")
    ] = None,
) -> None:
    """Write one self-contained HTML page on a run: words, figures, every row, claims, how to reproduce it."""
    from gradbench.cli import output, plugins
    from gradbench.cli.runs import open_run
    from gradbench.core.errors import UsageError
    from gradbench.report.html.page import NamedRun, report_page
    from gradbench.report.html.run_names import names_of

    opened, codes = zip(*(open_run(run) for run in runs), strict=True)
    if any(run.manifest.get("plugins") for run in opened):
        plugins.load_plugins(None)
    page = report_page([NamedRun(name, run) for name, run in zip(names_of(runs), opened, strict=True)], baseline)
    file = output_ or Path(runs[0]) / FILE
    try:
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--output {file}: cannot be written ({error.strerror}); name another file") from error
    output.say(f"{len(page.encode()) / 1e6:.1f} MB → {file}")
    raise typer.Exit(max(codes))
