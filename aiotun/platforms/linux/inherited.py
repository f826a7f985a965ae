"""Sockets that a child process inherits and must not share: each message is read by one of them."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import fcntl
import socket
import threading
from abc import ABC, abstractmethod

from ...forking import renew_in_child
from .namespace import SIOCGSKNS, in_namespace_of

__all__ = ["SocketPerProcess"]


class SocketPerProcess(ABC):
    """Has a socket. A child process (fork(2)) opens another one when it first uses it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._inherited = False
        self._socket = self._open()
        renew_in_child(self)

    @abstractmethod
    def _open(self) -> socket.socket:
        """A socket in the network namespace of the calling thread."""

    def _own(self) -> socket.socket:
        """This process's socket, in the namespace of the first. The caller holds the lock."""
        if self._inherited and self._socket.fileno() >= 0:
            inherited = self._socket
            self._socket = in_namespace_of(lambda: fcntl.ioctl(inherited, SIOCGSKNS), self._open)
            inherited.close()
            self._inherited = False
        return self._socket

    def _after_fork(self) -> None:
        self._lock = threading.RLock()  # whose holder may be a thread of the parent
        self._inherited = True
