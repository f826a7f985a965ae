"""Whether a process takes native modules: what keeps it from that, where they are built."""

from __future__ import annotations

import os
import sys

__all__ = ["check_wanted", "unwanted"]


def unwanted() -> str | None:
    """What has to change for the process to take them; None if it does.

    They need the GIL: what their calls share has no lock of its own. A free-threaded interpreter
    switches it on for them, and warns. One that was told to keep it off would run them without.
    """
    if os.environ.get("AIOTUN_PURE") == "1":
        return "leave AIOTUN_PURE unset"
    if getattr(sys.flags, "gil", None) == 0:  # Python 3.13
        return "leave PYTHON_GIL and -X gil unset: the native modules need the GIL"
    return None


def check_wanted() -> None:
    """Raise `ImportError` unless the process takes native modules."""
    reason = unwanted()
    if reason is not None:
        raise ImportError(f"native modules are not wanted here ({reason})")
