"""The rooms between the registries and the command line know no family and no estimator by name."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from gradbench.estimators import ESTIMATORS
from gradbench.families import FAMILIES

PACKAGE = Path(__file__).parents[1] / "gradbench"
ROOMS = ("engine", "target", "checking", "statistics", "runner")
FILES = sorted(path for room in ROOMS for path in (PACKAGE / room).rglob("*.py"))
PLAIN = {"exact", "pathwise", "score-function"}
"""Names that are also words of the field: in prose and in messages they are no reference to an estimator."""
PROSE = ("statistics",)
"""Rooms whose prose speaks of distributions: of what is drawn there is nothing said by "Gaussian blocks"."""


def word(names: set[str]) -> re.Pattern[str]:
    """Any of the names as a word of its own, whatever its case."""
    return re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, sorted(names)))})(?![\w-])", re.IGNORECASE)


def modules(lines: dict[str, str], package: str) -> set[str]:
    return {f"{package}.{line.partition(':')[0]}" for line in lines.values()}


NAMES = {*FAMILIES, *ESTIMATORS}
CLASSES = {kind.__name__ for kind in FAMILIES.values()}
MODULES = modules(ESTIMATORS.lines, "gradbench.estimators") | modules(FAMILIES.lines, "gradbench.families")


def found_in(source: str, *, prose: bool = True) -> Iterator[str]:
    """Where a source names a family or an estimator: in a text, an identifier, an import, a comment, a docstring."""
    tree = ast.parse(source)
    documents = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    free = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings of attributes
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) in documents | free:
                if prose and (hit := word(NAMES - PLAIN).search(node.value)):
                    yield f"docstring: {hit[0]}"
            elif node.value in PLAIN or (hit := word(NAMES - PLAIN).search(node.value)):
                yield f"text: {node.value}"
        elif isinstance(node, ast.Name) and node.id in CLASSES:
            yield f"name: {node.id}"
        elif isinstance(node, ast.Attribute) and node.attr in CLASSES:
            yield f"attribute: {node.attr}"
        elif isinstance(node, ast.ImportFrom):
            whole = {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
            yield from (f"import: {one}" for one in whole & MODULES)
        elif isinstance(node, ast.Import):
            yield from (f"import: {alias.name}" for alias in node.names if alias.name in MODULES)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if prose and token.type == tokenize.COMMENT and (hit := word(NAMES - PLAIN).search(token.string)):
            yield f"comment: {hit[0]}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_family_and_no_estimator_is_named(path: Path) -> None:
    prose = path.relative_to(PACKAGE).parts[0] not in PROSE
    assert list(found_in(path.read_text(encoding="utf-8"), prose=prose)) == []


@pytest.mark.parametrize(
    "source",
    [
        "TABLE = {'gaussian': 1}",
        "x = f'needs bernoulli latents, {1}'",
        "if name == 'exact': pass",
        "from gradbench.families.gaussian import Gaussian",
        "from gradbench.estimators.score import score_function_loo",
        "isinstance(q, Bernoulli)",
        "isinstance(q, families.Bernoulli)",
        "x = 1  # as for Bernoulli latents",
        'def f():\n    """Of gumbel-softmax."""',
        'X = 1\n"""Of disarm."""',
    ],
)
def test_a_name_would_be_found(source: str) -> None:
    assert list(found_in(source))


@pytest.mark.parametrize("source", ["x = f'no exact gradient'", "exact = 1", "'''The exact gradient.'''", "x = 'elbo'"])
def test_words_of_the_field_are_none(source: str) -> None:
    assert not list(found_in(source))
