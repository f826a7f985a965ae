"""The folder for what has to outlive the program, where the system has one for it."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

if sys.platform == "win32":
    from ..platforms.windows.security import (
        ADMINISTRATORS,
        SYSTEM,
        make_directory,
        owner_of_file,
        set_access,
    )

__all__ = ["state_directory"]

ADMINISTRATORS_ALONE = "O:BAG:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)"
"""The folder belongs to administrators, who, with the system, may do all in it, and nobody else
anything; so it is with what is made in it."""


def state_directory() -> Path | None:
    """The folder that a service manager names, on Windows one that is made for it: aiotun in
    ProgramData. Without either None.

    Raises `OSError`, `PermissionError` where the folder belongs to somebody else: there everybody
    may make one.
    """
    named = os.environ.get("STATE_DIRECTORY")
    if named:
        return Path(named)
    if sys.platform == "win32":
        folder = Path(os.environ["PROGRAMDATA"], "aiotun")
        make_directory(folder, ADMINISTRATORS_ALONE)
        leads_elsewhere = os.lstat(folder).st_file_attributes & stat.FILE_ATTRIBUTE_REPARSE_POINT
        if leads_elsewhere or owner_of_file(folder) not in (SYSTEM, ADMINISTRATORS):
            raise PermissionError(
                f"{folder} does not belong to administrators: remove it, or name another (--state)"
            )
        set_access(folder, ADMINISTRATORS_ALONE)  # of one that an administrator made by hand
        return folder
    return None
