"""Ethernet frames, with and without VLAN tags."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import CodecError
from ..kinds import check_kind
from .base import PacketCodec

__all__ = ["Ethernet", "EthernetFrame", "VLANTag"]

C_TAG, S_TAG = TPIDS = 0x8100, 0x88A8
"""Tag protocol identifiers: of a customer's and a service provider's VLAN (IEEE 802.1Q
section 9.5; linux/if_ether.h: ETH_P_8021Q, ETH_P_8021AD)."""

MAC, TYPE = 6, 2
"""Bytes of an address, and of an EtherType (IEEE 802.3 section 3.2)."""

TAG = struct.Struct("!HH")
"""A tag: its TPID, then 3 bits of priority, 1 of drop eligibility, 12 of VLAN id."""


class VLANTag(NamedTuple):
    """A tag of IEEE 802.1Q section 9.6."""

    vlan: int
    """0 to 4095; 0 is a tag that only has a priority."""
    priority: int = 0
    """0 to 7."""
    drop_eligible: bool = False
    tpid: int = C_TAG
    """0x8100, or 0x88A8 for the outer tag of a service provider."""


class EthernetFrame(NamedTuple):
    """A frame without preamble and checksum, as a TAP carries it."""

    destination: bytes
    source: bytes
    """Both are addresses of 6 bytes."""
    ethertype: int
    """What the payload is, such as 0x0800 for IPv4; its length if below 0x0600."""
    payload: bytes
    tags: tuple[VLANTag, ...] = ()
    """VLAN tags, the outer one first."""


@dataclass(frozen=True)
class Ethernet(PacketCodec[EthernetFrame]):
    """Ethernet frames as `EthernetFrame` objects, their VLAN tags taken apart."""

    def encode(self, item: EthernetFrame) -> bytes:
        check_kind(item, "an item", EthernetFrame)
        if not len(item.destination) == len(item.source) == MAC:
            raise CodecError("an Ethernet address that has not 6 bytes")
        if item.ethertype in TPIDS or not 0 <= item.ethertype <= 0xFFFF:
            raise CodecError(f"0x{item.ethertype:04X} is no EtherType of a payload")
        tags = b"".join(map(_encode_tag, item.tags))
        ethertype = item.ethertype.to_bytes(TYPE, "big")
        return b"".join((item.destination, item.source, tags, ethertype, item.payload))

    def decode(self, packet: bytes) -> EthernetFrame:
        tags: list[VLANTag] = []
        at = 2 * MAC
        while len(packet) >= (payload := at + TYPE):
            ethertype = int.from_bytes(packet[at:payload], "big")
            if ethertype not in TPIDS:
                addresses = packet[:MAC], packet[MAC : 2 * MAC]
                return EthernetFrame(*addresses, ethertype, packet[payload:], tuple(tags))
            if len(packet) < at + TAG.size:
                break
            tpid, tci = TAG.unpack_from(packet, at)
            tags.append(VLANTag(tci & 0xFFF, tci >> 13, bool(tci & 0x1000), tpid))
            at += TAG.size
        raise CodecError("an Ethernet frame that ends inside its header", offset=len(packet))


def _encode_tag(tag: VLANTag) -> bytes:
    if not (tag.tpid in TPIDS and 0 <= tag.vlan <= 0xFFF and 0 <= tag.priority <= 7):
        raise CodecError(f"{tag} is no VLAN tag")
    return TAG.pack(tag.tpid, tag.priority << 13 | tag.drop_eligible << 12 | tag.vlan)
