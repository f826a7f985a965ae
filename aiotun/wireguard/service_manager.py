"""What the service manager hears (sd_notify(3)): ready, reloading, stopping, still alive."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

__all__ = ["ServiceManager"]


class ServiceManager:
    """Tells systemd how the program is, where it runs as a unit with Type=notify or notify-reload.

    Nothing is told where NOTIFY_SOCKET is not set. Raises `OSError` where it is, and what speaks
    to it is missing.
    """

    def __init__(self) -> None:
        self._notifier: Any = None
        if os.environ.get("NOTIFY_SOCKET"):
            try:
                from sdnotify import SystemdNotifier
            except ModuleNotFoundError as exc:
                raise OSError(
                    "systemd waits to be told that this is ready: pip install 'aiotun[service]', "
                    "or take Type=exec in the unit"
                ) from exc
            self._notifier = SystemdNotifier

    def ready(self, status: str) -> None:
        self._tell(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        microseconds = time.monotonic_ns() // 1000
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={microseconds}")

    def stopping(self) -> None:
        self._tell("STOPPING=1")

    async def run(self) -> None:
        """Say that the loop is alive, twice as often as WatchdogSec asks for, until cancelled."""
        microseconds = int(os.environ.get("WATCHDOG_USEC", 0))
        while True:
            await asyncio.sleep(microseconds / 2e6 if microseconds else 3600.0)
            if microseconds:
                self._tell("WATCHDOG=1")

    def _tell(self, text: str) -> None:
        if self._notifier is not None:
            notifier = self._notifier()
            notifier.notify(text)
            notifier.socket.close()  # which it leaves to the collector
