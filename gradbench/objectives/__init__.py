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
