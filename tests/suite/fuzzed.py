"""Suites that went wrong: those that are shipped, with their structure or their bytes changed."""

from __future__ import annotations

import copy
import json
import math
import tomllib
from datetime import date
from typing import Any

from hypothesis import strategies as st

from gradbench.estimators import ESTIMATORS
from gradbench.objectives import OBJECTIVES
from gradbench.problems import PROBLEMS
from gradbench.results.columns import COMPARED
from gradbench.suite.shipped import shipped

EVERY_KEY = """
name = "every-key"
title = "A suite with every key"
seed = 3
[measure]
replicates = 64
blocks = 8
margin = 0.05
engine = "auto"
variance = "datapoint"
noise = "latent"
memory = "1GB"
precision = 0.5
budget = 10.0
[[grid]]
problem = "gaussian-vae"
data = "file:rows.npz#x"
scale = 255.0
size = [{hidden = 4, layers = 1, latent = 2}]
batch = 4
train_steps = [0, 3]
objective = ["elbo", {name = "vr-iwae", alpha = [0.25]}, {name = "miwae", groups = 2}]
estimators = ["pathwise", {name = "vr-iwae-drep"}, {name = "lax", hidden = 4, fit_steps = 3, learning_rate = 0.01}]
samples = [1, 4]
device = "cpu"
dtype = "float64"
seed = [1, 2]
[[grid]]
problem = "gaussian-cost"
cost = ["exp", "cos"]
k = 0.5
mean = 1.0
scale = 0.5
dim = 2
estimators = ["pathwise", "score-function"]
[[expect]]
claim = "c"
paper = "p"
where = "Table 1"
published = "x"
kind = "ratio"
select = {problem = "gaussian-cost", estimator = "pathwise", cost = ["exp", "cos"], group = "phi.mean"}
over = {estimator = "score-function"}
figure = "variance"
value = 0.5
tolerance = 0.1
above = 0.0
below = 1.0
[[expect]]
claim = "o"
kind = "ordering"
select = {problem = "gaussian-cost"}
order = ["pathwise", "score-function"]
[[expect]]
claim = "s"
kind = "slope"
select = {problem = "gaussian-vae", estimator = "pathwise", objective = "elbo", seed = 1, train_steps = 0}
against = "samples"
value = -1.0
"""
MOST_CLAIMS_KEPT = 3
"""Of a shipped suite, and one grid: what they are made of is what is tried, not how many."""

NUMBERS = st.one_of(
    st.integers(-2, 40),
    st.sampled_from([2**31 - 1, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 10**40, 10**5, 1000, 1001]),
    st.floats(),
    st.sampled_from([0.0, -0.0, 1e308, 5e-324, 1e-300, math.inf, math.nan, 2.0]),
)
TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["", "auto", "cuda", "cuda:99", "synthetic", "digits", "file:", "file:rows.npz#y"]),
    st.sampled_from(["elbo", "iwae", "pathwise", "exact", "gaussian-vae", "bernoulli-cost", "all", "theta.nonsuch"]),
    st.sampled_from(
        [
            "[/x]",
            "\x1b[31m",
            "a" * 5000,
            "file:rows.npz",
            "file:" + "a" * 300 + ".npz",
            "file:\0.npz",
            "1",
            "true",
            "2GB",
        ]
    ),
)
LEAVES = st.one_of(NUMBERS, TEXTS, st.booleans(), st.just(date(2026, 1, 2)))
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=8,
)
LARGE = st.sampled_from([list(range(1, 300)), [[[[[[[[[[1]]]]]]]]]], ["pathwise"] * 300, {"a" * 300: 1}])


WORDS = sorted({*ESTIMATORS, *OBJECTIVES, *PROBLEMS, *COMPARED, "analytic", "monte-carlo", "float32", "exp", "near"})
"""Names that suites may have, though not everywhere."""


