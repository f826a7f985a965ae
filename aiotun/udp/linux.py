"""A Linux UDP socket: many datagrams in one system call (UDP_SEGMENT and UDP_GRO in udp(7))."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import errno
import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from socket import AF_INET6, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_UDP

from ..errors import PathMTUError
from ..native import native
from ..trains import cut
from .address import from_socket, is_v4, peer_name, to_socket
from .cmsg import (
    ANCILLARY_MAX,
    IP_MTU,
    IP_MTU_DISCOVER,
    IP_PKTINFO,
    IP_PMTUDISC_DO,
    IP_PMTUDISC_PROBE,
    IP_RECVERR,
    IP_RECVTOS,
    IPV6_MTU,
    IPV6_MTU_DISCOVER,
    IPV6_RECVERR,
    IPV6_RECVPKTINFO,
    IPV6_RECVTCLASS,
    UDP_GRO,
    UDP_SEGMENT,
    decode,
    encode,
    error_mtu,
)
from .messages import Message
from .protocol import Datagram, DatagramTrain, SocketAddress, UdpCounters

__all__ = ["UdpSocket", "receive_datagrams", "receive_trains", "send_messages"]

logger = logging.getLogger("aiotun")

RECEIVE_MAX = 65_536
"""More than the largest datagram: UDP's length field has 16 bits."""

ERROR_MAX = 512
"""Bytes for the control messages of the error queue: an error and a socket address in each."""

GSO_REFUSED = frozenset({errno.EMSGSIZE, errno.EINVAL, errno.EIO})
"""What a message of many datagrams is refused with where its datagrams may be taken: segments
that the path does not carry whole (EINVAL of older kernels), a route without the offload."""

CLOSED = frozenset({errno.EBADF, errno.ENOTSOCK})
"""What a descriptor gives that somebody else has closed."""


def receive_trains(sock: socket.socket, limit: int) -> tuple[list[DatagramTrain], int, int, int]:
    """See `_native.pyi`."""
    trains: list[DatagramTrain] = []
    count = total = 0
    while count < limit:
        try:
            data, ancillary, _, source = sock.recvmsg(RECEIVE_MAX, ANCILLARY_MAX)
        except OSError as exc:
            return trains, count, total, exc.errno or errno.EIO
        segment, local, ecn = decode(ancillary)
        trains.append(DatagramTrain(data, segment, from_socket(source), local, ecn))
        count += len(cut(data, segment))
        total += len(data)
    return trains, count, total, 0


def receive_datagrams(sock: socket.socket, limit: int) -> tuple[list[Datagram], int, int, int]:
    """See `_native.pyi`."""
    trains, _, total, number = receive_trains(sock, limit)
    datagrams = [datagram for train in trains for datagram in train.datagrams()]
    return datagrams, len(trains), total, number


def send_messages(
    sock: socket.socket,
    family: int,
    remote: SocketAddress | None,
    messages: list[Message],
    start: int,
) -> tuple[int, int]:
    """See `_native.pyi`."""
    for at in range(start, len(messages)):
        try:
            _send_message(sock, family, remote, messages[at])
        except OSError as exc:
            return at - start, exc.errno or errno.EIO
        except Exception:
            if at == start:
                raise
            return at - start, 0
    return len(messages) - start, 0


def _send_message(
    sock: socket.socket, family: int, remote: SocketAddress | None, message: Message
) -> None:
    addr, local, ecn, datagrams, segment = message
    if len(datagrams) > 1:
        segment = len(datagrams[0])
    host = (addr or remote or [""])[0]  # the transport has checked that there is one
    ancillary = encode(is_v4(host), local, ecn, segment)
    if addr is None:
        sock.sendmsg(datagrams, ancillary)
    else:
        sock.sendmsg(datagrams, ancillary, 0, to_socket(addr, family))


