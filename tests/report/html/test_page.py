"""The page as a file: nothing from outside, nothing obeyed, nothing lost."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil

import pytest

from gradbench.report.html.page import NamedRun, report_page
from gradbench.results.store import load_run
from tests.cli.test_hostile_runs import changed, leaves
from tests.report.html.pages import IMAGE, KEPT, SCRIPT, Elements, data_of, hostile_run, unpacked


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> str:
    """The page of a run whose names are tags."""
    run = hostile_run(tmp_path_factory.mktemp("hostile"))
    return report_page([NamedRun(IMAGE, load_run(run))])


def test_names_that_are_tags_are_texts(hostile):
    elements = Elements(hostile)
    assert [tag for tag, _ in elements.tags if tag in ("img", "iframe", "object", "embed", "base", "form")] == []
    assert len(elements.scripts) == 3
    assert all("alert(1)" not in text for text in elements.scripts[1:])
    assert hostile.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 4
    assert SCRIPT in set(unpacked(data_of(hostile)["rows"])["estimator"])


def test_nothing_is_asked_from_outside(hostile):
    for tag, attributes in Elements(hostile).tags:
        assert not {"src", "srcset", "action", "data", "ping"} & set(attributes), (tag, attributes)
        assert tag != "link"
        assert not [name for name in attributes if name.startswith("on")]
        if "href" in attributes:
            assert str(attributes["href"]).startswith("#")
    style = re.findall(r"<style>(.*?)</style>", hostile, re.DOTALL)
    assert len(style) == 1
    assert "url(" not in style[0]
    assert "@import" not in style[0]


def test_the_policy_lets_these_scripts_run_and_no_other(hostile):
    elements = Elements(hostile)
    policy = next(a["content"] for tag, a in elements.tags if a.get("http-equiv") == "Content-Security-Policy")
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in elements.scripts[1:]]
    assert re.findall(r"sha256-([^']+)'", str(policy)) == hashes
    assert "default-src 'none'" in str(policy)
    assert "connect-src 'none'" in str(policy)
    assert "unsafe-inline" not in str(policy).split("style-src")[0]


def test_every_anchor_has_a_place(hostile):
    tags = Elements(hostile).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in tags:
        for name in ("href", "aria-labelledby"):
            if name in attributes:
                assert str(attributes[name]).removeprefix("#") in ids


def test_the_coordinates_of_every_mark_are_those_of_a_row():
    run = load_run(KEPT / "quick")
    sections = {section["key"]: section for section in data_of(report_page([NamedRun("quick", run)]))["figures"]}
    rows = run.ok()[run.ok().group == "phi"]
    drawn = [
        f for f in sections["variance"]["figures"] if (f["groupTitle"], f["against"], f["over"]) == ("φ", "L", False)
    ]
    marks = {
        (x, y, low, high)
        for figure in drawn
        for series in figure["series"]
        for x, y, low, high in zip(*(series[key] for key in ("x", "y", "y_low", "y_high")), strict=True)
    }
    expected = set(rows[["samples", "variance", "variance_low", "variance_high"]].itertuples(index=False, name=None))
    assert marks == expected
    assert {section: bool(content["figures"]) for section, content in sections.items()} == {
        "variance": True, "snr": True, "plane": True, "frontier": True, "training": False, "tensors": True,
        "size": False, "claims": False,
    }  # fmt: skip


def test_two_runs_are_told_apart():
    runs = [NamedRun(name, load_run(KEPT / name)) for name in ("model-size", "training-stages")]
    data = data_of(report_page(runs))
    assert "run" in [column["name"] for column in data["shown"]]
    counted = unpacked(data["rows"])["run"]
    assert {name: counted.count(name) for name in set(counted)} == {one.name: len(one.run.frame) for one in runs}
    for section in data["figures"][:4]:
        assert {figure["run"] for figure in section["figures"]} == {"model-size", "training-stages"}
    by_key = {section["key"]: {figure["run"] for figure in section["figures"]} for section in data["figures"]}
    assert (by_key["training"], by_key["size"]) == ({"training-stages"}, {"model-size"})


def test_skipped_cells_have_their_reasons():
    page = report_page([NamedRun("quick", load_run(KEPT / "quick"))])
    assert "leaving one out needs samples &gt;= 2" in page
    assert "samples come in antithetic pairs" in page
    assert "2 skipped" in page


def test_a_manifest_of_texts_that_mean_nothing_still_makes_a_page(tmp_path):
    run = shutil.copytree(KEPT / "quick", tmp_path / "run")
    manifest = json.loads((run / "manifest.json").read_text())
    del manifest["checksum"]  # it is edited on purpose
    for place in leaves(manifest):
        manifest = changed(manifest, place, f"{SCRIPT}{IMAGE}")
    for key in ("versions", "git", "gpus", "memory_bytes", "cores", "command"):
        manifest[key] = SCRIPT
    manifest["suite_resolved"]["measure"] = {"margin": SCRIPT}
    manifest["suite_resolved"]["expect"] = [SCRIPT]
    (run / "manifest.json").write_text(json.dumps(manifest))
    elements = Elements(report_page([NamedRun("run", load_run(run))]))
    assert [tag for tag, _ in elements.tags if tag in ("img", "iframe")] == []
    assert len(elements.scripts) == 3