@st.composite
def changed_structure(draw: Any) -> bytes:
    """A suite, a few values of which have been replaced, removed, renamed, doubled or moved."""
    suite = draw(st.sampled_from(sorted(shipped()) + ["every-key"] * 10))
    raw = tomllib.loads(EVERY_KEY if suite == "every-key" else shipped()[suite].read_text(encoding="utf-8"))
    if suite != "every-key":
        raw["grid"] = [draw(st.sampled_from(raw["grid"]))]
        raw["expect"] = raw.get("expect", [])[:MOST_CLAIMS_KEPT]
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        holder, key = draw(st.sampled_from(places(raw)))
        _change(draw, raw, holder, key)
    return written(raw).encode()


CHANGES = ["alike"] * 6 + ["value"] * 2 + ["large", "remove", "rename", "double", "wrap", "move"]


def _change(draw: Any, raw: Any, holder: Any, key: Any) -> None:
    match draw(
        st.sampled_from(["alike"] * 6 + ["value", "value", "large", "remove", "rename", "double", "wrap", "move"])
    ):
        case "alike":
            holder[key] = _alike(draw, holder[key])
        case "value":
            holder[key] = copy.deepcopy(draw(VALUES))
        case "large":
            holder[key] = copy.deepcopy(draw(LARGE))
        case "remove":
            del holder[key]
        case "rename":
            name = draw(st.one_of(st.text(max_size=6), st.sampled_from(["samples", "size", "objective", "select"])))
            if isinstance(holder, dict):
                holder[name] = holder.pop(key)
        case "double":
            holder[key] = [copy.deepcopy(holder[key])] * 2
        case "wrap":
            holder[key] = {"name": holder[key]}
        case "move":
            other, where = draw(st.sampled_from(places(raw)))
            holder[key] = copy.deepcopy(other[where])


def _alike(draw: Any, value: Any) -> Any:
    """Another value of the same type, most of which can be measured."""
    match value:
        case bool():
            return not value
        case int():
            return draw(st.one_of(st.integers(0, 8), st.integers(-value, 3 * value) if value > 0 else NUMBERS))
        case float():
            return draw(st.floats(-2, 2))
        case str():
            return draw(st.sampled_from(WORDS))
        case list() if value:
            return draw(st.lists(st.sampled_from(value), min_size=1, max_size=4))
    return value


@st.composite
def changed_bytes(draw: Any) -> bytes:
    """A suite's file with bytes changed, left out or put in."""
    names = sorted(shipped())
    text = draw(st.sampled_from([EVERY_KEY.encode()] * 20 + [shipped()[name].read_bytes() for name in names]))
    for _ in range(draw(st.sampled_from([1, 1, 2, 4]))):
        start = draw(st.integers(0, max(len(text) - 1, 0)))
        end = min(start + draw(st.integers(0, 20)), len(text))
        other = draw(st.integers(0, max(len(text) - 1, 0)))
        put = draw(
            st.one_of(
                st.binary(max_size=4),
                st.text(alphabet='[]{}=",.#\n\'"eE+-_09xobtruefalsnif', max_size=4).map(str.encode),
                st.just(text[other : other + 40]),
                st.sampled_from([b"[" * 5000, b"9" * 5000, b"0x" + b"f" * 6000, b"a." * 2000, b"#" * 2**20]),
            )
        )
        text = text[:start] + put + text[end:]
    return text


SUITES = st.one_of(changed_structure(), changed_structure(), changed_bytes())


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every table or list of a suite with each of its keys."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    return [(value, key) for key in keys] + [place for key in keys for place in places(value[key])]


def written(raw: dict[str, Any]) -> str:
    """A suite as TOML, every table but the first on one line."""
    return "".join(f"{_text(str(key))} = {_value(value)}\n" for key, value in raw.items())


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=True).replace("\x7f", "\\u007f") if text.isascii() else _escaped(text)


def _escaped(text: str) -> str:
    return '"' + "".join(f"\\U{ord(char):08x}" for char in text) + '"'


def _value(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return _text(value)
        case dict():
            return "{" + ", ".join(f"{_text(str(key))} = {_value(one)}" for key, one in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_value, value)) + "]"
        case _:
            return str(value)
