"""PacketRing: the packets of an interface, as packet(7) hands them to whoever may see them.

They come through memory that the kernel fills (TPACKET_V3,
Documentation/networking/packet_mmap.rst), block by block: there is no system call for
a packet, and a burst waits there. Each has a virtio_net_hdr in front, so that super-packets
can be split.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import errno
import mmap
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from ctypes import addressof, create_string_buffer
from typing import NamedTuple

from ..cancelling import Closing
from ..codecs import LINKTYPE_ETHERNET, LINKTYPE_RAW
from ..codecs.pcapng_blocks import INBOUND, OUTBOUND
from ..errors import InterfaceGoneError, NotPermittedError, UnsupportedError
from ..interrupt import Interrupt
from ..offload import VirtioNetHeader
from .filters import SNAP_LENGTH

__all__ = [
    "Captured",
    "PacketRing",
    "is_ready",
    "keeping",
    "link_type_of",
    "packets_in",
    "with_tag",
]

# linux/if_ether.h
ETH_P_ALL = 0x0003
ADDRESSES_SIZE = 12
"""Of an Ethernet header, in front of a VLAN tag."""

# linux/socket.h, asm-generic/socket.h
SOL_PACKET = 263
SO_ATTACH_FILTER = 26

# linux/bpf_common.h, linux/filter.h
BPF_RET = 0x06


def keeping(size: int) -> bytes:
    """The filter that lets so many bytes of each packet through."""
    return struct.pack("@HBBI", BPF_RET, 0, 0, size)


EVERYTHING = keeping(SNAP_LENGTH)


# linux/if_packet.h
PACKET_RX_RING = 5
PACKET_STATISTICS = 6
PACKET_VERSION = 10
PACKET_VNET_HDR = 15
TPACKET_V3 = 2
TP_STATUS_USER = 0x01
TP_STATUS_VLAN_VALID = 0x10
TP_STATUS_VLAN_TPID_VALID = 0x40
STATUS_OFFSET = 8
"""Of a block's status in it (struct tpacket_hdr_v1, behind two words of tpacket_block_desc)."""
STATUS = struct.Struct("=I")
BLOCK = struct.Struct("=III")
"""Its status, the number of its packets, where the first one is."""
PACKET = struct.Struct("=IIIIIIHHIIH")
"""struct tpacket3_hdr: offset of the next, seconds, nanoseconds, captured and original length,
status, offsets of the link layer's and the network layer's header, hash, VLAN tag, its type."""
PACKET_TYPE_OFFSET = 48 + 10
"""Of sll_pkttype in struct sockaddr_ll, which follows at the next multiple of 16."""
REQUEST = struct.Struct("=7I")
"""struct tpacket_req3: size and number of blocks, size and number of frames, milliseconds after
which a block is handed over as it is, two of no interest."""
STATISTICS = struct.Struct("=III")
"""struct tpacket_stats_v3: packets, those dropped among them, and no space in how many blocks."""

BLOCK_SIZE = 1 << 20
FRAME_SIZE = 1 << 11
BLOCK_TIMEOUT = 100
"""Milliseconds."""

LINK_TYPES = {1: LINKTYPE_ETHERNET, 772: LINKTYPE_ETHERNET, 65534: LINKTYPE_RAW}
"""Of ARPHRD_ETHER, ARPHRD_LOOPBACK and ARPHRD_NONE (linux/if_arp.h)."""


Memory = mmap.mmap | bytearray

Take = Callable[[Memory, int, int], tuple[int, int]]
"""Of the memory, a packet's place in it, and how many packets are left in its block: what takes
some of these as they stand there, and returns the place of the next one and how many are left."""


class Captured(NamedTuple):
    frame: bytes
    """A virtio_net_hdr and the packet, or its beginning."""
    size: int
    """Bytes of the packet itself."""
    time: int
    """Nanoseconds since 1970."""
    direction: int
    tag: bytes
    """Of its VLAN, which the kernel keeps beside the packet: to stand at ADDRESSES_SIZE."""


def link_type_of(name: str) -> int:
    """What packets of the interface begin with. Raises `InterfaceGoneError`, `UnsupportedError`."""
    with _open_socket() as asking:
        _bind(asking, name, 0)
        kind = asking.getsockname()[3]
    if kind not in LINK_TYPES:
        raise UnsupportedError(
            errno.EOPNOTSUPP, f"{name} is no TUN, TAP or Ethernet interface (ARPHRD {kind})"
        )
    return LINK_TYPES[kind]


