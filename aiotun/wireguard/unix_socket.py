"""UNIX sockets that are their owner's alone: for the `wg` tool, the page and the metrics."""

from __future__ import annotations

import errno
import os
import socket
import sys
from pathlib import Path

assert sys.platform != "win32"

__all__ = ["bind_privately"]


def bind_privately(path: Path) -> socket.socket:
    """A socket bound there, which does not listen yet; one that a killed program left gives way.

    Raises `OSError`: EADDRINUSE where somebody listens.
    """
    bound = socket.socket(socket.AF_UNIX)
    try:
        if path.is_socket():
            with socket.socket(socket.AF_UNIX) as probe:
                if probe.connect_ex(str(path)) == 0:
                    raise OSError(errno.EADDRINUSE, f"{path} is in use by another program")
            path.unlink()
        bound.bind(str(path))
        os.chmod(path, 0o600)  # before `listen`: until then nobody can connect
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound
