"""What Python does first under wine: go round what wine does otherwise than Windows."""

from __future__ import annotations

import socket
import sys
import threading
from typing import Any

# platform.uname() asks by a function that wine lacks, and that ends the process.
sys.modules["_wmi"] = None  # type: ignore[assignment]

_turn = threading.RLock()  # again: a handler of signals may run before it is given back


def _one_at_a_time(name: str) -> Any:
    """A method of sockets that another thread's call of it does not disturb.

    Wine (8.0) refuses what a non-blocking socket is to send, or has to give, with
    WSAEWOULDBLOCK while another thread's call for it has not returned, though the socket has
    room, or data. asyncio's loops wake themselves by such a socket, and take that error for
    one that is full: then a call of `call_soon_threadsafe` waits for another one.
    """
    call = getattr(socket.socket, name)

    def called(self: socket.socket, *arguments: Any) -> Any:
        if self.gettimeout() != 0:
            return call(self, *arguments)
        with _turn:
            return call(self, *arguments)

    return called


for _name in ("recv", "send"):
    setattr(socket.socket, _name, _one_at_a_time(_name))
