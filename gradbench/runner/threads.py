"""How many threads arithmetic takes: the last bits of a sum may depend on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits


@contextmanager
def threads_of_torch(count: int) -> Iterator[None]:
    """Within it, torch and the libraries of linear algebra take ``count`` threads; after it, as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(limits=count, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)
