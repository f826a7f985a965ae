"""WireGuard: a tunnel on a TUN device and a UDP endpoint."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import math
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import cast

import aiotun

from ..aead import implementation
from ..cancelling import AsyncClosing
from ..offload import SuperPacket
from ..trains import cut
from .config import InterfaceConfig, PeerConfig
from .core.interface import Address
from .core.packets import PACKET
from .core.peer import Peer
from .core.states import Crossing
from .core.tunnel import Tunnel
from .names import Names

if sys.platform == "win32":
    from ..platforms.windows.power import told_of_resumes

__all__ = ["WireGuard", "clock"]

logger = logging.getLogger("aiotun.wireguard")

SOCKET_BUFFER = 4 << 20
"""Bytes to ask for, each way: some 30 ms at 1 Gbit/s while the loop does something else."""

READ_OUT = 1.0
"""Seconds for what has come to a socket that is to be closed: asyncio's own endpoints take one
datagram a turn of the loop."""

READ_OUT_QUIET = 0.01
"""Seconds in which nothing more comes: what Windows' own loop took from a socket comes to the
endpoint in a later turn, and wine (8.0) calls a socket empty while that loop waits for more."""

TIMER_SLACK = 0.1
"""Seconds that a timer may be late, so that many peers' timers share a wake-up: the shortest of
the protocol's has 5 s."""

SLEEP = 1.0
"""Seconds by which `clock` got ahead of the timers' clock, at least, if the machine has slept."""

MARKS = {"linux": 36, "freebsd": 0x1015, "openbsd": 0x1021}
"""The option of a socket that marks what it sends, by how `sys.platform` begins: SO_MARK
(asm-generic/socket.h), SO_USER_COOKIE for a firewall, SO_RTABLE for another table of routes."""

clock: Callable[[], float] = time.monotonic
if sys.platform == "linux":
    # Sessions get older while the machine sleeps (clock_gettime(2)).
    clock = partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    if implementation == "native":
        from ..native._aead import boot_time as clock
elif sys.platform == "darwin":
    clock = partial(time.clock_gettime, time.CLOCK_MONOTONIC)


def slept() -> float:
    """Seconds that the machine has slept, of which timers know nothing, where `clock` counts them.

    But for some other number, the same each time.
    """
    return clock() - time.monotonic()


