"""UNIX sockets that are their owner's alone: for the `wg` tool, the page and the metrics."""

from __future__ import annotations

import errno
import os
import socket
import sys
from pathlib import Path

assert sys.platform != "win32"

__all__ = ["bind_privately"]


NOBODY = (errno.ECONNREFUSED, errno.ENOENT)
"""What connecting gives where nobody listens. A socket of another kind gives something else."""


def bind_privately(path: Path) -> socket.socket:
    """A socket bound there, which does not listen yet; one that a killed program left gives way.

    Raises `OSError`: EADDRINUSE where somebody listens.
    """
    bound = socket.socket(socket.AF_UNIX)
    try:
        if path.is_socket():
            with socket.socket(socket.AF_UNIX) as probe:
                probe.setblocking(False)  # one that listens may be too busy to accept
                if probe.connect_ex(str(path)) not in NOBODY:
                    raise OSError(errno.EADDRINUSE, f"{path} is in use by another program")
            path.unlink(missing_ok=True)
        try:
            bound.bind(str(path))
        except OSError as exc:  # which does not say where
            number, why = exc.errno or errno.ENAMETOOLONG, exc.strerror or str(exc)
            raise OSError(number, why, str(path)) from None
        os.chmod(path, 0o600)  # before `listen`: until then nobody can connect
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound
