"""OpenBSD's super-packets: its header and ours, sans-I/O and on the MODEL of its driver."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator

import packets
import pytest
from hypothesis import given
from hypothesis import strategies as st
from models.bsds import OpenBSDKernel
from models.devices import open_on_model
from models.stack import SuperStack, download
from strategies import super_frames

import aiotun
from aiotun.config import Layer
from aiotun.errors import PacketError, UnsupportedError
from aiotun.offload import VirtioNetHeader, gso_split
from aiotun.options import OpenBSDOptions
from aiotun.platforms.bsd.headers import openbsd as h
from aiotun.platforms.bsd.tun_header import from_virtio, to_virtio
from aiotun.testing import Namespace

MSS = 1448

Open = Callable[..., aiotun.Device]


@pytest.fixture
def kernel() -> OpenBSDKernel:
    return OpenBSDKernel()


@pytest.fixture
def opened(kernel: OpenBSDKernel, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens a device on the model, with super-packets."""
    devices: list[aiotun.Device] = []

    def open_device(layer: Layer = "tun", **settings: object) -> aiotun.Device:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "platform", "openbsd7")
            options = OpenBSDOptions(offload=True)
            devices.append(open_on_model(kernel, layer=layer, openbsd=options, **settings))
        return devices[-1]

    yield open_device
    for device in devices:
        device.close()


def wrecked(frame: bytes, layer: str = "tun") -> bytes:
    """A packet as the kernel leaves it to us: its checksums are anything."""
    link = packets.ethernet_size(frame) if layer == "tap" else 0
    packet = bytearray(frame[link:])
    protocol, start = packets.find_transport(bytes(packet))
    field = start + {packets.TCP: 16, packets.UDP: 6}.get(protocol, 2)
    packet[field : field + 2] = b"\xde\xad"
    if packet[0] >> 4 == 4:
        packet[10:12] = b"\xbe\xef"
    return frame[:link] + bytes(packet)


@pytest.mark.parametrize("layer", ["tun", "tap"])
@pytest.mark.parametrize("version", [4, 6])
def test_a_super_packet_is_read(
    kernel: OpenBSDKernel, opened: Open, version: int, layer: Layer
) -> None:
    whole = packets.tcp(version, bytes(range(256)) * 20, flags=packets.ACK | packets.PSH)
    if layer == "tap":
        whole = packets.ethernet(whole)
    device = opened(layer)
    assert device.tcp_offload
    assert not device.udp_offload
    flags = h.TUN_H_TCP_MSS | h.TUN_H_TCP_CSUM | h.TUN_H_IPV4_CSUM
    kernel.hand_out(device.name, flags, MSS, wrecked(whole, layer))
    expected = gso_split(packets.super_packet(whole, MSS, layer), layer)
    assert len(expected) == 4
    received: list[bytes] = []
    while len(received) < 4:
        received += device.recv_many(timeout=10)
    assert received == expected


@pytest.mark.parametrize(
    ("packet", "flag"),
    [
        (packets.tcp(4, b"abc"), h.TUN_H_TCP_CSUM),
        (packets.tcp(6, b"abc"), h.TUN_H_TCP_CSUM),
        (packets.tcp(4, b"abc"), h.TUN_H_TCP_CSUM | h.TUN_H_TCP_MSS),  # it fits
        (packets.udp(4, b"abc"), h.TUN_H_UDP_CSUM),
        (packets.udp(6, b"abc"), h.TUN_H_UDP_CSUM),
        (packets.icmp_echo(4, b"abc"), h.TUN_H_ICMP_CSUM),
        (packets.icmp_echo(6, b"abc"), h.TUN_H_ICMP_CSUM),
    ],
)
def test_checksums_are_made(kernel: OpenBSDKernel, opened: Open, packet: bytes, flag: int) -> None:
    device = opened()
    kernel.hand_out(device.name, flag | h.TUN_H_IPV4_CSUM, MSS, wrecked(packet))
    assert device.recv(timeout=10) == packet
    kernel.hand_out(device.name, 0, 0, wrecked(packet))  # nothing was asked for
    assert device.recv(timeout=10) == wrecked(packet)


ASKED = h.TUN_H_TCP_MSS | h.TUN_H_TCP_CSUM | h.TUN_H_IPV4_CSUM


@pytest.mark.parametrize(
    ("packet", "kind"),
    [
        (packets.tcp(4, bytes(2000)), packets.TCPV4),
        (packets.tcp(6, bytes(2000)), packets.TCPV6),
        (packets.tcp(4, bytes(2000), flags=packets.ACK | packets.CWR), packets.TCPV4 | packets.ECN),
        (packets.tcp(4, bytes(MSS)), 0),  # it fits
        (packets.tcp(4, bytes(2000), fragment=0x2000), 0),  # and is passed on as it is
        (packets.tcp(4, bytes(2000))[:-1], 0),
        (packets.tcp(4, bytes(2000))[:19], 0),
        (b"\x45", 0),
    ],
)
def test_what_is_said_of_a_packet(packet: bytes, kind: int) -> None:
    frame = to_virtio(h.tun_hdr(ASKED, 0, 0, MSS), packet, "tun")
    assert VirtioNetHeader.unpack(frame).gso_type == kind
    assert len(frame) == 10 + len(packet)


