"""The 4 bytes with which some systems' TUN devices tell the IP version of a packet.

aiotun's own devices add and remove them. These codecs are for packets that come
another way: from a descriptor or a program of others, or out of a file.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal

from ..errors import CodecError
from .base import PacketCodec

__all__ = ["AddressFamily", "PacketInformation"]

HEADER = 4
IPV4, IPV6 = 4, 6

ETHERTYPE = {IPV4: 0x0800, IPV6: 0x86DD}
"""linux/if_ether.h: ETH_P_IP, ETH_P_IPV6."""

AF_INET = 2
"""sys/socket.h of all these systems."""

AF_INET6 = {"darwin": 30, "dragonfly": 28, "freebsd": 28, "netbsd": 24, "openbsd": 24}
"""sys/socket.h of each."""


class _VersionHeader(PacketCodec[bytes]):
    """IP packets with one of two headers, which decoding checks and takes away."""

    @abstractmethod
    def header(self, version: int) -> bytes:
        """The header in front of an IPv4 or IPv6 packet."""

    def encode(self, item: bytes) -> bytes:
        version = item[0] >> 4 if item else 0
        if version not in (IPV4, IPV6):
            raise CodecError(f"a packet that is neither IPv4 nor IPv6, but version {version}")
        return self.header(version) + item

    def decode(self, packet: bytes) -> bytes:
        if len(packet) <= HEADER:
            raise CodecError("no packet behind the header", offset=len(packet))
        header, version = packet[:HEADER], packet[HEADER] >> 4
        if version not in (IPV4, IPV6) or header != self.header(version):
            raise CodecError(f"header {header.hex()} in front of a packet of IP version {version}")
        return packet[HEADER:]


@dataclass(frozen=True)
class PacketInformation(_VersionHeader):
    """Linux' `struct tun_pi` (linux/if_tun.h): 16 bits of flags, the EtherType.

    A flag says that the kernel cut the packet off (TUN_PKT_STRIP), so a packet
    with flags is a `CodecError`, as is one whose EtherType is not its version's.
    """

    def header(self, version: int) -> bytes:
        return ETHERTYPE[version].to_bytes(HEADER, "big")


@dataclass(frozen=True)
class AddressFamily(_VersionHeader):
    """The BSDs' and macOS' header: AF_INET or AF_INET6, whose number each system has of its own.

    utun of macOS, tun(4) of OpenBSD, and of FreeBSD, NetBSD and DragonFly with
    TUNSIFHEAD have it in network order; captures of link type NULL in the order of
    the host.
    """

    system: Literal["darwin", "dragonfly", "freebsd", "netbsd", "openbsd"]
    byteorder: Literal["big", "little"] = "big"

    def __post_init__(self) -> None:
        if self.system not in AF_INET6:
            raise ValueError(f"system {self.system!r} is none of {', '.join(AF_INET6)}")

    def header(self, version: int) -> bytes:
        family = AF_INET if version == IPV4 else AF_INET6[self.system]
        return family.to_bytes(HEADER, self.byteorder)
