"""A real Linux device in the place of the rest of a MODEL's kernel: its IP, TCP and sockets."""

from __future__ import annotations

import contextlib
import hashlib
import selectors
import socket
import threading
from typing import Any

from packets import NEEDS_CSUM, VIRTIO_NET_HDR, super_packet

import aiotun
from aiotun import Interrupt
from aiotun.platforms.bsd.headers import openbsd
from aiotun.testing import Namespace

from .bsds import OpenBSDKernel
from .kernel import ModelKernel


class Stack:
    """Passes packets between the interface of a model and a Linux device, in a thread."""

    def __init__(self, kernel: ModelKernel, name: str, device: aiotun.Device) -> None:
        self._kernel, self._name, self._device = kernel, name, device
        self._stop = Interrupt()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Stack:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._stop.set()
        self._thread.join()
        self._stop.close()

    def _run(self) -> None:
        stack = self._kernel.find(self._name).stack
        assert stack is not None
        with selectors.DefaultSelector() as selector:
            for each in (stack, self._device.fileno(), self._stop):
                selector.register(each, selectors.EVENT_READ)
            while not self._stop.is_set():
                for key, _ in selector.select():
                    with contextlib.suppress(BlockingIOError):  # full: dropped
                        if key.fileobj is stack:
                            self._take_in()
                        elif key.fileobj is not self._stop:
                            self._hand_out()

    def _hand_out(self) -> None:
        for packet in self._device.recv_many():
            self._kernel.emit(self._name, packet)

    def _take_in(self) -> None:
        self._device.send(self._kernel.taken(self._name))


class SuperStack(Stack):
    """One of OpenBSD, whose device has super-packets, as the Linux device has."""

    _kernel: OpenBSDKernel

    def _hand_out(self) -> None:
        frame = self._device.queue.read()
        flags, gso_type, _, gso_size, _, offset = VIRTIO_NET_HDR.unpack(frame[:10])
        told = openbsd.TUN_H_TCP_MSS if gso_type else 0
        if flags & NEEDS_CSUM:
            told |= openbsd.TUN_H_TCP_CSUM if offset == 16 else openbsd.TUN_H_UDP_CSUM
        self._kernel.hand_out(self._name, told, gso_size, frame[10:])

    def _take_in(self) -> None:
        flags, mss, packet = self._kernel.take_in(self._name)
        cut = flags & openbsd.TUN_H_TCP_MSS
        self._device.queue.write(super_packet(packet, mss) if cut else bytes(10) + packet)


def download(far: Namespace, near: Namespace, host: str, size: int) -> tuple[str, str]:
    """The hashes of what a server of the far end sent and a client of the near end got."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    data = hashlib.shake_128(b"aiotun").digest(size)
    server = far.run(socket.create_server, (host, 0), family=family)

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.sendall(data)

    thread = threading.Thread(target=serve)
    thread.start()
    received = hashlib.sha256()
    with server, near.run(socket.create_connection, server.getsockname()[:2]) as client:
        client.settimeout(30)
        while part := client.recv(1 << 16):
            received.update(part)
    thread.join()
    return hashlib.sha256(data).hexdigest(), received.hexdigest()
