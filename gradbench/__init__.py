"""gradbench: bias and variance of ELBO gradient estimators, with error bars, against exact gradients."""

from gradbench.store import load
from gradbench.version import VERSION as __version__

__all__ = ["__version__", "load"]
