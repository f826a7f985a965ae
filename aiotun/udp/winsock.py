"""A UDP socket of Windows: many datagrams in one call, by USO and URO, with addresses and ECN.

UDP_SEND_MSG_SIZE with WSASendMsg and UDP_RECV_MAX_COALESCED_SIZE with WSARecvMsg are described in
"Winsock socket options (IPPROTO_UDP)" of Microsoft's reference; their numbers stand in msquic's
datapath_winuser.c, as mingw's headers have none of them. What IP_ECN takes stands in
draft-ietf-tsvwg-udp-ecn. Nobody has run it on Windows yet, so it is used where it was seen to work
over the loopback (`works_here`).
"""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes
import logging
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from ctypes import POINTER, byref, c_uint32, c_void_p
from functools import cache, lru_cache, partial
from ipaddress import ip_address
from socket import AF_INET, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_UDP, inet_ntop, inet_pton

from ..platforms.windows.structs import GUID, WSABUF, WSAMSG
from .address import from_socket, is_v4, peer_name, to_socket
from .cmsg import ControlMessage, Received, host_of
from .messages import Message
from .probing import HOST, loopback_pair, what_comes
from .protocol import Datagram, DatagramTrain, SocketAddress, UdpCounters

__all__ = ["Winsock", "WinsockUdpSocket", "works_here"]

logger = logging.getLogger("aiotun")

UDP_SEND_MSG_SIZE, UDP_RECV_MAX_COALESCED_SIZE = 2, 3
"""Of setsockopt, the former of a control message too."""
UDP_COALESCED_INFO = 3
"""Of a control message: bytes of each of the datagrams but the last."""

# ws2ipdef.h: the same numbers at IPPROTO_IP and IPPROTO_IPV6, of setsockopt and control messages.
PKTINFO = 19
ECN = 50
"""From Windows 11 and Server 2022 on."""

COALESCED_MAX = 65_535
CONTROL_MAX = 128

# winsock2.h, mswsock.h
SIO_GET_EXTENSION_FUNCTION_POINTER = 0xC8000006
WSAID_WSARECVMSG = GUID(
    0xF689D7C8, 0x6F1F, 0x436B, (0x8A, 0x53, 0xE5, 0x4F, 0xE3, 0x51, 0xC3, 0x22)
)
WSAENOTSOCK, WSAEWOULDBLOCK = 10038, 10035

HEAD = struct.Struct("=Qii")
"""WSACMSGHDR on 64 bits; its data comes next, and another at a multiple of UNIT."""
UNIT = 8
DWORD = struct.Struct("=I")

PACKED = {IPPROTO_IP: 4, IPPROTO_IPV6: 16}
"""Bytes of an address, by level."""

SOCKADDR_IN, SOCKADDR_IN6 = struct.Struct("=H2s4s8x"), struct.Struct("=H2s4s16sI")
AF_INET6 = 23


class Winsock:
    """The two calls. They raise `OSError`, `BlockingIOError` where they would wait."""

    def __init__(self) -> None:
        self._library = ctypes.WinDLL("ws2_32.dll", use_last_error=True, winmode=0x800)
        self._library.WSASendMsg.argtypes = [
            *(c_void_p, POINTER(WSAMSG), c_uint32, POINTER(c_uint32), c_void_p, c_void_p),
        ]
        self._receive: Callable[..., int] | None = None
        self._room = ctypes.create_string_buffer(COALESCED_MAX)
        self._name = ctypes.create_string_buffer(SOCKADDR_IN6.size)
        self._control = ctypes.create_string_buffer(CONTROL_MAX)

    def send(self, fd: int, parts: Sequence[bytes], name: bytes | None, control: bytes) -> None:
        buffers = (WSABUF * len(parts))()
        for buffer, part in zip(buffers, parts, strict=True):
            buffer.len, buffer.buf = len(part), ctypes.cast(ctypes.c_char_p(part), c_void_p)
        message = WSAMSG(lpBuffers=ctypes.addressof(buffers), dwBufferCount=len(parts))
        if name is not None:
            message.name, message.namelen = ctypes.cast(ctypes.c_char_p(name), c_void_p), len(name)
        if control:
            message.Control.buf = ctypes.cast(ctypes.c_char_p(control), c_void_p)
            message.Control.len = len(control)
        sent = c_uint32()
        if self._library.WSASendMsg(fd, byref(message), 0, byref(sent), None, None):
            raise ctypes.WinError(ctypes.get_last_error())

    def receive(self, fd: int) -> tuple[bytes, bytes, bytes]:
        """What came, the address that it came from, and the control messages."""
        receive = self._receive
        if receive is None:
            self._receive = receive = self._find_receive(fd)
        buffer = WSABUF(len(self._room), ctypes.addressof(self._room))
        message = WSAMSG(
            name=ctypes.addressof(self._name),
            namelen=len(self._name),
            lpBuffers=ctypes.addressof(buffer),
            dwBufferCount=1,
            Control=WSABUF(len(self._control), ctypes.addressof(self._control)),
        )
        count = c_uint32()
        if receive(fd, byref(message), byref(count), None, None):
            raise ctypes.WinError(ctypes.get_last_error())
        return (
            ctypes.string_at(self._room, count.value),
            ctypes.string_at(self._name, message.namelen),
            ctypes.string_at(self._control, message.Control.len),
        )

    def _find_receive(self, fd: int) -> Callable[..., int]:
        """WSARecvMsg, which no library exports."""
        found, size = c_void_p(), c_uint32()
        self._library.WSAIoctl.argtypes = [
            *(c_void_p, c_uint32, c_void_p, c_uint32, c_void_p, c_uint32, POINTER(c_uint32)),
            *(c_void_p, c_void_p),
        ]
        if self._library.WSAIoctl(
            *(fd, SIO_GET_EXTENSION_FUNCTION_POINTER, byref(WSAID_WSARECVMSG)),
            *(ctypes.sizeof(GUID), byref(found), ctypes.sizeof(found), byref(size), None, None),
        ):
            raise ctypes.WinError(ctypes.get_last_error())
        kind = ctypes.WINFUNCTYPE(
            *(ctypes.c_int, c_void_p, POINTER(WSAMSG), POINTER(c_uint32), c_void_p, c_void_p),
            use_last_error=True,
        )
        assert found.value is not None
        return kind(found.value)


