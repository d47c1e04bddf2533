"""NumPy's matrix products on one thread.

The threads of its BLAS go on spinning for a while after each product. Where torch has as many threads as there are
cores, its next parallel step then waits for a core, some milliseconds each time: longer than these products take.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

from threadpoolctl import ThreadpoolController


def single_threaded_numpy() -> AbstractContextManager[object]:
    """A context in which NumPy's matrix products use one thread; torch's are left as they are."""
    return _controller().limit(limits=1, user_api="blas")


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
