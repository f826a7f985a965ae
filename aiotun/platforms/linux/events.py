"""What happens to one interface, as rtnetlink announces it to everybody who listens."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import errno
import os
import socket
import struct
from array import array
from collections.abc import Callable
from contextlib import suppress

from ...addresses import Address
from ...errors import TunError
from ...interfaces import AddressAdded, AddressRemoved, Event, InterfaceGone, LinkChanged
from ..base import EventSource
from .inherited import SocketPerProcess
from .netlink import NETLINK_ROUTE, RECEIVE_SIZE, SOL_NETLINK
from .rtnetlink.addresses import RTM_DELADDR, RTM_NEWADDR, decode_address
from .rtnetlink.links import RTM_DELLINK, RTM_NEWLINK, Link, decode_link
from .rtnetlink.messages import Message, decode_messages
from .tun import TunQueue

__all__ = ["NetlinkEvents"]

# linux/rtnetlink.h
RTMGRP_LINK = 0x1
RTMGRP_IPV4_IFADDR = 0x10
RTMGRP_IPV6_IFADDR = 0x100

RTM_DELNSID = 89
RTNLGRP_NSID = 28
"""The numbers that other network namespaces have here; one that ends loses its number."""

# linux/netlink.h
NETLINK_ADD_MEMBERSHIP = 1
NETLINK_LISTEN_ALL_NSID = 8

ENDED = {errno.EINVAL, errno.EBADFD}
"""What one gets who asks for an interface's namespace that has ended, before the interface is
deleted and after that. Another error says nothing: this process may not ask, say."""

NSID_SPACE = socket.CMSG_SPACE(4)
"""What tells from which other namespace a message is: an int."""

SO_ATTACH_FILTER = 26
"""asm-generic/socket.h"""


class NetlinkEvents(SocketPerProcess, EventSource):
    """A socket that wakes up for one interface only, however many others change.

    Each change is reported once, though the kernel repeats itself (an address is
    announced again when the interface is renamed, a link with every flag).

    While the interface is in another namespace only its deletion is reported, and only to
    a process with CAP_NET_BROADCAST (root has it), with CAP_NET_ADMIN there also the end of
    that namespace. Nothing is reported after a second move: reading and writing then fail.
    """

    def __init__(
        self, queue: TunQueue, index: int, state: Callable[[], tuple[Link, list[Address]]]
    ) -> None:
        """`state` is how the interface is now; it raises `TunError` when it is not to be seen."""
        self._queue = queue
        self._index = index
        self._state = state
        self._gone = False
        super().__init__()
        try:
            self._link, addresses = state()
        except BaseException:
            self._socket.close()
            raise
        self._addresses = set(addresses)
        self._lost = False

    def _open(self) -> socket.socket:
        sock = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NETLINK_ROUTE
        )
        try:
            _attach_filter(sock, self._index)  # first, so that nothing else ever gets in
            sock.bind((0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR))
        except BaseException:
            sock.close()
            raise
        self._lost = True  # what happened until now
        return sock

    def fileno(self) -> int:
        with self._lock:
            return self._own().fileno()

    def read(self) -> list[Event]:
        with self._lock:
            return self._read(self._own())

    def _read(self, sock: socket.socket) -> list[Event]:
        """With the lock: what one thread read another is not to get ahead of."""
        events: list[Event] = []
        while not self._gone:
            try:
                data, elsewhere, _, (sender, _) = sock.recvmsg(RECEIVE_SIZE, NSID_SPACE)
            except BlockingIOError:
                break
            except OSError as exc:
                if exc.errno != errno.ENOBUFS:
                    raise
                self._lost = True
                continue
            if sender == 0 and not self._lost:  # port 0 is the kernel
                for message in decode_messages(data):
                    if message.kind == RTM_DELNSID:
                        events += self._on_an_end()
                    elif not elsewhere:
                        events += self._on_message(message)
                    elif message.kind == RTM_DELLINK:
                        events += self._on_absence()
        if self._lost:
            self._lost = False
            events += self._catch_up()
        return events

    def close(self) -> None:
        self._socket.close()

    def _on_message(self, message: Message) -> list[Event]:
        if message.kind in (RTM_NEWLINK, RTM_DELLINK):
            link = decode_link(message.body)
            if link is None or link.index != self._index:
                return []
            if message.kind == RTM_NEWLINK:
                return self._on_link(link)
            self._follow(link.moved_to)
            return self._on_absence()
        if message.kind in (RTM_NEWADDR, RTM_DELADDR):
            found = decode_address(message.body)
            if found is None or found[0] != self._index:
                return []
            return self._on_address(found[1], message.kind == RTM_NEWADDR)
        return []

    def _on_link(self, link: Link) -> list[Event]:
        if link == self._link:
            return []
        self._link = link
        return [LinkChanged(link.name, link.mtu, link.up, link.carrier, link.mac)]

    def _on_address(self, address: Address, present: bool) -> list[Event]:
        if present == (address in self._addresses):
            return []
        if not present:
            self._addresses.remove(address)
            return [AddressRemoved(address)]
        # An IPv6 address is on an interface once: with a new peer it takes the old one's place.
        replaced = [
            known
            for known in self._addresses
            if known.interface.version == 6 and known.interface.ip == address.interface.ip
        ]
        self._addresses.difference_update(replaced)
        self._addresses.add(address)
        return [*map(AddressRemoved, replaced), AddressAdded(address)]

    def _follow(self, index: int | None) -> None:
        """Listen in the namespace to which the interface was moved, too (Linux 4.2)."""
        if index is not None:
            with suppress(OSError):
                self._socket.setsockopt(SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1)
                _attach_filter(self._socket, self._index, index)
                self._look_there()
                self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, RTNLGRP_NSID)

    def _look_there(self) -> None:
        """Raise `OSError` where the interface's namespace has ended, or is not to be asked for."""
        os.close(self._queue.open_namespace())

    def _on_an_end(self) -> list[Event]:
        """A namespace has ended. The kernel deletes the interfaces in it some time later."""
        try:
            self._look_there()
        except OSError as exc:
            self._gone = exc.errno in ENDED
        return [InterfaceGone()] if self._gone else []

    def _on_absence(self) -> list[Event]:
        """Deleted, or only moved to another namespace: then the queue still has it."""
        try:
            _ = self._queue.name
        except TunError:
            self._gone = True
            return [InterfaceGone()]
        return []

    def _catch_up(self) -> list[Event]:
        """The difference between what was reported and what is."""
        try:
            link, addresses = self._state()
        except TunError:
            return self._on_absence()
        events = self._on_link(link)
        for address in self._addresses - set(addresses):
            events += self._on_address(address, False)
        for address in addresses:
            events += self._on_address(address, True)
        return events


