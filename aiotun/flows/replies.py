"""Packets that answer others: TCP resets, ICMP errors, echo replies, UDP datagrams (sans-I/O).

They are whole packets, their checksums complete.
"""

from __future__ import annotations

import struct

from ..errors import OffloadError
from ..offload import checksum, gso_split
from ..offload.checksum import pseudo_header_sum
from ..offload.headers import TCP, UDP
from .translate import FRAGMENT, addresses_of

__all__ = [
    "HOST",
    "ICMP",
    "PORT",
    "DatagramWriter",
    "echo_reply",
    "give_up",
    "icmp_packet",
    "icmp_sums_up",
    "ip_packet",
    "reset",
    "unreachable",
    "with_checksum",
]

# IANA protocol numbers, by IP version.
ICMP = {4: 1, 6: 58}

TTL = 64
"""RFC 1700's default, and Linux'."""

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10

# Type and code of "unreachable", by IP version (RFC 792, RFC 4443 section 3.1).
PORT = {4: (3, 3), 6: (1, 4)}
HOST = {4: (3, 1), 6: (1, 3)}

QUOTED = {4: 576 - 20 - 8, 6: 1280 - 40 - 8}
"""Bytes of the packet in question that an ICMP error has (RFC 1812 section 4.3.2.3, RFC 4443
section 3.1)."""

ECHO = {4: (8, 0), 6: (128, 129)}
"""Types of echo request and reply (RFC 792, RFC 4443 section 4)."""

DF, MORE_FRAGMENTS = 0x4000, 0x2000


def ip_packet(
    source: bytes,
    destination: bytes,
    protocol: int,
    payload: bytes,
    *,
    identification: int = 0,
    fragment: int = DF,
) -> bytes:
    """An IP packet of the version that the addresses are of; IPv4's last two fields are its own."""
    if len(source) == 16:
        return struct.pack("!IHBB", 6 << 28, len(payload), protocol, TTL) + (
            source + destination + payload
        )
    length = 20 + len(payload)
    head = struct.pack("!BBHHHBB", 0x45, 0, length, identification, fragment, TTL, protocol)
    own = checksum(head + source + destination)
    return b"".join((head, own.to_bytes(2, "big"), source, destination, payload))


def with_checksum(addresses: bytes, protocol: int, payload: bytes, offset: int) -> bytes:
    """A transport header and what follows, the checksum at `offset` (0 until now) filled in."""
    value = checksum(payload, pseudo_header_sum(addresses, protocol, len(payload)))
    if protocol == UDP:
        value = value or 0xFFFF  # zero means "no checksum" (RFC 768)
    return payload[:offset] + value.to_bytes(2, "big") + payload[offset + 2 :]


def reset(frame: bytes, transport: int, key: bytes) -> bytes | None:
    """The reset that a TCP packet gets where there is no connection (RFC 9293 section 3.5.2).

    None for a reset, which gets none, and for what is no whole TCP header.
    """
    if transport + 20 > len(frame):
        return None
    flags = frame[transport + 13]
    payload = len(frame) - transport - (frame[transport + 12] >> 4) * 4
    if flags & RST or payload < 0:
        return None
    sequence, acknowledgment = struct.unpack_from("!II", frame, transport + 4)
    if flags & ACK:
        sequence, acknowledgment, answer = acknowledgment, 0, RST
    else:
        passed = payload + bool(flags & SYN) + bool(flags & FIN)
        sequence, acknowledgment, answer = 0, (sequence + passed) & 0xFFFFFFFF, RST | ACK
    return _bare(key, sequence, acknowledgment, answer)


def _bare(key: bytes, sequence: int, acknowledgment: int, flags: int) -> bytes:
    """A TCP packet without options and payload, to where packets with this key come from."""
    source, destination, sport, dport = addresses_of(key)
    addresses = destination + source
    header = struct.pack(
        "!HHIIBBHHH", dport, sport, sequence, acknowledgment, 5 << 4, flags, 0, 0, 0
    )
    return ip_packet(destination, source, TCP, with_checksum(addresses, TCP, header, 16))