class PacketRing(Closing):
    """What passes on an interface of this network namespace: what `filter` (classic BPF) keeps.

    `size` bytes wait for the reader; what finds no place is dropped, and counted.
    Raises `NotPermittedError` without CAP_NET_RAW, `InterfaceGoneError` where
    there is no such interface.
    """

    def __init__(self, name: str, *, filter: bytes = EVERYTHING, size: int = 64 << 20) -> None:
        self.name = name
        self.received = 0
        """Packets that matched, those that were dropped among them."""
        self.dropped = 0
        self._socket = _open_socket()
        try:
            self._map = self._set_up(filter, max(2, size // BLOCK_SIZE))
            _bind(self._socket, name, ETH_P_ALL)
        except BaseException:
            self._socket.close()
            raise
        self._blocks = len(self._map) // BLOCK_SIZE
        self._next = 0

    def _set_up(self, filter: bytes, blocks: int) -> mmap.mmap:
        set_option = self._socket.setsockopt
        set_option(SOL_PACKET, PACKET_VERSION, TPACKET_V3)
        set_option(SOL_PACKET, PACKET_VNET_HDR, 1)
        self._attach(filter)
        frames = blocks * (BLOCK_SIZE // FRAME_SIZE)
        request = REQUEST.pack(BLOCK_SIZE, blocks, FRAME_SIZE, frames, BLOCK_TIMEOUT, 0, 0)
        set_option(SOL_PACKET, PACKET_RX_RING, request)
        return mmap.mmap(self._socket.fileno(), blocks * BLOCK_SIZE)

    def _attach(self, filter: bytes) -> None:
        instructions = create_string_buffer(filter, len(filter))
        # struct sock_fprog (linux/filter.h)
        program = struct.pack("@HP", len(filter) // 8, addressof(instructions))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)

    def stop(self) -> None:
        """Let nothing more in. What waits can still be read."""
        self._attach(keeping(0))

    def read(
        self, timeout: float | None, *interrupts: Interrupt, take: Take | None = None
    ) -> Iterator[Captured]:
        """The packets of one block, the oldest; none after so many seconds, or when interrupted.

        Without those that `take` takes.
        Raises `InterfaceGoneError`. An interface that is down is waited for.
        """
        at = self._next * BLOCK_SIZE
        if not self._wait(at, timeout, interrupts):
            return
        yield from packets_in(self._map, at, take)
        STATUS.pack_into(self._map, at + STATUS_OFFSET, 0)  # TP_STATUS_KERNEL
        self._next = (self._next + 1) % self._blocks

    def _wait(self, at: int, timeout: float | None, interrupts: tuple[Interrupt, ...]) -> bool:
        """Whether the kernel handed over the block there."""
        deadline = None if timeout is None else time.monotonic() + timeout
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        for interrupt in interrupts:
            poll.register(interrupt.fileno(), select.POLLIN)
        while not is_ready(self._map, at):
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            found = dict(poll.poll(left if left is None else left * 1000))
            if found.get(self._socket.fileno(), 0) & select.POLLERR:
                self._check()  # it was down, which says nothing of packets
            elif not found or set(found) != {self._socket.fileno()}:
                return is_ready(self._map, at)
        return True

    def _check(self) -> None:
        """Raise `InterfaceGoneError` unless the interface is only down."""
        self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not self._socket.getsockname()[0]:  # it is bound to none any more
            raise InterfaceGoneError(errno.ENODEV, f"interface {self.name} was deleted")

    def count(self) -> None:
        """Add to `received` and `dropped` what the kernel counted since the last call."""
        statistics = self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, STATISTICS.size)
        received, dropped, _ = STATISTICS.unpack(statistics)
        self.received += received
        self.dropped += dropped

    def close(self) -> None:
        """Idempotent."""
        self._map.close()
        self._socket.close()


def is_ready(memory: Memory, block: int) -> bool:
    """Whether the kernel handed over the block there."""
    return bool(STATUS.unpack_from(memory, block + STATUS_OFFSET)[0] & TP_STATUS_USER)


def packets_in(memory: Memory, block: int, take: Take | None) -> Iterator[Captured]:
    """Those of the block there, without what `take` takes, which is asked before each of them."""
    _, left, offset = BLOCK.unpack_from(memory, block + STATUS_OFFSET)
    at = block + offset
    while left:
        if take is not None:
            at, left = take(memory, at, left)
            if not left:
                return
        following, captured = _captured(memory, at)
        yield captured
        at, left = at + following, left - 1


def _captured(memory: Memory, at: int) -> tuple[int, Captured]:
    """The packet there, and how far from it the next one is."""
    following, seconds, nanoseconds, size, original, status, link, _, _, tci, tpid = (
        PACKET.unpack_from(memory, at)
    )
    start = at + link - VirtioNetHeader.SIZE
    tag = b""
    if status & TP_STATUS_VLAN_VALID:
        kind = tpid if status & TP_STATUS_VLAN_TPID_VALID else 0x8100  # 802.1Q
        tag = struct.pack(">HH", kind, tci & 0xFFFF)
    outgoing = memory[at + PACKET_TYPE_OFFSET] == socket.PACKET_OUTGOING
    return following, Captured(
        bytes(memory[start : start + VirtioNetHeader.SIZE + size]),
        original,
        seconds * 1_000_000_000 + nanoseconds,
        OUTBOUND if outgoing else INBOUND,
        tag,
    )


def _open_socket() -> socket.socket:
    """One that gets nothing before it is bound."""
    try:
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    except PermissionError as exc:
        raise NotPermittedError(
            errno.EPERM,
            "capturing takes CAP_NET_RAW: run as root, or in a user namespace (unshare -Urn)",
        ) from exc


def _bind(packets: socket.socket, name: str, protocol: int) -> None:
    try:
        packets.bind((name, protocol))
    except OSError as exc:
        if exc.errno != errno.ENODEV:
            raise
        known = ", ".join(sorted(each for _, each in socket.if_nameindex()))
        raise InterfaceGoneError(
            errno.ENODEV, f"no interface is called {name} here; there are: {known}"
        ) from exc


def with_tag(packet: bytes | memoryview, tag: bytes) -> bytes | memoryview:
    """The Ethernet frame with its VLAN tag where it belongs."""
    if not tag:
        return packet
    return b"".join((packet[:ADDRESSES_SIZE], tag, packet[ADDRESSES_SIZE:]))
