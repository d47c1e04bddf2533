"""The files of a run folder: written in one step and to the disk, read only where they are plain files inside of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from gradbench.core.errors import StorageError

PARTIAL = ".partial"
"""Ends the names of files that are being written."""
TRAINED_FOLDER = "parameters"
"""The folder of a run that trained parameters are in."""
REFERENCES = "references"
"""The folder of a run, while it is under way, that references are in."""


def default_folder(suite: str) -> Path:
    """``results/<suite>-<UTC time>``, in the folder that the command runs in."""
    return Path("results") / f"{suite}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"


def write_file(folder: Path, file: Path, data: bytes) -> None:
    """Write a file of the run folder in one step: a crash leaves the old one or the new one.

    Raises StorageError where it cannot be written, or would be written outside of the folder.
    """
    partial = file.with_name(f".{file.name}.{os.getpid()}{PARTIAL}")
    try:
        if not _inside(folder, file.parent):
            raise StorageError(
                f"{file.parent}: is a link out of the run folder; remove it, then go on with --out {folder}"
            )
        with partial.open("wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(file)
    except OSError as error:
        raise cannot_write(folder, file, error) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def cannot_write(folder: Path, file: Path, error: OSError) -> StorageError:
    """What to raise where ``file`` of a run folder cannot be written."""
    gone = "the run folder is gone" if not folder.exists() else f"cannot be written ({error.strerror or error})"
    kept = "" if not folder.exists() else "; cells that were finished before are kept"
    return StorageError(f"{file}: {gone}{kept}\nmend that, then go on with the same command and --out {folder}")


def is_plain(folder: Path, file: Path) -> bool:
    """Whether there is a file that lies inside of the folder: no pipe or device, and no link out of it."""
    try:
        return file.is_file() and _inside(folder, file)
    except OSError:
        return False


def listed_files(folder: Path, pattern: str) -> list[Path]:
    """What is below a run folder and matches, sorted by name; whether it can be read is another question."""
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


def is_partial(file: Path) -> bool:
    """Whether a file was being written when its run ended."""
    return file.name.endswith(PARTIAL)


def sweep(folder: Path) -> None:
    """Remove what was being written when an earlier run into this folder ended. The folder's lock must be held."""
    for file in _below(folder):
        if is_partial(file):
            with suppress(OSError):
                file.unlink()


def _below(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if not entry.is_dir():
            yield entry
        elif not entry.is_symlink():
            yield from sorted(entry.iterdir())


def _inside(folder: Path, file: Path) -> bool:
    return file.resolve().is_relative_to(folder.resolve())
