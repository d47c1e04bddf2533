"""The tree of errors. Each message says what was expected, what was given, and the remedy.

GradbenchError
├── UsageError             a command or call that cannot be carried out as asked (exit code 2)
│   ├── UnknownNameError   no suite, estimator, problem, data set … of that name
│   ├── SuiteError         a suite file that is no valid suite
│   │   └── SeveralFaultsError     for several reasons, a line each
│   ├── PluginError            a user's file or package that cannot take part
│   └── RunError           a run folder that cannot be read or written
│       ├── StorageError       a file of it that cannot be written any more: the run stops, what is there is kept
│       └── NotRestoredError   user code changed what cannot be put back: the run stops
├── NothingMeasuredError   every cell was skipped or failed (exit code 4)
└── MeasurementError       one cell cannot be measured: it fails, the run goes on
    ├── ContractError      user code breaks a promise that measuring rests on
    │   └── BrokenProblemError   a problem, or a module of it
    └── NoClosedFormError  an analytic KL is asked for, and there is none
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from gradbench.core.printable import shortened

MOST_NAMES = 16
"""Valid names that a message lists; the commands list and show have them all."""
MOST_FAULTS = 20
"""Faults that a message tells; whoever mends these will see the others."""


class GradbenchError(Exception):
    """Base of every error that gradbench raises on purpose."""

    exit_code = 2


def message_of(error: BaseException) -> str:
    """The message of any exception, also of a user's own that fails to give one; storable as UTF-8."""
    try:
        return str(error).encode("utf-8", "replace").decode("utf-8")
    except Exception as second:
        return f"its message cannot be had ({type(second).__name__})"


class UsageError(GradbenchError):
    """Something was asked for that cannot be done as asked."""


class UnknownNameError(UsageError):
    """A name that nothing is registered under; the message gives the nearest valid one."""

    def __init__(self, kind: str, given: str, valid: Iterable[str], where: str = "") -> None:
        names = sorted(valid)
        near = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
        shown = ", ".join(names[:MOST_NAMES]) + (", …" if len(names) > MOST_NAMES else "")
        hint = f"did you mean {near[0]!r}?" if near else f"valid: {shown or 'none'}"
        super().__init__(f"{where + ': ' if where else ''}unknown {kind} {shortened(given)}; {hint}")


class SuiteError(UsageError):
    """A suite that is not valid; the message names the file, the key and the remedy."""


class SeveralFaultsError(SuiteError):
    """A suite with several faults: a line that counts them, and a line for each."""

    def __init__(self, where: str, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        lines = [f"  {fault.removeprefix(f'{where}: ')}" for fault in self.faults[:MOST_FAULTS]]
        if (more := len(self.faults) - MOST_FAULTS) > 0:
            lines.append(f"  and {more} more")
        super().__init__("\n".join([f"{where}: {len(self.faults)} faults", *lines]))


class PluginError(UsageError):
    """A user's file, or an installed package, that cannot take part; the message names the fault and the remedy."""


class RunError(UsageError):
    """A run folder that cannot be read or written."""


class StorageError(RunError):
    """A file of a run that cannot be written, as on a full disk; what was written before is kept."""


class NotRestoredError(RunError):
    """User code left something changed that cannot be put back, so that nothing after it could be trusted."""


class NothingMeasuredError(GradbenchError):
    """Nothing was measured."""

    exit_code = 4


class MeasurementError(GradbenchError):
    """A cell that cannot be measured, such as one whose gradients are not finite."""

    exit_code = 3


class ContractError(MeasurementError):
    """User code that breaks a promise which measuring rests on; the message says what was seen, and the remedy.

    ``raised`` is the type of the exception that the code raised, where that is what it did.
    """

    def __init__(self, message: str, raised: str | None = None) -> None:
        super().__init__(message)
        self.raised = raised


class BrokenProblemError(ContractError):
    """A problem that breaks its contract: the kind of fault, what was seen, and the remedy for its author."""

    def __init__(self, kind: str, seen: str, remedy: str) -> None:
        super().__init__(f"{kind}: {seen}\n{remedy}")
        self.kind, self.seen, self.remedy = kind, seen, remedy


class NoClosedFormError(MeasurementError):
    """A KL that has no closed form; the message names the two distributions."""
