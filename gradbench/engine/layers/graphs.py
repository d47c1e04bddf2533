"""Work on a CUDA device that is recorded once and replayed: what it costs Python to ask for it is paid once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import torch


def captured(work: Callable[[], None], device: torch.device) -> Callable[[], None] | None:
    """What does ``work`` again, on the same storages; None on a device that records nothing.

    ``work`` is done once before it is recorded, and neither draws numbers nor reads any.
    Raises RuntimeError where something in it cannot be recorded.
    """
    if device.type != "cuda":
        return None
    here, side = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    side.wait_stream(here)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(device), torch.cuda.stream(side):
        work()  # libraries make room for themselves when they are first called on a stream
        torch.cuda.synchronize(device)
        graph.capture_begin()
        try:
            work()
        except BaseException:
            with suppress(RuntimeError):  # of an interrupted recording: what interrupted it says more
                graph.capture_end()
            raise
        graph.capture_end()
    here.wait_stream(side)
    return graph.replay
