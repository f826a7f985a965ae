"""Datagrams gathered by destination, and the messages in which they leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..native import native
from ..trains import batches, cut
from .address import check_types
from .protocol import SocketAddress

__all__ = ["Message", "Outbox", "Way", "pack"]


class Message(NamedTuple):
    """Datagrams that go to one place in one way, in order."""

    addr: SocketAddress | None
    """None: where the socket is connected to."""
    local: str | None
    ecn: int
    datagrams: list[bytes]
    """Or one train."""
    segment: int = 0
    """Of a train: bytes of each datagram but the last; 0: it is none."""

    @property
    def number(self) -> int:
        """How many datagrams there are."""
        if self.segment:
            return -(-len(self.datagrams[0]) // self.segment)
        return len(self.datagrams)

    def taken_apart(self) -> Message:
        """The same without a train."""
        if not self.segment:
            return self
        return self._replace(datagrams=cut(self.datagrams[0], self.segment), segment=0)


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
            _, last_local, last_ecn, datagrams, _ = run
            if last_local == local and last_ecn == ecn:
                return datagrams
        self._latest[addr] = run = self._begin(addr, local, ecn, [], 0)
        return run[3]

    def train(
        self,
        addr: SocketAddress | None,
        local: str | None,
        ecn: int,
        data: bytes,
        segment: int,
    ) -> None:
        """Add a train of many datagrams."""
        try:
            self._latest.pop(addr, None)  # what comes later goes behind it
        except TypeError:
            check_types(addr)
            raise
        self._begin(addr, local, ecn, [data], segment)

    def _begin(
        self,
        addr: SocketAddress | None,
        local: str | None,
        ecn: int,
        datagrams: list[bytes],
        segment: int,
    ) -> Message:
        way = self._check(addr, local, ecn)
        if way[0] is not addr:
            check_types(addr)  # the port 9.0 equals 9
        # Where each datagram goes elsewhere, a call of Message would be a good part of its cost.
        run = tuple.__new__(Message, (*way, datagrams, segment))
        self._runs.append(run)
        return run

    def take(self) -> list[Message]:
        """All that was gathered, for `pack`: runs of any number of datagrams, and trains.

        The outbox is empty now.
        """
        runs, self._runs, self._latest = self._runs, [], {}
        return runs


def pack(runs: list[Message], many: bool) -> list[Message]:
    """The same as messages that UDP_SEGMENT can send, or of one datagram each."""
    make_batches = _singles if not many else native.batches if native else batches
    messages: list[Message] = []
    for run in runs:
        if run.segment and not many:
            run = run.taken_apart()
        datagrams = run[3]
        if len(datagrams) == 1:
            messages.append(run)
        else:
            messages += [run._replace(datagrams=each) for each in make_batches(datagrams)]
    return messages


def _singles(datagrams: list[bytes]) -> list[list[bytes]]:
    return [[datagram] for datagram in datagrams]
