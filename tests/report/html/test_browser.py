"""The page in a real browser: what is drawn, sorted, filtered, saved; what a keyboard and a screen reader reach."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gradbench.core.escaping import spreadsheet_cell
from gradbench.report.format import number, percent
from gradbench.report.html.page import NamedRun, report_page
from gradbench.results.columns import COLUMNS
from gradbench.results.store import load, load_run
from tests.report.html.pages import IMAGE, KEPT, SCRIPT, hostile_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
DRAWN = "[...document.querySelectorAll('.plot')].every(plot => plot.querySelector('.main-svg'))"
SHOWN_LINES = """
[...document.querySelectorAll('#rows-table tbody tr')].map(row => [...row.cells].map(cell => cell.textContent))
"""
SIZES = {"wide": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One browser for all of this module."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with a run whose names are tags, and the page on it."""
    folder = tmp_path_factory.mktemp("page")
    run = hostile_run(folder)
    (folder / "page.html").write_text(report_page([NamedRun(IMAGE, load_run(run))]), encoding="utf-8")
    return folder


class Watched:
    """A page that is open, with whatever went wrong in it."""

    def __init__(self, browser: Any, file: Path, size: str = "wide", scheme: str = "light") -> None:
        self.context = browser.new_context(viewport=SIZES[size], color_scheme=scheme, accept_downloads=True)
        self.page = self.context.new_page()
        self.faults: list[str] = []
        self.page.on("console", lambda message: self.faults.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: self.faults.append(f"dialog: {dialog.message}"))
        self.page.on("request", self._requested)
        self.page.goto(file.as_uri())

    def _requested(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.faults.append(f"request: {request.url}")

    def draw_all(self) -> None:
        """Look at every figure."""
        for figure in self.page.locator("[data-figure]").all():
            figure.scroll_into_view_if_needed()
        self.page.wait_for_function(DRAWN)

    def saved(self, button: str) -> bytes:
        """What a button saves."""
        with self.page.expect_download() as caught:
            self.page.locator(button).click()
        return Path(caught.value.path()).read_bytes()

    def lines(self) -> list[list[str]]:
        """The cells of the table of rows as they are shown."""
        return self.page.evaluate(SHOWN_LINES)

    def column(self, title: str) -> list[str]:
        """A column of the table of rows as it is shown."""
        titles = self.page.locator("#rows-table th button").all_text_contents()
        return [line[titles.index(title)] for line in self.lines()]


@pytest.fixture
def opened(browser, made) -> Iterator[Watched]:
    """The page, in which nothing may go wrong."""
    watched = Watched(browser, made / "page.html")
    yield watched
    watched.context.close()
    assert watched.faults == []


@pytest.mark.parametrize(
    ("size", "scheme"), [("wide", "light"), ("wide", "dark"), ("phone", "light"), ("phone", "dark")]
)
def test_nothing_goes_wrong_whatever_the_screen(browser, made, size, scheme):
    """No request, no message, nothing wider than the screen, nothing serious to axe; and a picture that has both."""
    api = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    watched = Watched(browser, made / "page.html", size, scheme)
    watched.draw_all()
    page = watched.page
    assert page.evaluate("document.documentElement.scrollWidth") == SIZES[size]["width"]
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(17, 22, 29)"}[scheme]
    assert len(page.screenshot(path=made / f"{size}-{scheme}.png", full_page=True)) > 50_000
    found = api.Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == []
    watched.context.close()
    assert watched.faults == []


def test_names_that_are_tags_are_shown_as_text(opened):
    opened.draw_all()
    page = opened.page
    assert page.title().startswith(IMAGE)
    assert page.locator("h1").inner_text() == IMAGE
    assert SCRIPT in page.locator("#summary h3").inner_text()
    assert page.locator("img, iframe, object").count() == 0
    page.locator("#figure-variance select[data-choice=panel]").select_option(label="sigmoid-belief · analytic KL")
    assert SCRIPT in page.locator("#figure-variance .legend").inner_text()
    assert SCRIPT in set(opened.column("estimator")) or opened.page.locator(
        "#rows-table select"
    ).first.inner_text().count(SCRIPT)
    page.fill("#rows-search", SCRIPT)
    assert set(opened.column("estimator")) == {SCRIPT}
    assert IMAGE in page.locator("#lost").inner_text()


def test_the_keyboard_sorts_filters_and_turns_pages(opened):
    page = opened.page
    page.locator("#rows-table th button", has_text="variance").first.focus()
    page.keyboard.press("Enter")
    heading = page.locator("#rows-table th", has=page.locator("button:focus"))
    assert heading.get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    assert page.locator("th[aria-sort=descending], th[aria-sort=ascending]").count() == 1
    rows = load_run(KEPT / "quick").ok().sort_values("variance", ascending=False, kind="stable")
    assert opened.column("variance") == [number(value) for value in rows.variance[:25]]
    page.locator("[data-rows=next]").focus()
    page.keyboard.press("Space")
    assert page.locator("#rows-said").inner_text() == "Rows 26 to 50 of 246"
    assert opened.column("variance") == [number(value) for value in rows.variance[25:50]]
    page.locator("[aria-label='Filter group']").focus()
    page.keyboard.type("phi")
    page.locator("[aria-label^='Filter variance:']").focus()
    page.keyboard.type("0.1..10")
    chosen = rows[(rows.group == "phi") & (rows.variance >= 0.1) & (rows.variance <= 10)]
    assert page.locator("#rows-said").inner_text() == f"Rows 1 to {len(chosen)} of {len(chosen)} that match, of 246"
    assert opened.column("variance") == [number(value) for value in chosen.variance]
    assert opened.column("bias / ‖g‖") == [percent(value) for value in chosen.relative_bias]


@pytest.mark.parametrize(
    ("field", "text", "kept"),
    [
        ("L", "4", lambda rows: rows.samples == 4),
        ("variance", "> 1000", lambda rows: rows.variance > 1000),
        ("variance", "<= 0", lambda rows: rows.variance <= 0),
        ("at most", "..0.05", lambda rows: rows.relative_bias_high <= 0.05),
    ],
)
def test_conditions_mean_what_they_say(shared, field, text, kept):
    shared.page.locator("#rows-clear").click()
    shared.page.fill(f"[aria-label^='Filter {field}:']", text)
    frame = load_run(KEPT / "quick").frame
    expected = int(kept(frame).fillna(False).sum())
    assert 0 < expected < 246
    assert f" of {expected} that match, of 246" in shared.page.locator("#rows-said").inner_text()


def test_what_is_no_condition_is_marked_and_filters_nothing(shared):
    shared.page.locator("#rows-clear").click()
    shared.page.fill("[aria-label^='Filter variance:']", "much")
    assert shared.page.locator("[aria-label^='Filter variance:']").get_attribute("aria-invalid") is not None
    assert shared.page.locator("#rows-said").inner_text() == "Rows 1 to 25 of 246"


def test_rows_are_saved_as_they_are(shared, made):
    """Of every column, in the order of the table; to the last bit."""
    shared.page.locator("#rows-clear").click()
    saved = pd.read_csv(io.BytesIO(shared.saved("#rows-save")), keep_default_na=False, na_values=[""])
    frame = load(made / IMAGE)
    assert list(saved) == list(COLUMNS)
    assert len(saved) == len(frame)
    for name in COLUMNS:
        if pd.api.types.is_numeric_dtype(frame[name]):
            expected = frame[name].astype("float64").to_numpy()
            assert saved[name].astype("float64").equals(pd.Series(expected, name=name)), name
        elif name == "started_at":
            assert list(pd.to_datetime(saved[name])) == list(frame[name])
        else:
            assert list(saved[name].astype(object).where(saved[name].notna(), None)) == list(frame[name]), name


def test_figures_read_as_on_the_command_line(shared):
    values = [
        0.0,
        1.0,
        -2.5,
        0.0123456,
        999.9,
        1234.5,
        99999.0,
        1e5,
        1.5e6,
        2e-5,
        -3.21e-9,
        0.000999,
        0.0005,
        0.09,
        7e4,
    ]
    for name, said in (("number", number), ("percent", percent)):
        assert shared.page.evaluate(f"values => values.map(one => Report.format.{name}(one))", values) == [
            said(value) for value in values
        ]
    assert shared.page.evaluate("[NaN, Infinity, -Infinity].map(one => Report.format.number(one))") == ["–", "∞", "-∞"]


def test_no_text_becomes_a_formula(shared):
    texts = ["=1+1", " =1", "a;=1", "+x", "-1", "@x", "plain", 'say "x", y', '{"k":-1}', "＝1"]
    text = shared.page.evaluate("texts => Report.download.csv(['a'], texts.map(one => [one]))", texts)
    assert [row[0] for row in csv.reader(io.StringIO(text))][1:] == [spreadsheet_cell(one) for one in texts]


def test_a_filter_holds_for_what_is_saved(shared):
    shared.page.locator("#rows-clear").click()
    shared.page.fill("#rows-search", "pathwise phi.encoder")
    records = list(csv.DictReader(io.StringIO(shared.saved("#rows-save").decode())))
    rows = load_run(KEPT / "quick").frame
    expected = rows[rows.estimator.str.contains("pathwise") & rows.group.str.contains("phi.encoder")]
    assert [(r["cell_id"], r["group"]) for r in records] == list(zip(expected.cell_id, expected.group, strict=True))


def test_a_figure_is_saved_as_data_and_as_pictures(shared):
    shared.draw_all()
    figure = "#figure-variance"
    shared.page.locator(f"{figure} select[data-choice=against]").select_option("seconds")
    shared.page.locator(f"{figure} select[data-choice=panel]").select_option(index=0)
    saved = pd.read_csv(io.BytesIO(shared.saved(f"{figure} [data-part=csv]")))
    rows = load_run(KEPT / "quick").ok()
    rows = rows[(rows.group == "phi") & (rows.problem == "gaussian-vae") & (rows.kl == "analytic")]
    found = set(
        saved[["series", "x", "x_low", "x_high", "y", "y_low", "y_high", "verdict"]].itertuples(index=False, name=None)
    )
    names = [
        "estimator",
        "seconds",
        "seconds_low",
        "seconds_high",
        "variance",
        "variance_low",
        "variance_high",
        "verdict",
    ]
    assert found == set(rows[names].itertuples(index=False, name=None))
    picture = shared.saved(f"{figure} [data-part=svg]").decode()
    assert picture.startswith("<svg")
    assert "score-function-loo" in picture
    assert "seconds of one gradient" in picture
    assert shared.saved(f"{figure} [data-part=png]").startswith(b"\x89PNG")
    shared.page.locator(f"{figure} [data-choice=over]").check()
    assert "variance / variance of score-function" in shared.page.locator(f"{figure} .ytitle").text_content()


def test_a_figure_is_told_in_words_and_numbers(shared):
    figure = shared.page.locator("#figure-plane")
    figure.locator("summary").press("Enter")
    rows = load_run(KEPT / "quick").ok()
    rows = rows[(rows.group == "phi") & (rows.problem == "gaussian-vae") & (rows.kl == "analytic")]
    assert figure.locator("tbody tr").count() == len(rows)
    assert "at most" in figure.locator("table").inner_text()
    assert figure.locator(".plot").get_attribute("role") == "img"
    assert "Bias and standard deviation" in figure.locator(".plot").get_attribute("aria-label")
    assert figure.locator("[data-part=words] li").count() == rows.estimator.nunique()


def test_a_series_is_hidden_from_the_legend(shared):
    figure = shared.page.locator("#figure-snr")
    button = figure.locator(".legend button").first
    before = figure.locator(".scatterlayer .trace").count()
    button.focus()
    shared.page.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "false"
    assert figure.locator(".scatterlayer .trace").count() == before - 1
    shared.page.keyboard.press("Enter")  # it still has the focus
    assert figure.locator(".scatterlayer .trace").count() == before


def test_the_reader_chooses_the_theme(shared):
    for theme, background in (("dark", "rgb(17, 22, 29)"), ("light", "rgb(255, 255, 255)")):
        shared.page.locator(f"input[name=theme][value={theme}]").check()
        assert shared.page.evaluate("getComputedStyle(document.body).backgroundColor") == background
        assert (
            shared.page.evaluate("document.querySelector('#figure-variance .main-svg').style.background") == background
        )


def test_print_has_every_figure_in_light(shared):
    shared.page.locator("input[name=theme][value=dark]").check()
    assert len(shared.page.pdf()) > 20_000
    assert shared.page.evaluate("document.documentElement.dataset.theme") == "dark"  # as it was before
    shared.page.locator("input[name=theme][value=auto]").check()


@pytest.fixture(scope="module")
def shared(browser, made) -> Iterator[Watched]:
    """One open page for tests that leave no trace in each other; in it, too, nothing may go wrong."""
    watched = Watched(browser, made / "page.html")
    yield watched
    watched.context.close()
    assert watched.faults == []
