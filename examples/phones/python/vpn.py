"""The Python half of the apps: carries the packets of a TUN over TLS to a server, and back.

The app calls `run` in a thread of its own, and `stop` from any other. The other side is
`server.py`, beside this folder.
"""

from __future__ import annotations

import asyncio
import ssl
import threading

import aiotun
from aiotun import codecs

FRAMES = codecs.LengthPrefixed(2)
"""Each packet goes behind its length: two bytes, the most significant first."""


class Vpn:
    """One VPN, to be run once."""

    def __init__(self, host: str, port: int, name: str, certificate: str) -> None:
        """Where the server is, its name in its certificate, and its authority's (PEM)."""
        self._host, self._port, self._name = host, port, name
        self._tls = ssl.create_default_context(cadata=certificate)
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None
        self._stopped = False
        self._lock = threading.Lock()

    def run(self, fd: int | None, mtu: int) -> str:
        """Carry packets until `stop`, the system or the server ends it; the reason, if any.

        `fd` is the TUN's descriptor, which belongs to this from now on; None is for a Network
        Extension, which has to look for it.
        """
        try:
            if fd is None:
                fd = aiotun.handover.find_utun_descriptor()
                device = aiotun.Device.from_fd(fd, closefd=False, mtu=mtu)
            else:
                device = aiotun.Device.from_fd(fd, mtu=mtu)
            asyncio.run(self._carry(device))
        except asyncio.CancelledError:
            return ""  # by `stop`
        except OSError as exc:  # the interface is gone, the server does not answer, TLS failed
            return str(exc)
        return "the server ended it"

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            if self._running is not None:
                loop, task = self._running
                loop.call_soon_threadsafe(task.cancel)

    async def _carry(self, device: aiotun.Device) -> None:
        async with aiotun.open_device(device=device) as tun:
            with self._lock:
                task = asyncio.current_task()
                assert task is not None
                self._running = asyncio.get_running_loop(), task
                if self._stopped:
                    task.cancel()
            try:
                async with await aiotun.open_framed_connection(
                    FRAMES, self._host, self._port, ssl=self._tls, server_hostname=self._name
                ) as server:
                    await aiotun.relay(tun, server)
            finally:
                with self._lock:
                    self._running = None