class WireGuard(AsyncClosing):
    """An interface that is up while its context is entered.

    >>> async with WireGuard(config, name="wg0") as wireguard:
    ...     await wireguard.wait_closed()

    An open `device` is taken instead of making one; its addresses and its MTU
    are then its own. `keylog`: see `Tunnel`. Entering raises `OSError` where the
    device or the port cannot be had.
    """

    transport: aiotun.PacketTransport
    udp: aiotun.UdpTransport
    _offload: bool
    """Whether the device's frames have a virtio_net_hdr."""

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
        self._prepare: Callable[[socket.socket], None] = lambda sock: None
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf
        self._slept = slept()
        self._named: dict[bytes, tuple[str, int]] = {}
        """The endpoints of peers that are names."""
        self.sources: list[aiotun.PacketTransport | aiotun.UdpTransport] = []
        """What packets for peers come from: none of it is read while the socket takes no more."""
        self.tunnel.on_unanswered(self._unanswered)
        self._came_up: Callable[[], object] = lambda: None
        self._crossing: Crossing | None = None

    async def __aenter__(self) -> WireGuard:
        self._loop = asyncio.get_running_loop()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._names = Names()
        self._told = contextlib.ExitStack()
        try:
            await self._open_device()
            self.udp = await self._open_udp(self._config.listen_port)
            self.udp.resume_reading()
            self.transport.resume_reading()
            if sys.platform == "win32":
                self._told.enter_context(told_of_resumes(self._woke_up))
            for peer in self._config.peers:
                if peer.enabled:
                    self.set_peer(peer)
        except BaseException:
            await self.aclose()
            raise
        return self

    async def wait_closed(self) -> None:
        """Until the interface is deleted by others; raises what ended it."""
        await asyncio.shield(self._closed)

    @property
    def device(self) -> aiotun.Device:
        return self.transport.device

    @property
    def listen_port(self) -> int:
        """The one it has, also if any was asked for."""
        return self.udp.local_addr[1]

    @property
    def endpoints(self) -> set[str]:
        """Where the peers are: IP addresses, an IPv4 one as ::ffff:192.0.2.1 or by itself."""
        peers = self.tunnel.peers.values()
        return {peer.endpoint[0] for peer in peers if peer.endpoint is not None}

    # Live changes.

    def set_peer(self, config: PeerConfig) -> None:
        """Add a peer or change it as a whole; its sessions and counters stay.

        Where its endpoint is a name, that is looked up until it leads to an address. A peer that
        is heard meanwhile stays where it is. One that has the interface's own key is left out.
        """
        if config.public_key == self.tunnel.public_key:
            return
        address = None
        if config.endpoint is not None:
            self._forget_name(config.public_key)
            address = _numeric(config.endpoint, self._family)
        peer = self.tunnel.set_peer(config, clock(), address)
        if config.endpoint is not None and address is None:
            self._named[peer.public_key] = config.endpoint
            found = partial(self._found, peer, peer.rx_bytes)
            self._names.look_up(peer.public_key, config.endpoint, self._family, found)
        self._pass_on()

    def _forget_name(self, public_key: bytes) -> None:
        """The peer's endpoint is no name, or there is no such peer any more."""
        self._names.forget(public_key)
        self._named.pop(public_key, None)

    def _found(self, peer: Peer, heard: int, address: Address) -> None:
        """Set the address that a name led to, unless more than these bytes were heard of the peer:
        then it is where they came from."""
        if peer.rx_bytes == heard:
            peer.set_endpoint(address)
            peer.set_persistent_keepalive(peer.persistent_keepalive, clock())
            self._pass_on()

    def _unanswered(self, peer: Peer) -> None:
        """Look a name up again: the peer may have another address by now."""
        endpoint = self._named.get(peer.public_key)
        if endpoint is not None and not self._names.is_looked_up(peer.public_key):
            found = partial(self._found, peer, peer.rx_bytes)
            key, tried = peer.public_key, peer.endpoint
            self._names.look_up(key, endpoint, self._family, found, tried=tried)

    def remove_peer(self, public_key: bytes) -> None:
        """Raises `KeyError`."""
        self.tunnel.remove_peer(public_key)
        self._forget_name(public_key)

    def set_private_key(self, private_key: bytes) -> None:
        """Take another key. All sessions end; a peer that has the same key is removed."""
        self.tunnel.set_private_key(private_key)
        self._forget_name(self.tunnel.public_key)

    async def set_listen_port(self, port: int) -> None:
        """Listen at another port (0: any); what has come to the old one is delivered.

        Raises `OSError`, and then the old one stays.
        """
        new = await self._open_udp(port)
        old, self.udp = self.udp, new
        if old.is_reading():
            new.resume_reading()
        self._resume_sources()  # the old one cannot ask for it any more
        try:
            await _read_out(old)
        finally:
            await old.aclose()

    async def set_fwmark(self, mark: int) -> None:
        """Mark what is sent to peers (0: not). Raises `PermissionError`."""
        self._mark(self.udp, mark)
        self.fwmark = mark

    def prepare_sockets(self, prepare: Callable[[socket.socket], None]) -> None:
        """Call this with the socket, and with each that will take its place, before it sends.

        In any thread. Raises what the call raises.
        """
        self._prepare = prepare
        prepare(self.udp.socket)

    def on_link_up(self, came_up: Callable[[], object]) -> None:
        """Call this when the interface comes up that others had down."""
        self._came_up = came_up

    def renew_sessions(self) -> None:
        """Begin handshakes with the peers that have sessions, and do what is due: the machine has
        slept. It is done by itself then: on Windows at once, on Linux and macOS when next a timer
        is due."""
        self.tunnel.renew_sessions(clock())
        self._tick()

    def _woke_up(self) -> None:
        """In a thread of the system."""
        with contextlib.suppress(RuntimeError):  # the loop was closed before us
            self._loop.call_soon_threadsafe(self.renew_sessions)

    def send(self, packets: list[bytes]) -> None:
        """Send IP packets to peers, as if they had come from the device."""
        self.tunnel.packets_from_device(packets, clock())
        self._pass_on()

    # Opening and closing.

    @property
    def _family(self) -> int:
        """Of addresses that the socket can send to."""
        own = self.udp.socket.family
        return socket.AF_UNSPEC if own == socket.AF_INET6 else socket.AF_INET

    async def _open_udp(self, port: int) -> aiotun.UdpTransport:
        """An endpoint that reads nothing yet."""
        host = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"
        udp, _ = await aiotun.create_udp_endpoint(
            lambda: _Network(self),
            (host, port),
            receive_buffer=SOCKET_BUFFER,
            send_buffer=SOCKET_BUFFER,
            receive_many=None,
        )
        try:
            if self.fwmark:
                self._mark(udp, self.fwmark)
            self._prepare(udp.socket)
        except OSError:
            await udp.aclose()
            raise
        return udp

    def _mark(self, udp: aiotun.UdpTransport, mark: int) -> None:
        names = (name for name in MARKS if sys.platform.startswith(name))
        option = MARKS.get(next(names, ""))
        if option is None:
            raise aiotun.UnsupportedError(
                errno.EOPNOTSUPP,
                f"{sys.platform} marks no datagrams",
                remedies=("leave FwMark out",),
            )
        # 32 bits without a sign, which an int of setsockopt(2) has.
        udp.socket.setsockopt(socket.SOL_SOCKET, option, mark.to_bytes(4, sys.byteorder))

    async def _open_device(self) -> None:
        if self._device is None:
            await aiotun.create_device_endpoint(
                lambda: _Host(self),
                name=self._name,
                addresses=self._config.addresses,
                mtu=self._config.mtu,
                ipv6_quiet=True,  # the kernel's router solicitations would be for no peer
            )
        else:
            await aiotun.create_device_endpoint(lambda: _Host(self), device=self._device)

    async def aclose(self) -> None:
        """Close the interface and the socket; without sending what waits when cancelled."""
        self._names.close()
        self._told.close()
        if self._timer is not None:
            self._timer.cancel()
        self._due = -math.inf  # what still comes until both are closed sets no other
        ends = [getattr(self, name) for name in ("transport", "udp") if hasattr(self, name)]
        await asyncio.gather(*(end.aclose() for end in ends))

    # Between the tunnel and its two sides.

    def _pass_on(self) -> None:
        """Hand on the tunnel's datagrams, and set the timer for its next tick."""
        tunnel = self.tunnel
        send = self.udp.send_train
        for data, segment, addr, local, ecn in tunnel.take_trains():
            try:
                send(data, segment, addr, local=local, ecn=ecn)
            except ValueError as exc:  # a datagram may come from port 0, but none can go there
                tunnel.counters.no_endpoint += len(cut(data, segment))
                logger.debug("to the network: %s", exc)
        deadline = tunnel.next_deadline
        if deadline < self._due:
            delay = max(deadline - clock(), TIMER_SLACK)
            timer = self._loop.call_later(delay, self._tick)
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._due = timer, deadline

    def _write(self, frames: list[bytes]) -> None:
        """Give the device what peers sent."""
        if self._offload:
            write = self.transport.write_super
            for frame in frames:
                write(SuperPacket(frame))
        else:  # nothing was coalesced
            self.transport.writelines([frame[PACKET] for frame in frames])

    def _resume_sources(self) -> None:
        for source in self.sources:
            source.resume_reading()

    def _tick(self) -> None:
        self._due = math.inf
        before, self._slept = self._slept, slept()
        if self._slept - before > SLEEP:
            self.tunnel.renew_sessions(clock())
        self.tunnel.tick(clock())
        self._pass_on()

    def _lost(self, exc: Exception | None) -> None:
        if not self._closed.done():
            if exc is None:
                self._closed.set_result(None)
            else:
                self._closed.set_exception(exc)
                self._closed.exception()  # whoever wants it waits for it


