"""What headers are refused with, and that the sizes in the message are the packet's."""

from __future__ import annotations

import packets
import pytest

from aiotun.errors import FrameHeaderError, FrameTooShortError
from aiotun.offload.headers import TCP, UDP, find_payload, find_transport


def test_an_ipv4_header_that_is_too_short() -> None:
    packet = b"\x44" + packets.udp(4, b"payload")[1:]
    with pytest.raises(FrameHeaderError, match=r"the IPv4 header says that it has 16 bytes$"):
        find_transport(packet, 4, 0)


def test_an_extension_header_of_two_bytes() -> None:
    """Its length says that it has eight: they are not there."""
    packet = b"\x60" + bytes(4) + b"\2\0" + bytes(33) + b"\x11\0"
    with pytest.raises(FrameTooShortError, match="it has 42 bytes, the headers before it 48"):
        find_transport(packet, 6, 0)


def test_a_length_of_udp_that_is_not_the_packets() -> None:
    packet = packets.udp(4, b"payload")
    with pytest.raises(FrameHeaderError, match=r"the datagram has 15 bytes, it has 16$"):
        find_payload(packet + b"!", UDP, 20)


def test_a_tcp_header_that_is_too_short() -> None:
    packet = bytearray(packets.tcp(4, b"payload"))
    packet[32] = 0x40
    with pytest.raises(FrameHeaderError, match=r"the TCP header says that it has 16 bytes$"):
        find_payload(bytes(packet), TCP, 20)
