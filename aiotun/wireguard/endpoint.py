"""WireGuard: a tunnel on a TUN device and a UDP endpoint."""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import socket
from collections.abc import Callable
from types import TracebackType
from typing import cast

import aiotun

from ..udp import SocketAddress
from .config import InterfaceConfig, PeerConfig
from .core.tunnel import Tunnel

__all__ = ["WireGuard"]

logger = logging.getLogger("wireguard")

SOCKET_BUFFER = 4 << 20
"""Bytes to ask for, each way: some 30 ms at 1 Gbit/s while the loop does something else."""

SO_MARK = 36  # asm-generic/socket.h


class WireGuard:
    """An interface that is up while its context is entered.

    >>> async with WireGuard(config, name="wg0") as wireguard:
    ...     await wireguard.wait_closed()

    An open `device` is taken instead of making one; its addresses and its MTU
    are then its own. `keylog`: see `Tunnel`. Entering raises `OSError` where the
    device, the port or the address of a peer cannot be had.
    """

    transport: aiotun.PacketTransport
    udp: aiotun.UdpTransport

    def __init__(
        self,
        config: InterfaceConfig,
        *,
        name: str = "wg0",
        device: aiotun.Device | None = None,
        keylog: Callable[[str], None] | None = None,
    ) -> None:
        self.fwmark = config.fwmark
        self.tunnel = Tunnel(config.private_key, mtu=config.mtu, keylog=keylog)
        self._config = config
        self._name = name
        self._device = device
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf

    async def __aenter__(self) -> WireGuard:
        self._loop = asyncio.get_running_loop()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        try:
            await self._open_device()
            await self._open_udp(self._config.listen_port)
            for peer in self._config.peers:
                await self.set_peer(peer)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._close()

    async def wait_closed(self) -> None:
        """Until the interface is deleted by others; raises what ended it."""
        await asyncio.shield(self._closed)

    @property
    def device(self) -> aiotun.Device:
        return self.transport.get_extra_info("device")  # type: ignore[no-any-return]

    @property
    def listen_port(self) -> int:
        """The one it has, also if any was asked for."""
        return self.udp.get_extra_info("sockname")[1]  # type: ignore[no-any-return]

    # Live changes.

    async def set_peer(self, config: PeerConfig) -> None:
        """Add a peer or change it as a whole; its sessions and counters stay.

        Raises `OSError` when the name of its endpoint leads to no address.
        """
        endpoint = None if config.endpoint is None else await self._look_up(*config.endpoint)
        self.tunnel.set_peer(config, self._loop.time(), endpoint)
        self._pass_on()

    def remove_peer(self, public_key: bytes) -> None:
        """Raises `KeyError`."""
        self.tunnel.remove_peer(public_key)

    def set_private_key(self, private_key: bytes) -> None:
        self.tunnel.set_private_key(private_key)

    async def set_listen_port(self, port: int) -> None:
        """Listen at another port (0: any). Raises `OSError`, and then the old one stays."""
        old = self.udp
        await self._open_udp(port)
        self.transport.resume_reading()  # the old one cannot ask for it any more
        old.close()
        await old.aclose()

    async def set_fwmark(self, mark: int) -> None:
        """Mark what is sent to peers (0: not). Raises `PermissionError`."""
        self._mark(self.udp, mark)
        self.fwmark = mark

    # Opening and closing.

    async def _open_udp(self, port: int) -> None:
        host = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"
        udp, _ = await aiotun.create_udp_endpoint(
            lambda: _Network(self),
            (host, port),
            receive_buffer=SOCKET_BUFFER,
            send_buffer=SOCKET_BUFFER,
        )
        if self.fwmark:
            self._mark(udp, self.fwmark)

    def _mark(self, udp: aiotun.UdpTransport, mark: int) -> None:
        udp.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, SO_MARK, mark)

    async def _open_device(self) -> None:
        if self._device is None:
            await aiotun.create_device_endpoint(
                lambda: _Host(self),
                name=self._name,
                addresses=self._config.addresses,
                mtu=self._config.mtu,
                ipv6_quiet=True,  # what is not for a peer has no way
            )
        else:
            await aiotun.create_device_endpoint(lambda: _Host(self), device=self._device)

    async def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        ends = [getattr(self, name) for name in ("transport", "udp") if hasattr(self, name)]
        for end in ends:
            end.close()
        for end in ends:
            await end.aclose()

    async def _look_up(self, host: str, port: int) -> SocketAddress:
        """An address of the socket's family; a name is looked up off the loop."""
        own = self.udp.get_extra_info("socket").family
        family = socket.AF_UNSPEC if own == socket.AF_INET6 else socket.AF_INET
        try:
            found = socket.getaddrinfo(
                host, port, family, socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
            )
        except socket.gaierror:
            try:
                found = await self._loop.getaddrinfo(
                    host, port, family=family, type=socket.SOCK_DGRAM
                )
            except socket.gaierror as exc:
                raise OSError(
                    errno.EADDRNOTAVAIL, f"no address for endpoint {host}: {exc.strerror}"
                ) from exc
        return cast(SocketAddress, found[0][4])

    # Between the tunnel and its two sides.

    def _pass_on(self) -> None:
        """What the tunnel has for its two sides, and when it wants to be called again."""
        tunnel = self.tunnel
        for addr, local, ecn, data in tunnel.take_datagrams():
            try:
                self.udp.sendto_many(data, addr, local=local, ecn=ecn)
            except ValueError as exc:  # a datagram may come from port 0, but none can go there
                logger.debug("to the network: %s", exc)
        packets = tunnel.take_packets()
        if packets:
            self.transport.writelines(packets)
        if tunnel.next_deadline < self._due:
            if self._timer is not None:
                self._timer.cancel()
            self._due = tunnel.next_deadline
            self._timer = self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        self._due = math.inf
        self.tunnel.tick(self._loop.time())
        self._pass_on()

    def _lost(self, exc: Exception | None) -> None:
        if not self._closed.done():
            if exc is None:
                self._closed.set_result(None)
            else:
                self._closed.set_exception(exc)
                self._closed.exception()  # whoever wants it waits for it