class UdpSocket:
    """Sends and receives messages; never blocks.

    What the kernel refuses is dropped, counted and reported. A message of many
    datagrams that it refuses is sent one by one: nothing is lost with it.
    """

    def __init__(
        self,
        sock: socket.socket,
        counters: UdpCounters,
        report: Callable[[OSError], None],
    ) -> None:
        self._sock = sock
        self._counters = counters
        self._report = report
        self._family = int(sock.family)  # the enumeration's own hash is slow
        self._v6 = self._family == AF_INET6
        self._remote = peer_name(sock)
        self._set_both(IP_RECVTOS, IPV6_RECVTCLASS, 1)
        if self._v6:  # for IPv4 too: it gives a mapped address
            sock.setsockopt(IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(IPPROTO_IP, IP_PKTINFO, 1)
        self.gso = self._try(lambda: sock.getsockopt(IPPROTO_UDP, UDP_SEGMENT))  # Linux 4.18
        self.gro = self._try(lambda: sock.setsockopt(IPPROTO_UDP, UDP_GRO, 1))  # Linux 5.0

    @property
    def dont_fragment(self) -> bool:
        level, option = (
            (IPPROTO_IPV6, IPV6_MTU_DISCOVER) if self._v6 else (IPPROTO_IP, IP_MTU_DISCOVER)
        )
        return self._sock.getsockopt(level, option) in (IP_PMTUDISC_DO, IP_PMTUDISC_PROBE)

    @staticmethod
    def _try(option: Callable[[], object]) -> bool:
        try:
            option()
        except OSError:
            return False
        return True

    def _set_both(self, option: int, option6: int, value: int) -> None:
        """A dual-stack socket has the options of both."""
        self._sock.setsockopt(IPPROTO_IP, option, value)
        if self._v6:
            self._sock.setsockopt(IPPROTO_IPV6, option6, value)

    # Receiving.

    def receive(self, limit: int) -> list[Datagram]:
        """The datagrams that wait, oldest first; empty if none.

        Reading stops once there are `limit` datagrams; the last message may take
        it some beyond. Raises `OSError` for a descriptor that is none any more.
        """
        if native:
            received = native.receive_datagrams(self._sock.fileno(), limit, Datagram)
        else:
            received = receive_datagrams(self._sock, limit)
        datagrams, messages, size, number = received
        self._count(len(datagrams), messages, size, number)
        return datagrams

    def receive_trains(self, limit: int) -> list[DatagramTrain]:
        """The same as they came; `limit` is of datagrams."""
        if native:
            received = native.receive_trains(self._sock.fileno(), limit, DatagramTrain)
        else:
            received = receive_trains(self._sock, limit)
        return self.take(*received)

    def take(
        self, trains: list[DatagramTrain], datagrams: int, size: int, number: int
    ) -> list[DatagramTrain]:
        """Count what was received elsewhere, and report the error with which that ended."""
        self._count(datagrams, len(trains), size, number)
        if number == errno.ENOMEM:
            made = sum(len(cut(each.data, each.segment)) for each in trains)
            self._counters.dropped_received += datagrams - made
        return trains

    def _count(self, datagrams: int, messages: int, size: int, number: int) -> None:
        """Count what was received, and report the error with which that ended."""
        counters = self._counters
        counters.datagrams_received += datagrams
        counters.messages_received += messages
        counters.bytes_received += size
        if number not in (0, errno.EAGAIN):
            exc = OSError(number, os.strerror(number))
            if number in CLOSED:
                raise exc
            self._report(self._explain(exc))  # of an earlier datagram: it is told once

    # Sending.

    def send(self, messages: list[Message]) -> None:
        """Send messages, in order; what the kernel does not take for now stays in the list.

        Raises `OSError` for a descriptor that is none any more, and what the first message
        raises that is left in the list.
        """
        done = 0
        try:
            while done < len(messages):
                if native:
                    sent, number = native.send_messages(
                        self._sock.fileno(), self._family, self._remote, messages, done
                    )
                else:
                    sent, number = send_messages(
                        self._sock, self._family, self._remote, messages, done
                    )
                self._counters.messages_sent += sent
                done += sent
                if number == errno.EAGAIN:
                    break
                if number:
                    left = self._send_again(messages[done], OSError(number, os.strerror(number)))
                    if left:
                        messages[done : done + 1] = left
                        break
                    done += 1
        finally:
            del messages[:done]

    def _send(self, message: Message) -> None:
        _send_message(self._sock, self._family, self._remote, message)
        self._counters.messages_sent += 1

    def _send_each(self, message: Message) -> list[Message]:
        messages = [message._replace(datagrams=[datagram]) for datagram in message.datagrams]
        self.send(messages)
        return messages

    def _send_again(self, message: Message, exc: OSError) -> list[Message]:
        """Send what can be sent of a refused message, and drop the rest; what is left to send."""
        if exc.errno in CLOSED:
            raise exc
        message = message.taken_apart()
        if self._remote:  # then it may be the error of an earlier datagram, told now
            try:
                self._send(message)
            except BlockingIOError:
                self._report(self._explain(exc))
                return [message]
            except OSError as again:
                exc = again
            else:
                self._report(self._explain(exc))
                return []
        many = len(message.datagrams) > 1
        if many and not self.gso:  # it was made before that was known
            return self._send_each(message)
        if (many and exc.errno in GSO_REFUSED) or (
            exc.errno == errno.EMSGSIZE and self.dont_fragment
        ):
            return self._send_singly(message, exc)
        self._drop(message, exc)
        return []

    def _send_singly(self, message: Message, refusal: OSError) -> list[Message]:
        """Find out why with the first datagram, and go on with the others as far as they fit."""
        first, *others = message.datagrams
        try:
            self._send_whole(message._replace(datagrams=[first]))
        except BlockingIOError:
            return [message]
        except PathMTUError as exc:
            self._report(exc)
            if not self.dont_fragment:
                return self._send_each(message)
            shorter = [datagram for datagram in others if len(datagram) < len(first)]
            self._counters.dropped_sent += 1 + len(others) - len(shorter)
            return self._send_each(message._replace(datagrams=shorter))
        except OSError as exc:
            self._drop(message, exc)
            return []
        dropped = self._counters.dropped_sent
        left = self._send_each(message._replace(datagrams=others))
        taken = not left and self._counters.dropped_sent == dropped
        if taken and refusal.errno != errno.EMSGSIZE:
            self.gso = False
            logger.warning(
                "the kernel refuses UDP_SEGMENT (%s) and takes the datagrams: "
                "they are sent one by one from now on",
                refusal.strerror,
            )
        return left

    def _send_whole(self, message: Message) -> None:
        """Send one datagram, unfragmented. Raises `PathMTUError` if the path does not carry it.

        The kernel tells the MTU where IP_RECVERR is set (ip(7)), so without a
        second socket, which might be routed in another way.
        """
        options = [(IPPROTO_IP, IP_RECVERR, 1), (IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)]
        if self._v6:
            options += [
                (IPPROTO_IPV6, IPV6_RECVERR, 1),
                (IPPROTO_IPV6, IPV6_MTU_DISCOVER, IP_PMTUDISC_DO),
            ]
        before = [self._sock.getsockopt(level, option) for level, option, _ in options]
        try:
            for each in options:
                self._sock.setsockopt(*each)
            self._send(message)
        except OSError as exc:
            if exc.errno != errno.EMSGSIZE:
                raise
            mtu = self._told_mtu()
        else:
            return
        finally:
            for (level, option, _), value in zip(options, before, strict=True):
                self._sock.setsockopt(level, option, value)
        raise PathMTUError(mtu, message.addr or self._remote)

    def _told_mtu(self) -> int:
        """The MTU in the error queue; 0 if it is not there."""
        with suppress(BlockingIOError):
            while True:
                _, ancillary, _, _ = self._sock.recvmsg(0, ERROR_MAX, socket.MSG_ERRQUEUE)
                if mtu := error_mtu(ancillary):
                    return mtu
        return 0

    def _explain(self, exc: OSError) -> OSError:
        """What ICMP said about earlier datagrams to where the socket is connected."""
        if exc.errno == errno.EMSGSIZE and self._remote:
            level, option = (IPPROTO_IPV6, IPV6_MTU) if self._v6 else (IPPROTO_IP, IP_MTU)
            return PathMTUError(self._sock.getsockopt(level, option), self._remote)
        return exc

    def _drop(self, message: Message, exc: OSError) -> None:
        self._counters.dropped_sent += len(message.datagrams)
        self._report(exc)
