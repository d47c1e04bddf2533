"""What a release is made of agrees with itself: version, changelog, citation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gradbench.core.version import VERSION

ROOT = Path(__file__).parents[2]


def test_the_citation_is_of_this_version() -> None:
    """The keys that the Citation File Format 1.2.0 requires, and the version."""
    yaml = pytest.importorskip("yaml", reason="PyYAML comes with the extra docs")
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    assert cited["cff-version"] == "1.2.0"
    assert cited["type"] == "software"
    assert cited["version"] == VERSION
    assert all("name" in author or "family-names" in author for author in cited["authors"])


def test_the_changelog_has_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[([^\]]+)\]", text, re.MULTILINE)
    assert versions[0] == "Unreleased"
    release, dev, _ = VERSION.partition(".dev")
    # on the way to a release its section is not there yet, and what it will hold is under way
    assert (release in versions) != bool(dev)
    assert text.index("- ") < text.index(f"## [{versions[1]}]") or not dev
    assert len(versions) == len(set(versions))
