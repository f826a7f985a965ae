"""Datagrams gathered by destination, and the messages in which they leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..native import native
from .address import check_types
from .protocol import SocketAddress

__all__ = ["Message", "Outbox", "Way", "batches"]

SEGMENTS_MAX = 64
"""Datagrams in one message: UDP_MAX_SEGMENTS of include/linux/udp.h, 128 in newer kernels."""

SIZE_MAX = 65_000
"""Bytes in one message of many: an IP packet's length has 16 bits, and near them the
receiving side no longer joins what was sent together."""


class Message(NamedTuple):
    """Datagrams that go to one place in one way, in order."""

    addr: SocketAddress | None
    """None: where the socket is connected to."""
    local: str | None
    ecn: int
    datagrams: list[bytes]


Way = tuple[SocketAddress | None, str | None, int]
"""Where to and from which local address datagrams go, and with which ECN field."""


class Outbox:
    """Gathers what is sent in a tick; order is kept for each destination.

    `check` is called with address, local address and ECN field before a run of
    datagrams that share them begins; what it raises, `run` raises. It returns them,
    or what equals them and was checked before.
    """

    def __init__(self, check: Callable[[SocketAddress | None, str | None, int], Way]) -> None:
        self._check = check
        self._runs: list[Message] = []
        self._latest: dict[SocketAddress | None, Message] = {}  # of a destination

    def run(self, addr: SocketAddress | None, local: str | None, ecn: int) -> list[bytes]:
        """The list to append datagrams to that go there in that way."""
        try:
            run = self._latest.get(addr)
        except TypeError:  # it cannot be hashed
            check_types(addr)
            raise
        if run is not None:
            _, last_local, last_ecn, datagrams = run
            if last_local == local and last_ecn == ecn:
                return datagrams
        way = self._check(addr, local, ecn)
        if way[0] is not addr:
            check_types(addr)  # the port 9.0 equals 9
        datagrams = []
        # Where each datagram goes elsewhere, a call of Message would be a good part of its cost.
        run = tuple.__new__(Message, (*way, datagrams))
        self._latest[addr] = run
        self._runs.append(run)
        return datagrams

    def pack(self, many: bool) -> list[Message]:
        """All that was gathered, as messages that UDP_SEGMENT can send, or of one datagram each.

        The outbox is empty now.
        """
        runs, self._runs, self._latest = self._runs, [], {}
        make_batches = _singles if not many else native.batches if native else batches
        messages: list[Message] = []
        for run in runs:
            datagrams = run[3]
            if len(datagrams) == 1:
                messages.append(run)
            else:
                messages += [run._replace(datagrams=each) for each in make_batches(datagrams)]
        return messages


def _singles(datagrams: list[bytes]) -> list[list[bytes]]:
    return [[datagram] for datagram in datagrams]


def batches(datagrams: list[bytes]) -> list[list[bytes]]:
    """Cut into runs of equal length, of which the last datagram may be shorter.

    An empty datagram is a run of its own: a segment cannot be empty.
    """
    found: list[list[bytes]] = []
    batch: list[bytes] = []
    segment = size = 0
    for datagram in datagrams:
        length = len(datagram)
        if not (
            batch
            and 0 < length <= segment
            and not size % segment
            and len(batch) < SEGMENTS_MAX
            and size + length <= SIZE_MAX
        ):
            batch = []
            found.append(batch)
            segment, size = length, 0
        batch.append(datagram)
        size += length
    return found
