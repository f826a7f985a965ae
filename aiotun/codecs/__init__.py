"""Codecs: packets and streams of bytes as items. They do no I/O; `aiotun.Framed` does."""

from ..errors import CodecError
from .base import MAX_FRAME, PacketCodec, StreamCodec, StreamDecoder
from .capture import LINKTYPE_ETHERNET, LINKTYPE_RAW, CapturedPacket
from .cobs import COBS
from .dpkt import Dpkt
from .ethernet import Ethernet, EthernetFrame, VLANTag
from .ip import IPStream
from .length import LengthDelimited, LengthPrefixed
from .pcap import Pcap
from .pcapng import Pcapng
from .raw import Raw, RawStream
from .slip import SLIP
from .tun_header import AddressFamily, PacketInformation
from .varint import VarintPrefixed

__all__ = [
    "COBS",
    "LINKTYPE_ETHERNET",
    "LINKTYPE_RAW",
    "MAX_FRAME",
    "SLIP",
    "AddressFamily",
    "CapturedPacket",
    "CodecError",
    "Dpkt",
    "Ethernet",
    "EthernetFrame",
    "IPStream",
    "LengthDelimited",
    "LengthPrefixed",
    "PacketCodec",
    "PacketInformation",
    "Pcap",
    "Pcapng",
    "Raw",
    "RawStream",
    "StreamCodec",
    "StreamDecoder",
    "VLANTag",
    "VarintPrefixed",
]
