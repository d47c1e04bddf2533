"""gradbench: bias and variance of ELBO gradient estimators, with error bars, against exact gradients."""

from gradbench.core.version import VERSION as __version__
from gradbench.results.store import load

__all__ = ["__version__", "load"]
