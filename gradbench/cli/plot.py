"""gradbench plot RUN"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gradbench.cli import completion
from gradbench.cli.refusing import refuse_given


class KindOfFigure(StrEnum):
    """What can be drawn."""

    variance = "variance"
    snr = "snr"
    bias = "bias"
    plane = "plane"
    frontier = "frontier"
    training = "training"
    tensors = "tensors"
    size = "size"
    ratio = "ratio"
    claims = "claims"


KINDS = ", ".join(KindOfFigure)
OF_X = tuple(KindOfFigure(name) for name in ("variance", "snr", "bias", "frontier", "size", "ratio"))
"""Kinds whose x axis can be chosen."""


def plot(
    run: Annotated[str, typer.Argument(help="A run folder.", autocompletion=completion.runs)],
    kind: Annotated[KindOfFigure, typer.Option(metavar="KIND", help=f"What to draw: {KINDS}.")] = KindOfFigure.variance,
    output_: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write: .pdf, .svg or .png; KIND.pdf without it.")
    ] = None,
    x: Annotated[
        str | None,
        typer.Option(help="samples, evaluations or seconds; of size: num_parameters, latent_dim or a parameter."),
    ] = None,
    by: Annotated[str | None, typer.Option(help="Columns or parameters that tell series apart; estimator.")] = None,
    facet: Annotated[str | None, typer.Option(help="Those that tell panels apart; all that varies besides.")] = None,
    select: Annotated[list[str] | None, typer.Option(help="Only rows with key=value[,value]; repeatable.")] = None,
    baseline: Annotated[
        str | None, typer.Option(help="Of ratio: the estimator below.", autocompletion=completion.estimators)
    ] = None,
    group: Annotated[str | None, typer.Option(help="Parameters to show: all, phi, theta or one tensor; phi.")] = None,
    width: Annotated[str, typer.Option(help="column (3.35 in), page (6.9 in) or inches.")] = "column",
    caption: Annotated[bool, typer.Option("--caption", help="Print the caption below the figure, too.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print what is drawn as JSON.")] = False,
) -> None:
    """Draw a figure of a run for a paper, and print its caption."""
    from gradbench.cli import output
    from gradbench.cli.runs import open_run
    from gradbench.core.errors import UnknownNameError, UsageError

    file = output_ or Path(f"{kind.value}.pdf")
    format_ = file.suffix.removeprefix(".").lower()
    formats = ("pdf", "svg", "png")
    if format_ not in formats:
        raise UnknownNameError("format of a figure", format_, formats, where=f"--output {file}")
    if baseline is not None and kind is not KindOfFigure.ratio:
        raise UsageError(f"--baseline is what --kind ratio divides by; drop it from --kind {kind.value}")
    if kind is KindOfFigure.claims:
        made = {"--x": x, "--by": by, "--facet": facet, "--select": select, "--group": group}
        refuse_given(made, "the figure of claims is always the same; drop it, or choose another --kind")
    if kind not in OF_X:
        refuse_given({"--x": x}, f"--kind {kind.value} has an x axis of its own; {', '.join(OF_X)} have others")
    from gradbench.report.plots.library import drawing
    from gradbench.report.plots.sheets import inches_of

    inches = inches_of(width)
    opened, code = open_run(run)
    with drawing():  # before anything is computed: matplotlib may not be there
        pass
    from gradbench.report.figures import Asked, figures_of, table_of
    from gradbench.report.plots.captions import caption_of
    from gradbench.report.plots.sheets import rendered, sheet
    from gradbench.results.export import records

    asked = Asked(kind.value, x, _names(by), _names(facet), group, tuple(select or ()), baseline)
    figures = figures_of(opened, asked)
    data = rendered(sheet(figures, inches, caption), format_)
    try:
        file.write_bytes(data)
    except OSError as error:
        raise UsageError(f"--output {file}: cannot be written ({error.strerror}); name another file") from error
    if json_:
        output.show_json({"file": str(file), "caption": caption_of(figures), "marks": records(table_of(figures))})
    else:
        output.show(caption_of(figures))
        output.say(f"{file}: {len(figures)} {'panel' if len(figures) == 1 else 'panels'}, {inches:g} inches wide")
    raise typer.Exit(code)


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else ()
