"""How long runs of many rows take to read: a run made up of 100 000 rows is loaded, shown, compared, exported, merged.

    python benchmarks/scale.py --rows 100000

Each command is a process of its own, timed from its start to its end, with the most memory that it held.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gradbench.core.canonical import digest
from gradbench.results import store
from gradbench.results.cells import write_cell
from gradbench.results.manifest import write_manifest
from gradbench.results.row_files import write_rows
from gradbench.results.schema import SCHEMA

GROUPS = ("all", "phi", "theta", *(f"{part}.layer.{index}.weight" for part in ("phi", "theta") for index in range(4)))
ESTIMATORS = ("score-function", "score-function-loo", "pathwise", "pathwise-antithetic", "sticking-the-landing")
SAMPLES = (1, 2, 4, 8, 16, 32)
BLOCKS = 32


def main() -> None:
    """Make two runs, read them, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--cells", action="store_true", help="also a run under way, with a file for every cell")
    parser.add_argument("--keep", type=Path, help="folder for the runs, instead of a temporary one")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.keep or Path(temporary)
        for seed, name in enumerate(("a", "b")):
            if not (folder / name).exists():
                made(folder / name, asked.rows, seed)
        load = "import gradbench; gradbench.load('a'{})"
        commands: dict[str, list[str]] = {
            "load": ["-c", load.format("")],
            "load, 3 columns of φ": ["-c", load.format(", ['estimator', 'samples', 'variance'], {'group': 'phi'}")],
            "show": ["-m", "gradbench", "show", "a"],
            "show --full": ["-m", "gradbench", "show", "a", "--full"],
            "compare, one run": ["-m", "gradbench", "compare", "a"],
            "compare, two runs": ["-m", "gradbench", "compare", "a", "b"],
            "status": ["-m", "gradbench", "status", "a"],
            "export csv": ["-m", "gradbench", "export", "a", "-o", "a.csv"],
        }
        if asked.cells:
            under_way(folder / "c", asked.rows)
            commands["load a run under way"] = ["-c", load.format("").replace("'a'", "'c'")]
        print(f"{asked.rows} rows, {os.cpu_count()} processors")
        for title, words in commands.items():
            seconds, memory = timed(words, folder)
            print(f"{title:24} {seconds:6.2f} s {memory / 2**20:6.0f} MB")


