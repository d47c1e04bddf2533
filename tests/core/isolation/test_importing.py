"""What is imported without looking for garbage is never looked through, and what comes after is."""

from __future__ import annotations

import subprocess
import sys


def told(program: str) -> str:
    """What a process of its own prints: what is frozen here would stay so for other tests."""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_what_is_imported_is_frozen_and_garbage_is_collected_afterwards():
    assert (
        told(
            "import gc\n"
            "from gradbench.core.isolation.importing import uncollected\n"
            "with uncollected():\n"
            "    looked = gc.isenabled()\n"
            "    import decimal\n"
            "print(looked, gc.isenabled(), gc.get_freeze_count() > 1000)"
        )
        == "False True True\n"
    )


def test_where_garbage_is_not_collected_it_stays_so():
    assert (
        told(
            "import gc\n"
            "from gradbench.core.isolation.importing import uncollected\n"
            "gc.disable()\n"
            "with uncollected():\n"
            "    pass\n"
            "print(gc.isenabled(), gc.get_freeze_count())"
        )
        == "False 0\n"
    )


def test_copies_begin_with_what_a_worker_needs_and_look_for_garbage():
    assert (
        told(
            "import gc, sys\n"
            "import gradbench.runner.executors.preloaded\n"
            "print('gradbench.runner.executors.worker' in sys.modules, gc.isenabled())"
        )
        == "True True\n"
    )
