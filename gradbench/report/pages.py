"""Pages of docs/ that are made from the declarations: ``python -m gradbench.report.pages FOLDER`` writes them."""

from __future__ import annotations

import sys
from pathlib import Path

from gradbench.estimators import ESTIMATORS
from gradbench.estimators.base import Estimator
from gradbench.report.columns_page import columns_page
from gradbench.report.described import documentation


def pages() -> dict[str, str]:
    """File name to text."""
    return {"estimators.md": _estimators(), "columns.md": columns_page()}


def _estimators() -> str:
    parts = [
        "# Estimators",
        "z ~ q_φ(z|x) are the samples, f(z) what the objective averages: log p_θ(x|z) where the KL is analytic, "
        "log p_θ(x,z) − log q_φ(z|x) where it is sampled, or a cost. h(·) is held constant. Gradients point up the "
        "objective. The table of each estimator is its ledger: every factor of the surrogate, whether it is held, "
        "whether the φ-gradient and the θ-gradient flow through it, and why. The tests hold each line to what "
        "differentiation does. This page is made from the code (`make docs`).",
    ]
    for estimator in ESTIMATORS.values():
        parts += [f"## `{estimator.name}`", f"```text\n{documentation(estimator)}\n```", _ledger(estimator)]
        parameters = estimator.Parameters.model_fields
        if parameters:
            listed = ", ".join(f"`{name}` = {field.default}" for name, field in parameters.items())
            parts.append(f"Parameters and defaults: {listed}.")
    return "\n\n".join(parts) + "\n"


def _ledger(estimator: Estimator) -> str:
    yes = {True: "yes", False: ""}
    rows = [f"| {f.name} | {yes[f.held]} | {yes[f.phi]} | {yes[f.theta]} | {f.why} |" for f in estimator.ledger]
    return "\n".join(["| factor | held | in φ | in θ | why |", "| --- | --- | --- | --- | --- |", *rows])


if __name__ == "__main__":
    for file, text in pages().items():
        (Path(sys.argv[1]) / file).write_text(text, encoding="utf-8")
