"""The story that `gradbench explain` tells. To add a chapter: one file here, and one line below, where it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradbench.core.registry import Registry

if TYPE_CHECKING:
    from gradbench.report.story.chapter import Chapter

CHAPTERS: Registry[Chapter] = Registry(
    "chapter",
    __name__,
    {
        "bit": "bit:BIT_CHAPTER",
        "binary": "binary:BINARY_CHAPTER",
        "gaussian": "gaussian:GAUSSIAN_CHAPTER",
        "scale": "scale:SCALE_CHAPTER",
        "autograd": "autograd:AUTOGRAD_CHAPTER",
        "kl": "kl:KL_CHAPTER",
    },
)
