"""Tables for papers: what they hold, that LaTeX and Markdown show every character, and that they typeset."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from gradbench.core.errors import UnknownNameError
from gradbench.report.latex import latex_tables, latex_text
from gradbench.report.markdown_tables import markdown_tables
from gradbench.report.pivots import Pivot, PivotCell, metrics_of, pivots
from tests.helpers import run_grids

GRID = {
    "problem": "bernoulli-cost",
    "target": [0.45, 0.2],
    "samples": [1, 2, 4],
    "estimators": ["score-function", "score-function-loo", "disarm", "fixed-sample", "exact"],
}
NASTY = r"a_b 50% c&d φ ‖g‖² #1 {x} \input{y} ~^ $z$ 中"
DOCUMENT = "\\documentclass{article}\n%s\n\\begin{document}\n%s\n\\end{document}\n"


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    return run_grids(tmp_path_factory.mktemp("pivots") / "run", GRID, replicates=512, blocks=16).run.frame


def rows(latex: str) -> dict[str, list[str]]:
    """The rows of the first table, by estimator."""
    body = latex.split(r"\midrule")[1].split(r"\bottomrule")[0]
    found = [line.strip().removesuffix(r" \\").split(" & ") for line in body.strip().splitlines()]
    return {name: cells for name, *cells in found}


def test_estimators_are_rows_and_l_columns(frame) -> None:
    tables = pivots(frame, "phi", ["variance"])
    assert len(tables) == 2, "one for each target"
    assert all(table.samples == (1, 2, 4) for table in tables)
    assert [name for name, _ in tables[0].rows] == GRID["estimators"]
    latex = latex_tables(tables, "test")
    assert latex.startswith("% packages:\n% \\usepackage{booktabs}\n")
    assert latex.count(r"\begin{tabular}{lrrr}") == 2
    found = rows(latex)
    assert found["disarm"][0] == found["score-function-loo"][0] == "--", "does not work at L = 1"
    assert all(cell.endswith(r"$^\dagger$") for cell in found["fixed-sample"])
    assert not any("dagger" in cell for cell in found["score-function"])
    row = frame[(frame.group == "phi") & (frame.estimator == "score-function") & (frame.samples == 4)].iloc[0]
    shown = re.fullmatch(r"(?:\\textbf\{)?([\d.]+)\((\d+)\)(?:e(-?\d+))?\}?", found["score-function"][2])
    assert shown is not None
    power = 10.0 ** int(shown[3] or 0)
    unit = power * 10.0 ** -len(shown[1].partition(".")[2])
    arm = max(row.variance_high - row.variance, row.variance - row.variance_low)
    assert float(shown[1]) * power == pytest.approx(row.variance, abs=unit)
    assert int(shown[2]) * unit == pytest.approx(arm, abs=unit)


def test_what_is_alike_is_in_the_caption(frame) -> None:
    latex = latex_tables(pivots(frame, "phi", ["variance"]), "test")
    captions = re.findall(r"\\caption\{(.*)\}", latex)
    for caption, target in zip(captions, ("0.45", "0.2"), strict=True):
        assert f"bernoulli-cost, dim=1, target={target}" in caption
        assert "cpu float64" in caption
        assert "--: does not work there." in caption


def test_the_best_is_bold_and_what_cannot_be_told_from_it(frame) -> None:
    table = pivots(frame, "phi", ["variance"])[1]
    cells = dict(table.rows)
    for column, count in enumerate(table.samples):
        ok = frame[(frame.group == "phi") & (frame.samples == count) & (frame.problem_params.str.contains("0.2"))]
        sound = ok[(ok.verdict != "biased") & (ok.variance > 0)]
        if len(sound) < 2:
            assert not any(cells[name][column].best for name in cells)
            continue
        best = sound.loc[sound.variance.idxmin()]
        bold = {name for name in cells if cells[name][column].best}
        assert best.estimator in bold
        assert bold == set(sound[sound.variance_low <= best.variance_high].estimator)
    assert not pivots(frame, "phi", ["relative_bias"])[0].has(lambda cell: cell.best)


def test_metrics_are_columns_or_their_other_names() -> None:
    assert metrics_of("variance, bias,time,relative_variance") == [
        "variance",
        "relative_bias",
        "seconds",
        "relative_variance",
    ]
    with pytest.raises(UnknownNameError, match="--metric: unknown metric 'varianse'; did you mean 'variance'"):
        metrics_of("varianse")


def test_markdown_is_the_same_table(frame) -> None:
    tables = pivots(frame, "phi", ["variance"])
    text = markdown_tables(tables)
    assert text.count("| estimator | L = 1 | L = 2 | L = 4 |") == 2
    first = next(line for line in text.splitlines() if line.startswith("| disarm"))
    assert first.startswith("| disarm | – | ")
    plain = [re.sub(r"[*†]", "", cell.strip()) for cell in first.split("|")[2:-1]]
    assert plain == ["–", *(cell.text for cell in dict(tables[0].rows)["disarm"][1:])]


def test_siunitx_takes_the_figures(frame) -> None:
    latex = latex_tables(pivots(frame, "phi", ["variance"]), "test", siunitx=True)
    assert r"% \usepackage{siunitx}" in latex
    assert re.search(r"\\num\{[\d.]+\(\d+\)(e-?\d+)?\}", rows(latex)["score-function"][2])


def test_every_character_is_shown() -> None:
    text = latex_text(NASTY)
    assert r"\input" not in text.replace(r"\textbackslash", "")
    for word in (r"a\_b", r"50\%", r"c\&d", r"\varphi", r"\#1", r"\{x\}", r"\$z\$", "U+4E2D"):
        assert word in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed: tables are not typeset")
def test_tables_typeset(frame, tmp_path) -> None:
    cells = (
        PivotCell("figure", "44.6(7)e3", best=True),
        PivotCell("skipped"),
        PivotCell("figure", "-1.2(3)", biased=True),
    )
    nasty = Pivot(
        f"Variance {NASTY}", (NASTY,), (1, 2, 4), ((NASTY, cells), ("b", (PivotCell("failed"),) * 3)), "least"
    )
    latex = latex_tables([*pivots(frame, "phi", ["variance", "relative_bias", "snr"]), nasty], NASTY)
    packages = "\n".join(line.removeprefix("% ") for line in latex.splitlines() if line.startswith(r"% \usepackage"))
    (tmp_path / "paper.tex").write_text(DOCUMENT % (packages, latex), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000
    if shutil.which("pdftotext"):
        subprocess.run(["pdftotext", "-layout", "paper.pdf"], cwd=tmp_path, check=True)
        text = (tmp_path / "paper.txt").read_text(encoding="utf-8")
        for word in ("50% c&d φ", "score-function-loo", "44.6(7)e3", "\\input{y}"):
            assert word in text