class _Host(aiotun.PacketProtocol):
    """The side of the device."""

    def __init__(self, wireguard: WireGuard) -> None:
        self._wireguard = wireguard
        self._seal = wireguard.tunnel.packets_from_device
        self._pass_on = wireguard._pass_on
        self._time = wireguard._loop.time

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wireguard.transport = cast(aiotun.PacketTransport, transport)
        self._wireguard.tunnel.mtu = transport.get_extra_info("mtu")

    def packets_received(self, packets: list[bytes]) -> None:
        self._seal(packets, self._time())
        self._pass_on()

    def pause_writing(self) -> None:
        self._wireguard.udp.pause_reading()

    def resume_writing(self) -> None:
        self._wireguard.udp.resume_reading()

    def device_changed(self, event: aiotun.Event) -> None:
        if isinstance(event, aiotun.LinkChanged):
            self._wireguard.tunnel.mtu = event.mtu

    def error_received(self, exc: Exception) -> None:
        logger.debug("to the device: %s", exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self._wireguard._lost(exc)


class _Network(aiotun.UdpProtocol):
    """The side of the socket."""

    def __init__(self, wireguard: WireGuard) -> None:
        self._wireguard = wireguard
        self._open = wireguard.tunnel.datagrams_received
        self._pass_on = wireguard._pass_on
        self._time = wireguard._loop.time

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wireguard.udp = cast(aiotun.UdpTransport, transport)

    def datagrams_received(self, datagrams: list[aiotun.Datagram]) -> None:
        self._open(datagrams, self._time())
        self._pass_on()

    def pause_writing(self) -> None:
        self._wireguard.transport.pause_reading()

    def resume_writing(self) -> None:
        self._wireguard.transport.resume_reading()

    def error_received(self, exc: Exception) -> None:
        logger.debug("to the network: %s", exc)
        self._wireguard.tunnel.forget_sources()  # one of them may be no address of ours any more

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:  # None: it was closed, perhaps for one at another port
            self._wireguard._lost(exc)
