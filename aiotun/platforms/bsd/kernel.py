"""Kernel: the system calls that devices on the BSDs and macOS are made of, and nothing else.

All else here goes through one of these, so that a test can put a model of a driver in its place.
Errors are plain `OSError`s.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import ctypes
import errno
import fcntl
import os
import socket
from collections.abc import Sequence

__all__ = ["Argument", "Kernel"]

Argument = ctypes.Structure | ctypes.c_int | ctypes.c_uint32 | int
"""What an ioctl reads and writes; 0 for one that takes nothing."""


class Kernel:
    """The real one."""

    def open(self, path: str) -> int:
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def socket(self, family: int, kind: int, protocol: int = 0) -> int:
        """Non-blocking, and closed on exec."""
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        return sock.detach()

    def bind(self, fd: int, address: ctypes.Structure) -> None:
        self._call("bind", fd, ctypes.byref(address), ctypes.sizeof(address))

    def connect(self, fd: int, address: ctypes.Structure) -> None:
        self._call("connect", fd, ctypes.byref(address), ctypes.sizeof(address))

    def setsockopt(self, fd: int, level: int, option: int, value: int) -> None:
        number = ctypes.c_int(value)
        self._call("setsockopt", fd, level, option, ctypes.byref(number), ctypes.sizeof(number))

    def getsockopt(self, fd: int, level: int, option: int, size: int) -> bytes:
        buffer = ctypes.create_string_buffer(size)
        length = ctypes.c_uint32(size)
        self._call("getsockopt", fd, level, option, buffer, ctypes.byref(length))
        return buffer.raw[: length.value]

    def ioctl(self, fd: int, request: int, argument: Argument = 0) -> None:
        """What the kernel answers stands in the argument afterwards."""
        if isinstance(argument, int):
            fcntl.ioctl(fd, request, argument)
        else:
            fcntl.ioctl(fd, request, argument, True)

    def read(self, fd: int, size: int) -> bytes:
        return os.read(fd, size)

    def write(self, fd: int, data: bytes) -> int:
        return os.write(fd, data)

    def close(self, fd: int) -> None:
        os.close(fd)

    def sysctl(self, path: Sequence[int]) -> bytes:
        """A table of the kernel, by the numbers of sysctl(3)."""
        names = (ctypes.c_int * len(path))(*path)
        while True:
            size = ctypes.c_size_t()
            self._call("sysctl", names, len(path), None, ctypes.byref(size), None, 0)
            size.value += size.value // 8 + 1024  # it may grow meanwhile
            buffer = ctypes.create_string_buffer(size.value)
            try:
                self._call("sysctl", names, len(path), buffer, ctypes.byref(size), None, 0)
            except OSError as exc:
                if exc.errno != errno.ENOMEM:
                    raise
            else:
                return buffer.raw[: size.value]

    def index(self, name: str) -> int:
        """Of an interface; `OSError` if there is none of that name."""
        return socket.if_nametoindex(name)

    def name(self, index: int) -> str:
        """Of an interface; `OSError` if there is none with that index."""
        return socket.if_indextoname(index)

    def _call(self, function: str, *arguments: object) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        prepared = [ctypes.c_size_t(each) if isinstance(each, int) else each for each in arguments]
        if getattr(libc, function)(*prepared) < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
