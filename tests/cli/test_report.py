"""``gradbench report`` as a command: where it writes, and what it says."""

from __future__ import annotations

import builtins
import shutil

from tests.report.html.pages import KEPT, data_of, unpacked


def test_without_plotly_a_line_says_what_to_install(gradbench, monkeypatch):
    imported = builtins.__import__

    def without(name, *rest):
        if name.partition(".")[0] == "plotly":
            raise ModuleNotFoundError(name)
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    result = gradbench("report", KEPT / "quick", "-o", "page.html")
    assert (result.code, result.err) == (2, "error: a report needs plotly: pip install 'gradbench[report]'\n")


def test_the_command_writes_where_it_is_told(gradbench, tmp_path):
    result = gradbench("report", KEPT / "costs", "-o", "page.html")
    assert result.code == 0
    assert "page.html" in result.err
    assert result.out == ""
    page = (tmp_path / "page.html").read_text()
    assert len(unpacked(data_of(page)["rows"])["variance"]) == 50
    refused = gradbench("report", KEPT / "costs", "-o", "nowhere/page.html")
    assert refused.code == 2
    assert refused.err.count("\n") == 1
    assert "nowhere/page.html" in refused.err


def test_the_page_lies_in_the_run_where_no_file_is_named(gradbench, finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "mine")
    result = gradbench("report", "mine")
    assert (result.code, result.out) == (0, "")
    assert result.err.endswith("→ mine/report.html\n")
    assert (run / "report.html").stat().st_size > 4_000_000
    assert gradbench("status", "mine").code == 0  # it is still a run folder


def test_a_run_without_the_baseline_has_its_usual_one_and_says_so(gradbench, tmp_path):
    given = (KEPT / "quick", KEPT / "temperature", "--baseline", "score-function")
    assert gradbench("report", *given, "-o", "page.html").code == 0
    figures = [
        figure
        for section in data_of((tmp_path / "page.html").read_text())["figures"]
        for figure in section["figures"]
        if figure["over"]
    ]
    assert {(figure["run"], figure["baseline"]) for figure in figures} == {
        ("quick", "score-function"),
        ("temperature", "reinmax"),
    }
    for figure in figures:
        said = "This run has no score-function: its ratios are over reinmax." in figure["notes"]
        assert said == (figure["run"] == "temperature")


def test_what_is_asked_wrongly_is_said_in_a_line(gradbench):
    both = (KEPT / "costs", KEPT / "temperature", "--baseline", "nonsuch")
    for words, said in (
        (both, "nonsuch"),
        (("nowhere",), "nowhere"),
        ((KEPT / "costs", "--baseline", "nonsuch"), "nonsuch"),
    ):
        result = gradbench("report", *words, "-o", "page.html")
        assert result.code == 2
        assert result.err.count("\n") == 1
        assert said in result.err
