"""Packets as objects of dpkt (the extra `dpkt`), which also parses what they carry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..config import Layer
from ..errors import CodecError
from .base import PacketCodec

if TYPE_CHECKING:
    import dpkt

__all__ = ["Dpkt"]


@dataclass(frozen=True)
class Dpkt(PacketCodec["dpkt.Packet"]):
    """IP packets as `dpkt.ip.IP` and `dpkt.ip6.IP6`; with the layer "tap", Ethernet
    frames as `dpkt.ethernet.Ethernet`.

    To encode is `bytes(item)`. For that dpkt fills in checksums that are 0, and with an
    IPv4 header's checksum its total length. All other lengths it leaves as they are: a
    program that changes a payload sets IPv6's `plen` and UDP's `ulen`.
    Raises `ImportError` if dpkt is not there.
    """

    layer: Layer = "tun"

    def __post_init__(self) -> None:
        try:
            import dpkt  # noqa: F401
        except ImportError as exc:
            raise ImportError("the codec Dpkt needs dpkt: pip install 'aiotun[dpkt]'") from exc

    def encode(self, item: dpkt.Packet) -> bytes:
        try:
            return bytes(item)
        except Exception as exc:
            raise CodecError(f"dpkt does not encode the item: {exc!r}") from exc

    def decode(self, packet: bytes) -> dpkt.Packet:
        import dpkt

        try:
            if self.layer == "tap":
                return dpkt.ethernet.Ethernet(packet)
            if packet[0] >> 4 == 6:
                return dpkt.ip6.IP6(packet)
            return dpkt.ip.IP(packet)
        except Exception as exc:  # other than dpkt.Error too, on bytes that lie
            raise CodecError(f"dpkt does not decode the packet: {exc!r}") from exc
