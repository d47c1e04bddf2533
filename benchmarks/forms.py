"""When to form gradients, and when to go by Gram matrices: the constants of `gradbench.engine.layers.products`, fitted.

    python benchmarks/forms.py [--device cpu] [--threads 1] [--rounds 5] [--json]

Both forms of what is asked of a layer are timed over its sizes, in interleaved rounds. Printed is how much longer what
the constants choose takes than the faster of the two: in the mean over all sizes, and at worst; with the constants that
are in use, and with those of a grid at which that mean is least. The grid's are for ``products.FORM_COSTS``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from collections.abc import Callable, Iterator
from functools import partial

import torch
from competitors import timed

from gradbench.engine.layers import products
from gradbench.engine.layers.products import FormCosts

NUMBERS = 2**19
"""Of a layer's inputs and outputs together, in all replicates: of those of a pass the eighth that is asked."""
ROWS, WIDTHS = (2, 4, 8, 16, 32, 64), (8, 20, 64, 200, 784)
GRAMS = [2 ** (half / 2) for half in range(-4, 11)]
ENTRIES = [2 ** (half / 2) for half in range(17)]

Size = tuple[int, int, int, bool]
"""Rows of a replicate, inputs, outputs, and whether all replicates have the same inputs."""


def sizes() -> Iterator[Size]:
    """What is tried."""
    return itertools.product(ROWS, WIDTHS, WIDTHS, (False, True))


def seconds(size: Size, device: str, rounds: int) -> tuple[float, float]:
    """Medians of both forms of the same answers: by Gram matrices, and formed."""
    rows, inputs, outputs, shared = size
    replicates = max(8, NUMBERS // (rows * (inputs + outputs)))
    a = torch.randn(1 if shared else replicates, rows, inputs, device=device)
    delta = torch.randn(replicates, rows, outputs, device=device)
    targets = torch.randn(2, outputs, inputs, device=device).unbind()
    forms = [partial(products.probe, a, delta, *targets, forming=forming) for forming in (False, True)]
    times = [[timed(form, device) for form in forms] for _ in range(rounds + 1)][1:]
    implied, formed = (statistics.median(column) / replicates for column in zip(*times, strict=True))
    return implied, formed


def longer(found: dict[Size, tuple[float, float]], chosen: Callable[[Size], bool]) -> dict[str, float]:
    """How much longer what is chosen takes than the faster form: in the geometric mean over sizes, and at worst."""
    ratios = [times[chosen(size)] / min(times) for size, times in found.items()]
    return {"mean": statistics.geometric_mean(ratios), "worst": max(ratios)}


def by(costs: FormCosts, size: Size) -> bool:
    """Whether gradients of this size are formed at these costs."""
    rows, inputs, outputs, shared = size
    return products.forming_is_cheaper(costs, rows, inputs, outputs, shared=shared)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = {size: seconds(size, arguments.device, arguments.rounds) for size in sizes()}
    used = products.costs_on(torch.device(arguments.device))
    grid = [FormCosts(gram, entry) for gram, entry in itertools.product(GRAMS, ENTRIES)]
    fitted = min(grid, key=lambda costs: longer(found, partial(by, costs))["mean"])
    rows = {
        f"in use: {used}": longer(found, partial(by, used)),
        f"fitted: {fitted}": longer(found, partial(by, fitted)),
        "always by Gram matrices": longer(found, lambda size: False),
        "always formed": longer(found, lambda size: True),
    }
    if arguments.json:
        print(
            json.dumps({"device": arguments.device, "threads": arguments.threads, "sizes": len(found), "longer": rows})
        )
        return
    print(f"{len(found)} sizes of a layer on {arguments.device}, {arguments.threads} threads; time / the faster form's")
    for name, row in rows.items():
        print(f"{name:44} mean {row['mean']:.3f}  worst {row['worst']:.2f}")


if __name__ == "__main__":
    main()