def test_the_tag_of_a_vlan_goes_back_into_its_frame(kernel: OpenBSDKernel) -> None:
    frame = packets.ethernet(packets.udp(4, b"abc"), 7)
    plain = frame[:12] + frame[16:]
    header = h.tun_hdr(h.TUN_H_VTAG | h.TUN_H_UDP_CSUM | h.TUN_H_IPV4_CSUM, 0, 7, 0)
    assert gso_split(to_virtio(header, wrecked(plain, "tap"), "tap"), "tap") == [frame]


@pytest.mark.parametrize("version", [4, 6])
def test_packets_of_a_flow_are_written_as_one(
    kernel: OpenBSDKernel, opened: Open, version: int
) -> None:
    whole = packets.tcp(version, bytes(4 * MSS), identification=1)
    device = opened()
    device.send_many(gso_split(packets.super_packet(whole, MSS)))
    flags, mss, packet = kernel.take_in(device.name)
    assert (flags, mss) == (h.TUN_H_TCP_MSS | h.TUN_H_TCP_CSUM, MSS)
    assert wrecked(packet) == wrecked(whole)
    alone = packets.udp(version, b"alone")
    device.send(alone)
    assert kernel.take_in(device.name) == (0, 0, alone)


def test_a_checksum_that_is_partial_is_made(kernel: OpenBSDKernel) -> None:
    frame = packets.super_packet(packets.udp(4, b"abc"), 0)
    need = VirtioNetHeader.unpack(frame)._replace(gso_type=0, gso_size=0)
    header, packet = from_virtio(need.pack() + frame[10:])
    assert header.th_flags == 0
    assert packet == packets.udp(4, b"abc")


def test_a_kernel_without(kernel: OpenBSDKernel, opened: Open) -> None:
    kernel.has_tun_hdr = False
    with pytest.raises(UnsupportedError, match=r"7\.7"):
        opened()
    assert not kernel.interfaces


def test_the_header_goes_with_the_descriptor(kernel: OpenBSDKernel, opened: Open) -> None:
    opened(persistent=True, name="tun1").close()
    assert not kernel.with_header
    with open_on_model(kernel, name="tun1") as device:
        assert not device.tcp_offload
        kernel.emit(device.name, packets.udp(4, b"abc"))
        assert device.recv(timeout=10) == packets.udp(4, b"abc")


@pytest.mark.requires("tun", "netns", "ipv6")
async def test_tcp_of_a_kernel_passes_in_super_packets(kernel: OpenBSDKernel, opened: Open) -> None:
    """A Linux device with offload is the rest of the model's kernel, here and at the far end."""
    networks = [["10.9.0.1/24", "fd09::1/64"], ["10.9.0.2/24", "fd09::2/64"]]
    near, far = Namespace(), Namespace()
    stack = near.run(aiotun.Device, addresses=networks[0], offload="tcp")
    real = far.run(aiotun.Device, addresses=networks[1], offload="tcp")
    device = opened(addresses=networks[0])
    try:
        a, _ = await aiotun.create_device_endpoint(aiotun.PacketProtocol, device=device)
        b, _ = await aiotun.create_device_endpoint(aiotun.PacketProtocol, device=real)
        async with a, b:
            relaying = asyncio.create_task(aiotun.relay(a, b))
            with SuperStack(kernel, device.name, stack):
                for server, client, host in (
                    (far, near, "10.9.0.2"),
                    (near, far, "10.9.0.1"),
                    (far, near, "fd09::2"),
                ):
                    sent, received = await asyncio.to_thread(
                        download, server, client, host, 4 << 20
                    )
                    assert received == sent
            relaying.cancel()
            await asyncio.gather(relaying, return_exceptions=True)
            assert a.counters.super_packets_received > 50
            assert a.counters.super_packets_sent > 50
    finally:
        stack.close()
        near.close()
        far.close()


@given(super_frames(), super_frames("tap"))
def test_every_super_packet_of_tcp_is_told_alike(tun: bytes, tap: bytes) -> None:
    for frame, layer in ((tun, "tun"), (tap, "tap")):
        ours = VirtioNetHeader.unpack(frame)
        if not ours.is_tcp or len(frame) - 10 - ours.hdr_len <= ours.gso_size:
            continue  # that has no such header
        header = h.tun_hdr(h.TUN_H_TCP_MSS | h.TUN_H_TCP_CSUM, 0, 0, ours.gso_size)
        packet = frame[10:]
        field = ours.csum_start + ours.csum_offset
        spoiled = packet[:field] + b"\xde\xad" + packet[field + 2 :]
        told = to_virtio(header, spoiled, layer)  # type: ignore[arg-type]
        assert told[10:] == packet
        known = VirtioNetHeader.unpack(told)
        assert known._replace(gso_type=known.gso_type & ~packets.ECN) == ours


@given(st.binary(min_size=8, max_size=200), st.sampled_from(["tun", "tap"]))
def test_hostile_frames(data: bytes, layer: Layer) -> None:
    frame = to_virtio(h.tun_hdr.from_buffer_copy(data), data[8:], layer)
    assert len(frame) >= 10


@pytest.mark.parametrize("data", [b"\0", bytes(8), bytes(12)])
def test_a_frame_that_is_cut_short_is_reported(
    kernel: OpenBSDKernel, opened: Open, data: bytes
) -> None:
    device = opened()
    kernel.find(device.name).stack.send(data)  # type: ignore[union-attr]
    kernel.emit(device.name, packets.udp(4, b"next"))
    with pytest.raises(PacketError):
        device.recv(timeout=10)
    assert device.recv(timeout=10) == packets.udp(4, b"next")