class _Host(aiotun.PacketProtocol):
    """The protocol on the device: it gives the tunnel what the host sends."""

    def __init__(self, wireguard: WireGuard) -> None:
        self._wireguard = wireguard
        self._tunnel = wireguard.tunnel
        self._pass_on = wireguard._pass_on
        self._clock = clock
        self._up = True

    def connection_made(self, transport: aiotun.PacketTransport) -> None:
        device, queue = transport.device, transport.device.queue
        self._wireguard.transport = transport
        self._wireguard.sources.append(transport)
        self._wireguard._offload = queue.vnet_hdr
        self._tunnel.mtu = transport.mtu
        self._tunnel.set_offload(queue.tcp_offload, queue.udp_offload, device.udp_zero_checksum)
        transport.pause_reading()  # until there is a socket to send by
        if queue.vnet_hdr:
            transport.set_protocol(_OffloadHost(self._wireguard))

    def packets_received(self, packets: list[bytes]) -> None:
        self._tunnel.packets_from_device(packets, self._clock())
        self._pass_on()

    def pause_writing(self) -> None:
        self._wireguard.udp.pause_reading()

    def resume_writing(self) -> None:
        self._wireguard.udp.resume_reading()

    def device_changed(self, event: aiotun.interfaces.Event) -> None:
        if isinstance(event, aiotun.interfaces.LinkChanged):
            self._tunnel.mtu = event.mtu
            was_up, self._up = self._up, event.up
            if self._up and not was_up:
                self._wireguard._came_up()

    def error_received(self, exc: Exception) -> None:
        logger.debug("to the device: %s", exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self._wireguard._lost(exc)


class _OffloadHost(_Host):
    """The same on a device whose frames have a virtio_net_hdr: they stay as they are."""

    def __init__(self, wireguard: WireGuard) -> None:
        super().__init__(wireguard)
        wireguard._crossing = crossing = self._tunnel.crossing(wireguard, self._clock)
        if crossing is not None:
            self.super_packets_received = (  # type: ignore[method-assign]
                crossing.super_packets_received
            )

    def super_packets_received(self, packets: list[SuperPacket]) -> None:
        self._tunnel.frames_from_device([packet.frame for packet in packets], self._clock())
        self._pass_on()


class _Network(aiotun.UdpProtocol):
    """The protocol on the UDP socket: it gives the tunnel what peers send."""

    def __init__(self, wireguard: WireGuard) -> None:
        self._wireguard = wireguard
        self._tunnel = wireguard.tunnel
        self._write = wireguard._write
        self._pass_on = wireguard._pass_on
        self._clock = clock

    def connection_made(self, transport: aiotun.UdpTransport) -> None:
        self._transport = transport
        crossing = self._wireguard._crossing
        if crossing is not None:
            self.trains_received = crossing.trains_received  # type: ignore[method-assign]
        transport.pause_reading()  # until it is the interface's

    def trains_received(self, trains: list[aiotun.DatagramTrain]) -> None:
        tunnel = self._tunnel
        tunnel.trains_received(trains, self._clock())
        frames = tunnel.take_frames()
        if frames:
            self._write(frames)
        self._pass_on()

    @property
    def _replaced(self) -> bool:
        """Whether the interface has another socket by now, which alone paces the device."""
        return self._transport is not self._wireguard.udp

    def pause_writing(self) -> None:
        if not self._replaced:
            for source in self._wireguard.sources:
                source.pause_reading()

    def resume_writing(self) -> None:
        if not self._replaced:
            self._wireguard._resume_sources()

    def error_received(self, exc: Exception) -> None:
        logger.debug("to the network: %s", exc)
        if not isinstance(exc, aiotun.errors.PathMTUError):  # which says nothing of addresses
            self._wireguard.tunnel.forget_sources()  # one of them may be ours no more

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and not self._replaced:
            self._wireguard._lost(exc)


def _numeric(endpoint: tuple[str, int], family: int) -> Address | None:
    """An address as the socket takes it; None for what has to be looked up."""
    host, port = endpoint
    try:
        found = socket.getaddrinfo(
            host, port, family, socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
        )
    except (OSError, UnicodeError):
        return None
    return cast(Address, found[0][4])


async def _read_out(udp: aiotun.UdpTransport) -> None:
    """Let it deliver what has come to its socket, until nothing has come for a moment."""
    udp.resume_reading()
    deadline = time.monotonic() + READ_OUT
    while time.monotonic() < deadline:
        before = udp.counters.datagrams_received
        await asyncio.sleep(READ_OUT_QUIET)
        if udp.counters.datagrams_received == before and not _holds_datagrams(udp.socket):
            return


def _holds_datagrams(sock: socket.socket) -> bool:
    try:
        sock.recv(1, socket.MSG_PEEK)
    except OSError as exc:
        return exc.errno == errno.EMSGSIZE  # which Windows says of a datagram that is longer
    return True