def give_up(reverse: bytes, sequence: int) -> bytes:
    """The reset with which the client of a connection gives up what has only begun.

    `reverse` is the key of the packets that go to the client, `sequence` the one that is next.
    """
    return _bare(reverse, sequence, 0, RST)


def unreachable(frame: bytes, key: bytes, reason: dict[int, tuple[int, int]]) -> bytes | None:
    """The ICMP error about a packet, from where the packet was to go: `PORT` or `HOST`."""
    source, destination, _, _ = addresses_of(key)
    version = 4 if len(source) == 4 else 6
    try:
        packet = gso_split(frame)[0]  # whose checksum is complete
    except OffloadError:
        return None
    kind, code = reason[version]
    return icmp_packet(destination, source, kind, code, bytes(4), packet[: QUOTED[version]])


def icmp_packet(
    source: bytes, destination: bytes, kind: int, code: int, rest: bytes, body: bytes
) -> bytes:
    """An ICMP or ICMPv6 packet; `rest` are the four bytes behind its checksum."""
    message = bytes((kind, code, 0, 0)) + rest + body
    if len(source) == 16:
        message = with_checksum(source + destination, ICMP[6], message, 2)
        return ip_packet(source, destination, ICMP[6], message)
    message = message[:2] + checksum(message).to_bytes(2, "big") + message[4:]
    return ip_packet(source, destination, ICMP[4], message, fragment=0)


def icmp_sums_up(addresses: bytes, message: bytes) -> bool:
    """Whether the checksum of an ICMP message is right; addresses as in `pseudo_header_sum`."""
    if len(addresses) == 8:
        return not checksum(message)
    return not checksum(message, pseudo_header_sum(addresses, ICMP[6], len(message)))


def echo_reply(source: bytes, destination: bytes, message: bytes) -> bytes | None:
    """The reply to an ICMP message from `source` to `destination`, if it is an echo request."""
    request, reply = ECHO[4 if len(source) == 4 else 6]
    if len(message) < 8 or message[:2] != bytes((request, 0)):
        return None
    return icmp_packet(destination, source, reply, 0, message[4:8], message[8:])


class DatagramWriter:
    """Makes the UDP packets of one conversation, from the destination to the client."""

    def __init__(self, key: bytes) -> None:
        """`key` is that of the client's packets."""
        client, destination, sport, dport = addresses_of(key)
        self._source, self._destination = destination, client
        self._ports = struct.pack("!HH", dport, sport)
        self._header = 20 if len(client) == 4 else 40
        self._addresses = destination + client
        self._identification = 0

    @property
    def payload_max(self) -> int:
        """Bytes of payload that one datagram may have (RFC 768, RFC 8200 section 3)."""
        return 65535 - 8 - (20 if self._header == 20 else 0)

    def packets(self, data: bytes, mtu: int) -> list[bytes]:
        """The datagram as one packet, or as fragments that the MTU has room for."""
        length = 8 + len(data)
        datagram = with_checksum(
            self._addresses, UDP, self._ports + struct.pack("!HH", length, 0) + data, 6
        )
        if self._header + length <= mtu:
            return [ip_packet(self._source, self._destination, UDP, datagram)]
        return self._fragments(datagram, mtu)

    def _fragments(self, datagram: bytes, mtu: int) -> list[bytes]:
        """RFC 791 section 3.2, RFC 8200 section 4.5."""
        self._identification = (self._identification + 1) & 0xFFFF
        v4 = self._header == 20
        room = (mtu - self._header - (0 if v4 else 8)) // 8 * 8
        fragments = []
        for offset in range(0, len(datagram), room):
            part = datagram[offset : offset + room]
            more = offset + room < len(datagram)
            if v4:
                fragments.append(
                    ip_packet(
                        self._source,
                        self._destination,
                        UDP,
                        part,
                        identification=self._identification,
                        fragment=offset // 8 | (MORE_FRAGMENTS if more else 0),
                    )
                )
            else:
                head = struct.pack("!BBHI", UDP, 0, offset | more, self._identification)
                fragments.append(ip_packet(self._source, self._destination, FRAGMENT, head + part))
        return fragments
