"""The suite that a page gives resolves to the cells that were run."""

from __future__ import annotations

import json
import tomllib

import pytest

from gradbench.report.html.suite_text import suite_text
from gradbench.suite.shipped import shipped
from gradbench.suite.suites import Settings, load_suite, resolve
from tests.report.html.pages import KEPT


def resolved(text: str):
    return resolve(tomllib.loads(text), "text.toml", Settings())


@pytest.mark.parametrize("run", sorted(path.parent.name for path in KEPT.glob("*/manifest.json")))
def test_a_kept_run_can_be_measured_again(run):
    manifest = json.loads((KEPT / run / "manifest.json").read_text())
    found = resolved(suite_text(manifest) or "")
    assert {cell.cell_id for cell in found.cells} == {cell["cell_id"] for cell in manifest["suite_resolved"]["cells"]}
    assert found.name == manifest["suite"]


@pytest.mark.parametrize("name", [name for name in shipped() if name.startswith("papers/")][::4])
def test_claims_and_objectives_with_parameters_come_back(name):
    suite = load_suite(name, Settings(device="cpu"))
    found = resolved(suite_text({"suite_resolved": json.loads(json.dumps(suite.resolved()))}) or "")
    assert {cell.cell_id for cell in found.cells} == {cell.cell_id for cell in suite.cells}
    assert (found.expect, found.title) == (suite.expect, suite.title)
    assert found.measure.model_dump(exclude={"memory"}) == suite.measure.model_dump(exclude={"memory"})


def test_texts_are_those_of_toml():
    suite = {"name": "a", "title": 'quote " back \\ tab \t line \n del \x7f é 𝛷', "measure": {}, "cells": []}
    assert tomllib.loads(suite_text({"suite_resolved": suite}) or "")["title"] == suite["title"]


def test_cells_of_losses_are_of_no_suite():
    cell = {"cell_id": "a", "problem": "custom", "estimator": "loss", "samples": 1}
    assert suite_text({"suite_resolved": {"name": "a", "cells": [cell]}}) is None


def test_keys_that_are_no_bare_ones_are_quoted():
    claim = {"claim": "c", "select": {"a b": 1, "naïve": True, "x": [1.5, "y"]}}
    read = tomllib.loads(suite_text({"suite_resolved": {"name": "a", "expect": [claim], "cells": []}}) or "")
    assert read["expect"] == [claim]
