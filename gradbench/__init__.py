"""gradbench: bias and variance of ELBO gradient estimators, with error bars, against exact gradients.

Names are imported when they are first asked for: ``import gradbench`` alone imports neither torch nor pandas.
"""

from typing import TYPE_CHECKING

from gradbench.core.lazy import lazy
from gradbench.core.version import VERSION

if TYPE_CHECKING:
    from gradbench.results.store import load as load

__version__ = VERSION
__getattr__, __dir__ = lazy(
    __name__,
    {
        "load": "gradbench.results.store",
    },
)