@lru_cache(maxsize=1024)
def packed_address(address: tuple[str | int, ...]) -> bytes:
    """A sockaddr of what Python's sockets take: of IPv6 the last two items may be left out."""
    host, port = str(address[0]), int(address[1]).to_bytes(2, "big")
    if ":" not in host:
        return SOCKADDR_IN.pack(AF_INET, port, inet_pton(AF_INET, host))
    flow, scope = map(int, (*address[2:], 0, 0)[:2])
    packed = inet_pton(socket.AF_INET6, host.partition("%")[0])
    return SOCKADDR_IN6.pack(AF_INET6, port, flow.to_bytes(4, "big"), packed, scope)


@lru_cache(maxsize=1024)
def unpacked_address(raw: bytes) -> SocketAddress:
    if len(raw) < SOCKADDR_IN6.size:
        _, port, packed = SOCKADDR_IN.unpack_from(raw)
        return from_socket((inet_ntop(AF_INET, packed), int.from_bytes(port, "big")))
    _, port, flow, packed, scope = SOCKADDR_IN6.unpack(raw)
    host = inet_ntop(socket.AF_INET6, packed)
    return from_socket((host, int.from_bytes(port, "big"), int.from_bytes(flow, "big"), scope))


@lru_cache(maxsize=1024)
def encode(level: int, local: str | None, ecn: int, segment: int) -> bytes:
    """The control messages by which a call sends from this address and with this ECN field, and
    in datagrams of so many bytes (0: one). `level` is that of the IP version."""
    messages: list[ControlMessage] = []
    if segment:
        messages.append((IPPROTO_UDP, UDP_SEND_MSG_SIZE, DWORD.pack(segment)))
    if local is not None:  # IN_PKTINFO, IN6_PKTINFO: out of whatever interface
        address = inet_pton(AF_INET if level == IPPROTO_IP else socket.AF_INET6, local)
        messages.append((level, PKTINFO, address + DWORD.pack(0)))
    if ecn:
        messages.append((level, ECN, DWORD.pack(ecn)))
    return b"".join(map(_padded, messages))


