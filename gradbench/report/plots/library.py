"""matplotlib: imported when something is drawn, set so that the same figure gives the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gradbench.core.errors import UsageError

BASE = 7.0
"""Points of the text of a figure that is drawn at its size in print."""
SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, has Greek and the signs of formulas
    "font.size": BASE,
    "axes.titlesize": BASE,
    "axes.labelsize": BASE,
    "xtick.labelsize": BASE - 0.5,
    "ytick.labelsize": BASE - 0.5,
    "legend.fontsize": BASE - 0.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "lines.linewidth": 1.0,
    "lines.markersize": 4.0,
    "lines.markeredgewidth": 0.9,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # TrueType, embedded: what publishers ask for
    "ps.fonttype": 42,
    "svg.fonttype": "path",  # looks the same where the font is not installed
    "svg.hashsalt": "gradbench",
    "text.usetex": False,
    "text.hinting": "none",  # letters as wide on the screen as in print
    "figure.dpi": 100,
    "savefig.dpi": 300,
    "savefig.facecolor": "white",
}
"""What is set while a figure is drawn and written; the user's own settings are as they were afterwards."""


@contextmanager
def drawing() -> Iterator[Any]:
    """matplotlib with `SETTINGS` in force. Raises UsageError where it is not installed."""
    try:
        import matplotlib
    except ImportError:
        raise UsageError("drawing figures needs matplotlib: pip install 'gradbench[plot]'") from None
    with matplotlib.rc_context(SETTINGS):  # pyright: ignore[reportArgumentType]
        yield matplotlib
