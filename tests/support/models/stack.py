"""A real Linux device in the place of the rest of a MODEL's kernel: its IP, TCP and sockets."""

from __future__ import annotations

import contextlib
import selectors
import threading
from typing import Any

import aiotun
from aiotun import Interrupt

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
                    if key.fileobj is stack:
                        self._device.send(self._kernel.taken(self._name))
                    elif key.fileobj is not self._stop:
                        for packet in self._device.recv_many():
                            with contextlib.suppress(BlockingIOError):  # full: dropped
                                self._kernel.emit(self._name, packet)
