"""The families of posteriors q_φ(z|x). To add one: one file here, and one line below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradbench.core.registry import Registry

if TYPE_CHECKING:
    from gradbench.families.base import Family

FAMILIES: Registry[type[Family]] = Registry(
    "family",
    __name__,
    {
        "gaussian": "gaussian:Gaussian",
        "bernoulli": "bernoulli:Bernoulli",
        "categorical": "categorical:Categorical",
        "full-rank-gaussian": "full_rank_gaussian:FullRankGaussian",
        "beta": "beta:Beta",
        "dirichlet": "dirichlet:Dirichlet",
        "von-mises": "von_mises:VonMises",
        "gamma": "gamma:Gamma",
        "poisson": "poisson:Poisson",
    },
)
