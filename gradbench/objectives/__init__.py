"""The objectives: what is differentiated. To add one: one file here, and one line below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradbench.core.registry import Registry

if TYPE_CHECKING:
    from gradbench.objectives.base import Objective

OBJECTIVES: Registry[type[Objective]] = Registry(
    "objective",
    __name__,
    {
        "elbo": "elbo:Elbo",
        "iwae": "iwae:Iwae",
        "miwae": "miwae:Miwae",
        "vr-iwae": "vr_iwae:VrIwae",
        "cost": "cost:Cost",
        "forward-kl": "forward_kl:ForwardKl",
    },
)

DEPENDING_ON_SAMPLES = frozenset({"iwae", "miwae", "vr-iwae"})
"""gradbench's own objectives that are another one for every L, whose class declares what is `inside`: for those who
read results and need no model."""


def depends_on_samples(objective: str) -> bool:
    """Whether gradients with other L are of another target; of an objective of a plugin that is not loaded, True.

    >>> depends_on_samples("elbo"), depends_on_samples("iwae")
    (False, True)
    """
    if objective in OBJECTIVES.lines:
        return objective in DEPENDING_ON_SAMPLES
    return objective not in OBJECTIVES or OBJECTIVES[objective].reduces_together()
