"""What stands inside a page: data that no tag can end, scripts that the page's policy names by their hashes."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterable
from importlib import resources
from typing import Any

from markupsafe import Markup

from gradbench.core.errors import UsageError
from gradbench.core.printable import plain

ASSETS = "gradbench.report.html"
NEEDS_PLOTLY = "a report needs plotly: pip install 'gradbench[report]'"


def embedded_json(value: Any) -> Markup:
    """``value`` as strict JSON for a ``<script type="application/json">``, whatever texts are in it; ∞ as "inf".

    >>> print(embedded_json({"name": "</script><b>"}))
    {"name":"\\u003c/script\\u003e\\u003cb\\u003e"}
    """
    text = json.dumps(plain(_spelt(value)), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text.encode("utf-8", "replace").decode())


def _spelt(value: Any) -> Any:
    """``value`` with infinities as texts: a page shows them, and JSON has no numbers for them."""
    if isinstance(value, dict):
        return {key: _spelt(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_spelt(one) for one in value]
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return value


def asset(name: str) -> str:
    """The text of a file of this package's ``assets``."""
    return (resources.files(ASSETS) / "assets" / name).read_text(encoding="utf-8")


def script_text(name: str) -> Markup:
    """A script of ``assets``, to stand between ``<script>`` and ``</script>``."""
    return _as_script(asset(name))


def plotly_script() -> Markup:
    """The plotly.js that comes with the Python package. Raises UsageError where that is not installed."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise UsageError(NEEDS_PLOTLY) from error
    return _as_script(get_plotlyjs())


def _as_script(text: str) -> Markup:
    """``text``, of which a page's parser sees no end before its end."""
    lowered = text.lower()
    assert "</script" not in lowered, "a script ends before its end"
    assert "<!--" not in lowered, "a script begins a comment of the page"
    return Markup(text)


def content_policy(scripts: Iterable[str]) -> str:
    """A Content-Security-Policy: these scripts alone run, and nothing is fetched or sent from anywhere."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "connect-src 'none'; form-action 'none'; base-uri 'none'"
    )
