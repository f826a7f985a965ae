"""Super-packets of FreeBSD's TAP, on the MODEL of its driver."""

from __future__ import annotations

import sys

import packets
import pytest
from models.bsds import FreeBSDKernel
from models.devices import open_on_model

import aiotun
from aiotun.config import Layer
from aiotun.errors import UnsupportedError
from aiotun.offload import SuperPacket, VirtioNetHeader, gso_split
from aiotun.options import FreeBSDOptions

MSS = 1448


@pytest.fixture
def kernel() -> FreeBSDKernel:
    return FreeBSDKernel()


def opened(kernel: FreeBSDKernel, monkeypatch: pytest.MonkeyPatch, layer: Layer) -> aiotun.Device:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "freebsd15")
        return open_on_model(kernel, layer=layer, freebsd=FreeBSDOptions(offload=True))


@pytest.mark.parametrize("version", [4, 6])
def test_super_packets_are_read(
    kernel: FreeBSDKernel, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    whole = packets.ethernet(packets.tcp(version, bytes(range(256)) * 20))
    frame = packets.super_packet(whole, MSS, "tap")
    with opened(kernel, monkeypatch, "tap") as device:
        kernel.hand_out(device.name, frame)
        received: list[bytes] = []
        while len(received) < 4:
            received += device.recv_many(timeout=10)
        assert received == gso_split(frame, "tap")
        kernel.emit(device.name, whole)
        assert device.recv(timeout=10) == whole
    assert not kernel.capabilities
    assert not kernel.with_header


def test_none_are_written(kernel: FreeBSDKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = packets.super_packet(packets.ethernet(packets.tcp(4, bytes(4 * MSS))), MSS, "tap")
    segments = gso_split(frame, "tap")
    with opened(kernel, monkeypatch, "tap") as device:
        device.send_many(segments)
        assert [kernel.taken(device.name) for _ in segments] == segments


def test_checksums_are_made_before(kernel: FreeBSDKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = packets.ethernet(packets.udp(4, b"abc"))
    partial = packets.super_packet(whole, 0, "tap")
    need = VirtioNetHeader.unpack(partial)._replace(gso_type=0)
    with opened(kernel, monkeypatch, "tap") as device:
        device.queue.write(SuperPacket(need.pack() + partial[10:]).frame)
        assert kernel.taken(device.name) == whole


def test_a_tun_has_none(kernel: FreeBSDKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnsupportedError, match='layer="tap"'):
        opened(kernel, monkeypatch, "tun")
    assert not kernel.interfaces