def _padded(message: ControlMessage) -> bytes:
    level, kind, data = message
    whole = HEAD.pack(HEAD.size + len(data), level, kind) + data
    return whole.ljust(-(-len(whole) // UNIT) * UNIT, b"\0")


@lru_cache(maxsize=256)
def decode(control: bytes) -> Received:
    """What the control messages say of what was received, up to the first that cannot be."""
    segment, local, ecn = 0, None, 0
    for level, kind, data in _messages(control):
        if (level, kind) == (IPPROTO_UDP, UDP_COALESCED_INFO) and len(data) >= DWORD.size:
            (segment,) = DWORD.unpack_from(data)
        elif level in PACKED and kind == PKTINFO and len(data) >= PACKED[level]:
            local = host_of(data[: PACKED[level]])
        elif level in PACKED and kind == ECN and len(data) >= DWORD.size:
            ecn = DWORD.unpack_from(data)[0] & 3
    return Received(segment, local, ecn)


def _messages(control: bytes) -> Iterator[ControlMessage]:
    at = 0
    while at + HEAD.size <= len(control):
        size, level, kind = HEAD.unpack_from(control, at)
        if not HEAD.size <= size <= len(control) - at:
            return
        yield level, kind, control[at + HEAD.size : at + size]
        at += -(-size // UNIT) * UNIT


class WinsockUdpSocket:
    """Sends and receives messages; never blocks.

    What the system refuses is dropped, counted and reported. A message of many datagrams that it
    refuses is sent one by one: nothing is lost with it.
    """

    def __init__(
        self,
        sock: socket.socket,
        counters: UdpCounters,
        report: Callable[[OSError], None],
        winsock: Winsock | None = None,
    ) -> None:
        self._sock = sock
        self._counters = counters
        self._report = report
        self._winsock = winsock or Winsock()
        self._family = int(sock.family)
        self._remote = peer_name(sock)
        self._any = ip_address(sock.getsockname()[0].partition("%")[0]).is_unspecified
        """Whether it is bound to no address: only then the source can be chosen."""
        self.gso = self._set(IPPROTO_UDP, UDP_SEND_MSG_SIZE, 0)
        self.gro = self._set(IPPROTO_UDP, UDP_RECV_MAX_COALESCED_SIZE, COALESCED_MAX)
        # A socket of IPv6 may have IPv4 as well, which takes the options of both.
        levels = PACKED if self._family == AF_INET6 else (IPPROTO_IP,)
        self._knows = {
            (level, kind)
            for level in levels
            for kind in (PKTINFO, ECN)
            if self._set(level, kind, 1)
        }
        """What is told of datagrams that come, and taken of those to send: others are refused."""

    def _set(self, level: int, option: int, value: int) -> bool:
        try:
            self._sock.setsockopt(level, option, value)
        except OSError:
            return False
        return True

    def receive(self, limit: int) -> list[Datagram]:
        return [each for train in self.receive_trains(limit) for each in train.datagrams()]

    def receive_trains(self, limit: int) -> list[DatagramTrain]:
        counters, fd = self._counters, self._sock.fileno()
        trains: list[DatagramTrain] = []
        count = errors = 0
        while count + errors < limit:
            try:
                data, source, control = self._winsock.receive(fd)
            except BlockingIOError:
                break
            except OSError as exc:
                if exc.winerror == WSAENOTSOCK:
                    raise
                errors += 1  # what ICMP said about an earlier datagram
                self._report(exc)
                continue
            segment, local, ecn = decode(control)
            if segment >= len(data):
                segment = 0
            trains.append(DatagramTrain(data, segment, unpacked_address(source), local, ecn))
            count += -(-len(data) // segment) if segment else 1
            counters.bytes_received += len(data)
        counters.messages_received += len(trains)
        counters.datagrams_received += count
        return trains

    def send(self, messages: list[Message]) -> None:
        done = 0
        try:
            while done < len(messages):
                message = messages[done]
                try:
                    self._send(message)
                except BlockingIOError:
                    break
                except OSError as exc:
                    if exc.winerror == WSAENOTSOCK:
                        raise
                    left = self._send_singly(message, exc)
                    if left:
                        messages[done : done + 1] = left
                        break
                else:
                    self._counters.messages_sent += 1
                done += 1
        finally:
            del messages[:done]

    def _send(self, message: Message) -> None:
        addr, local, ecn, datagrams, segment = message
        if len(datagrams) > 1:
            segment = len(datagrams[0])
        name = None
        if not self._remote:
            assert addr is not None
            name = packed_address(to_socket(addr, self._family))
        level = IPPROTO_IP if is_v4((addr or self._remote or [""])[0]) else IPPROTO_IPV6
        if not self._any or (level, PKTINFO) not in self._knows:
            local = None
        control = encode(level, local, ecn if (level, ECN) in self._knows else 0, segment)
        self._winsock.send(self._sock.fileno(), datagrams, name, control)

    def _send_singly(self, message: Message, refusal: OSError) -> list[Message]:
        """What can be sent of a refused message; what is left of it to send."""
        if message.number == 1:
            self._counters.dropped_sent += 1
            self._report(refusal)
            return []
        message = message.taken_apart()
        singles = [message._replace(datagrams=[datagram]) for datagram in message.datagrams]
        dropped = self._counters.dropped_sent
        self.send(singles)
        if self.gso and not singles and self._counters.dropped_sent == dropped:
            self.gso = False
            logger.warning(
                "Windows refuses UDP_SEND_MSG_SIZE (%s) and takes the datagrams: "
                "they are sent one by one from now on",
                refusal.strerror,
            )
        return singles


@cache
def works_here(winsock: Winsock | None = None) -> bool:
    """Whether datagrams that are sent in one call, with an address and an ECN field, arrive over
    the loopback as they were. Blocks for a second where they do not."""
    datagrams = [bytes([number]) * 100 for number in range(3)] + [b"last"]
    errors: list[OSError] = []
    try:
        with loopback_pair() as pair:
            near, far = (WinsockUdpSocket(s, UdpCounters(), errors.append, winsock) for s in pair)
            if not (near.gro and far.gso):
                return False
            far.send([Message(pair[0].getsockname(), HOST, 1, datagrams)])
            receive = partial(near.receive, len(datagrams))
            received = what_comes(pair[0], receive, len(datagrams))
            return [each.data for each in received] == datagrams and far.gso and not errors
    except OSError:
        return False