def timed(words: list[str], folder: Path) -> tuple[float, float]:
    """Seconds and most bytes of a Python process."""
    start = time.perf_counter()
    code = (
        "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, done.returncode)"
    )
    whole = [sys.executable, "-c", code, sys.executable, *words]
    root = str(Path(__file__).resolve().parents[1])
    environment = os.environ | {"PYTHONPATH": root}
    done = subprocess.run(whole, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    memory, code = map(int, done.stdout.split())
    if code:
        sys.exit(f"{' '.join(words)} ended with {code}: {done.stderr}")
    return time.perf_counter() - start, memory * 1024  # Linux counts kilobytes


def made(path: Path, rows: int, seed: int) -> None:
    """Write a finished run of at least so many rows, whose figures are drawn at random."""
    cells, table = drawn(rows, seed)
    path.mkdir(parents=True)
    manifest = manifest_of(cells)
    with store.reserved(path):
        store.create(path, manifest)
        (path / "cells").mkdir()
        write_rows(path, path / "cells" / "batch-000001.parquet", table)
        store.finish(path, manifest)


def under_way(path: Path, rows: int) -> None:
    """Write a run of at least so many rows, cell by cell, that has not ended."""
    cells, table = drawn(rows, 2)
    with store.reserved(path):
        write_manifest(path, manifest_of(cells) | {"finished": None})
        every = table.to_pylist()
        for start in range(0, len(every), len(GROUPS)):
            write_cell(path, every[start : start + len(GROUPS)])


def manifest_of(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """The manifest of a run of ``cells``."""
    measure = {"replicates": 1024, "blocks": BLOCKS, "margin": 0.1}
    suite = {"name": "scale", "title": "made up", "measure": measure, "expect": [], "cells": cells}
    return {
        "schema_version": store.SCHEMA_VERSION,
        "suite": "scale",
        "suite_resolved": suite,
        "seeds": [0],
        "data": [],
        "plugins": [],
        "started": "2026-01-01T00:00:00+00:00",
        "finished": "2026-01-02T00:00:00+00:00",
    }


def drawn(rows: int, seed: int) -> tuple[list[dict[str, Any]], pa.Table]:
    """Cells, and a table of their rows."""
    random = np.random.default_rng(seed)
    count = -(-rows // len(GROUPS))
    cells = [cell_of(index) for index in range(count)]
    total = count * len(GROUPS)
    variance = random.lognormal(0, 2, total)
    blocks = variance[:, None] * random.gamma(8, 1 / 8, (total, BLOCKS))
    mean, half = blocks.mean(1), 2 * blocks.std(1) / np.sqrt(BLOCKS)
    bias = variance * random.normal(0, 1e-3, total)
    seconds = random.lognormal(-6, 1, total)
    norm = np.sqrt(np.maximum(bias, 0))
    each: dict[str, Any] = {
        "schema_version": store.SCHEMA_VERSION, "suite": "scale", "size": "hidden=32 latent=2", "latent_dim": 2,
        "batch_size": 32, "num_parameters": 1000, "replicates": 1024, "blocks": BLOCKS, "evaluations": 1.0,
        "reference": "quadrature", "gradient_norm": 1.0, "reference_se": 0.0, "bias_sq": bias,
        "bias_sq_se": variance * 1e-3, "bias_norm": norm, "bias_low": 0.0, "bias_high": norm + 0.05,
        "relative_bias": norm, "relative_bias_high": norm + 0.05, "bias_p": random.uniform(0, 1, total),
        "variance": mean, "variance_low": np.maximum(mean - half, mean / 2), "variance_high": mean + half,
        "variance_mean": mean / 1000, "variance_latent": mean, "variance_latent_low": np.maximum(mean - half, mean / 2),
        "variance_latent_high": mean + half, "snr": 1 / mean, "snr_mean": 0.1, "kurtosis": 3.0, "mse": mean + bias,
        "mse_low": np.maximum(mean - half, mean / 2), "mse_high": mean + half, "cosine": 0.5, "seconds": seconds,
        "seconds_low": 0.9 * seconds, "seconds_high": 1.1 * seconds, "flops": 1e6, "peak_bytes": 1e6,
        "work_variance": mean * seconds, "engine": "layers", "status": "ok", "gradbench_version": "0",
        "torch_version": "2", "hardware": "made up", "wall_seconds": 1.0,
    }  # fmt: skip
    columns = {name: np.broadcast_to(np.asarray(value), total) for name, value in each.items()}
    identity = {key: [cell[key] for cell in cells for _ in GROUPS] for key in cells[0] if key in SCHEMA.names}
    for key in ("problem_params", "estimator_params", "objective_params"):
        identity[key] = [json.dumps(value, sort_keys=True, separators=(",", ":")) for value in identity[key]]
    columns |= {key: np.asarray(value, dtype=object) for key, value in identity.items()}
    columns["group"] = np.asarray(list(GROUPS) * count, dtype=object)
    arrays = []
    for field in SCHEMA:
        if field.name == "block_variance":
            arrays.append(pa.array(list(blocks), field.type))
        elif field.name in columns:
            arrays.append(pa.array(columns[field.name].tolist(), field.type))
        else:
            arrays.append(pa.nulls(total, field.type))
    return cells, pa.Table.from_arrays(arrays, schema=SCHEMA)


def cell_of(index: int) -> dict[str, Any]:
    """The cell of a number: estimators and L vary fastest, then seeds and sizes."""
    target, place = divmod(index, len(ESTIMATORS) * len(SAMPLES))
    cell = {
        "problem": "gaussian-vae",
        "problem_params": {"batch": 32, "hidden": 32 + target % 16, "latent": 2, "layers": 1},
        "data": "digits",
        "train_steps": 100 * (target // 16),
        "objective": "elbo",
        "objective_params": {},
        "kl": "analytic",
        "estimator": ESTIMATORS[place % len(ESTIMATORS)],
        "estimator_params": {},
        "samples": SAMPLES[place // len(ESTIMATORS)],
        "device": "cpu",
        "dtype": "float32",
        "noise": "latent",
        "seed": 0,
    }
    return copy.deepcopy({"cell_id": digest(cell, 20), **cell, "skip": None})


if __name__ == "__main__":
    main()
