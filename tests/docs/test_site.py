"""The site builds without a warning, and its pages need no network, make no errors and can be read by everyone."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import CHROMIUM, launched

ROOT = Path(__file__).parents[2]
PAGES = (
    "index",
    "concepts",
    "how-to/which-estimator",
    "how-to/figure",
    "reference/cli",
    "reference/api/estimators",
    "explanation/intervals",
)
"""Pages of each kind: prose, figures, commands, programs, what is made from docstrings, formulas."""
WIDTHS = {"desk": 1280, "phone": 390}


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    pytest.importorskip("material", reason="the site is built with the extra docs")
    pytest.importorskip("mkdocstrings", reason="the site is built with the extra docs")
    folder = tmp_path_factory.mktemp("site")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", folder / "site"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "site"


def test_every_public_name_has_its_place(site: Path) -> None:
    import gradbench

    pages = "".join(page.read_text(encoding="utf-8") for page in (site / "reference" / "api").glob("*.html"))
    for name in set(gradbench.__all__) - {"__version__"}:
        assert f'id="gradbench.{name}"' in pages, name


def test_the_site_names_nothing_that_is_fetched(site: Path) -> None:
    """Of scripts, styles, pictures and fonts; links to read on lead where they lead."""
    fetched = re.compile(r'<(?:script|img|link rel="(?:stylesheet|preconnect)")[^>]*="https?://[^"]*"')
    for page in site.rglob("*.html"):
        assert fetched.findall(page.read_text(encoding="utf-8")) == [], page


@pytest.fixture(scope="module")
def browser() -> Iterator:
    pytest.importorskip("axe_playwright_python", reason="the browser is driven by the extra test")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine (Debian's package: chromium)")
    with launched() as found:
        yield found


@pytest.mark.parametrize(("scheme", "width"), [("light", "desk"), ("dark", "phone")])  # colours know no width
def test_pages_open_without_network_errors_or_barriers(site: Path, browser, scheme: str, width: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    context = browser.new_context(color_scheme=scheme, viewport={"width": WIDTHS[width], "height": 900})
    page = context.new_page()
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    for name in PAGES:
        page.goto((site / f"{name}.html").as_uri())
        page.wait_for_function("document.querySelector('.md-search')?.getAttribute('aria-label')")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is wider than the screen"
        found = Axe().run(page, options={"preload": False}).response["violations"]
        bad = [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]
        assert bad == [], name
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert errors == []
    context.close()


def test_the_search_finds_without_a_server(site: Path, browser) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto((site / "index.html").as_uri())
    page.click(".md-search__input")
    page.keyboard.type("leave-one-out", delay=50)  # as a person does: the script listens for keys, once it is there
    page.wait_for_selector(".md-search-result__item a")
    assert page.locator(".md-search-result__item").count() > 0
    page.close()


def test_examples_in_docstrings_become_code() -> None:
    pytest.importorskip("griffe", reason="the site is built with the extra docs")
    spec = importlib.util.spec_from_file_location("doctests", ROOT / "docs" / "doctests.py")
    assert spec is not None
    assert spec.loader is not None
    doctests = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(doctests)
    text = "Adds.\n\n>>> a = 1\n>>> a + 1\n2\n\nAnd more.\n\n>>> 1\n1"
    code = "```pycon\n>>> a = 1\n>>> a + 1\n2\n```\n\n"
    assert doctests.fenced(text) == f"Adds.\n\n{code}And more.\n\n```pycon\n>>> 1\n1\n```\n\n"
    assert doctests.fenced("No example.") == "No example."
