"""PacketProtocol: the base class of what receives packets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .interfaces import Event
    from .offload import SuperPacket
    from .transports import PacketTransport

    class Callbacks:
        """`asyncio.BaseProtocol`, but for `connection_made`: each kind says what it is given.

        Type checkers let no subclass narrow what a method of its base takes.
        """

        def pause_writing(self) -> None: ...
        def resume_writing(self) -> None: ...
        def connection_lost(self, exc: Exception | None) -> None: ...
else:
    Callbacks = asyncio.BaseProtocol

__all__ = ["Callbacks", "PacketProtocol"]


class PacketProtocol(Callbacks):
    """Receives the packets of a device; every method may be overridden, none must be.

    Exactly one of the three `*_received` methods is called for a packet. Which
    one follows from what the class overrides: `super_packets_received` before
    `packets_received` before `packet_received`.

    An exception that leaves a callback goes to the loop's exception handler and
    costs the packets of that call, not the transport.

    `pause_writing` and `resume_writing` are asyncio's own.
    """

    __slots__ = ()

    def connection_made(self, transport: PacketTransport) -> None:
        """The device is open, and this is what it is written to with; called first."""

    def packet_received(self, packet: bytes) -> None:
        """One IP packet (TUN) or Ethernet frame (TAP), its checksums complete."""

    def packets_received(self, packets: list[bytes]) -> None:
        """All that was read together, at least one packet, oldest first.

        The list belongs to the protocol from now on. Where many super-packets wait, one wake-up
        of the loop calls this several times.
        """

    def super_packets_received(self, packets: list[SuperPacket]) -> None:
        """The same as the kernel made it: not split, checksums perhaps partial.

        Ordinary packets come as super-packets of gso_type NONE. Where many large ones wait, one
        wake-up calls this several times.
        """

    def error_received(self, exc: Exception) -> None:
        """Packets were lost on the way to the device or from it; the transport lives on.

        Called once for all packets of one flush that fared alike, with
        `InterfaceDownError`, `PacketError`, `OffloadError`, or the `OSError` that
        the system gave. How many were lost stands in the transport's counters.
        """

    def device_changed(self, event: Event) -> None:
        """The interface was changed by somebody: `LinkChanged`, `AddressAdded`, `AddressRemoved`.

        Its deletion comes as `connection_lost` with an `InterfaceGoneError`.
        """

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is closed and the device given back.

        `exc` is None after `close` and `abort`, else what ended it.
        """