def _attach_filter(sock: socket.socket, *indexes: int) -> None:
    """Let through only messages about these interfaces, and such of namespaces that ended.

    It is classic BPF (linux/filter.h).
    struct ifinfomsg and struct ifaddrmsg both have the index at offset 4, after
    the 16 bytes of struct nlmsghdr; every notification is a datagram of its own.
    BPF loads big-endian, netlink writes in the machine's order.
    """
    (kind,) = struct.unpack(">H", struct.pack("=H", RTM_DELNSID))
    instructions = [
        (0x28, 0, 0, 4),  # BPF_LD | BPF_H | BPF_ABS
        (0x15, len(indexes) + 2, 0, kind),  # BPF_JMP | BPF_JEQ | BPF_K
        (0x20, 0, 0, 20),  # BPF_LD | BPF_W | BPF_ABS
    ]
    for left, index in zip(range(len(indexes), 0, -1), indexes, strict=True):
        (value,) = struct.unpack(">I", struct.pack("=I", index))
        instructions.append((0x15, left, 0, value))
    instructions.append((0x06, 0, 0, 0))  # BPF_RET | BPF_K: nothing of it
    instructions.append((0x06, 0, 0, 0xFFFF_FFFF))  # all of it
    program = array("B", b"".join(struct.pack("=HBBI", *each) for each in instructions))
    address, _ = program.buffer_info()
    fprog = struct.pack("@HP", len(instructions), address)  # struct sock_fprog
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, fprog)
