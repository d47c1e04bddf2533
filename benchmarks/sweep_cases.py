"""The sweeps of `sweep`, and the folder that everything that measures one starts from.

A folder holds ``suite.toml`` for gradbench, ``case.json``, and ``model.npz``: the parameters and the minibatch that
gradbench measures at, so that all measure the same gradients. Making it is in nobody's time.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

LADDER = (1, 2, 4, 8, 16)
GAUSSIAN = ("pathwise", "pathwise-antithetic", "score-function", "score-function-loo")
BERNOULLI = ("score-function", "score-function-loo", "disarm")
PAIRED = frozenset({"pathwise-antithetic", "score-function-loo", "disarm"})
"""Estimators that take two samples at least."""


@dataclass(frozen=True)
class Sweep:
    """One model, its estimators, and the numbers of samples."""

    name: str
    problem: str
    features: int
    """64: the digits; else so many random bits in each row."""
    batch: int
    hidden: int
    latent: int
    replicates: int
    estimators: tuple[str, ...]
    samples: tuple[int, ...] = LADDER

    @property
    def cells(self) -> list[tuple[str, int]]:
        """Every estimator with every number of samples that it works with."""
        return [(one, count) for one in self.estimators for count in self.samples if count > 1 or one not in PAIRED]

    def suite(self, folder: Path) -> str:
        """The same as a suite; its data file, if it has one, is in ``folder``."""
        data = "digits" if self.features == 64 else f"file:{folder / 'data.npy'}"
        decoder = '\ndecoder = "nonlinear"' if self.problem == "sigmoid-belief" else ""
        return f"""
name = "{self.name}"
[measure]
replicates = {self.replicates}
blocks = 32
[[grid]]
problem = "{self.problem}"
data = "{data}"
batch = {self.batch}
hidden = {self.hidden}
latent = {self.latent}{decoder}
dtype = "float32"
estimators = {json.dumps(self.estimators)}
samples = {json.dumps(self.samples)}
"""


SWEEPS = (
    Sweep("small-gaussian", "gaussian-vae", 64, 8, 32, 4, 1024, GAUSSIAN),
    Sweep("middle-gaussian", "gaussian-vae", 64, 16, 200, 20, 1024, GAUSSIAN),
    Sweep("large-gaussian", "gaussian-vae", 784, 64, 200, 20, 256, GAUSSIAN, (1, 2, 4)),
    Sweep("small-bernoulli", "sigmoid-belief", 64, 8, 32, 8, 1024, BERNOULLI),
    Sweep("middle-bernoulli", "sigmoid-belief", 64, 16, 200, 40, 1024, BERNOULLI),
    Sweep("large-bernoulli", "sigmoid-belief", 784, 64, 200, 200, 256, BERNOULLI, (1, 2, 4)),
)


def prepare(sweep: Sweep, folder: Path) -> None:
    """Write the files of ``sweep`` into ``folder``."""
    from gradbench.suite.suites import load_suite
    from gradbench.target import points

    if sweep.features != 64:
        bits = np.random.default_rng(0).random((2048, sweep.features)) < 0.3
        np.save(folder / "data.npy", bits.astype(np.uint8))
    (folder / "suite.toml").write_text(sweep.suite(folder), encoding="utf-8")
    (folder / "case.json").write_text(json.dumps(asdict(sweep)), encoding="utf-8")
    (cell, *_) = load_suite(str(folder / "suite.toml")).cells
    import torch

    point = points.build(cell.axes, "cpu", torch.float32)
    assert point.x is not None
    arrays: dict[str, Any] = {name: value.detach().numpy() for name, value in point.problem.named_parameters().items()}
    np.savez(folder / "model.npz", x=point.x[0, 0].numpy(), **arrays)


def read(folder: Path) -> tuple[Sweep, dict[str, np.ndarray], np.ndarray]:
    """The sweep of a folder, its parameters and its minibatch [B, features]."""
    plain: dict[str, Any] = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    lists: dict[str, Any] = {key: tuple(value) for key, value in plain.items() if isinstance(value, list)}
    sweep = Sweep(**plain | lists)
    with np.load(folder / "model.npz") as file:
        arrays = {name: file[name] for name in file.files}
    return sweep, arrays, arrays.pop("x")
