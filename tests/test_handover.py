"""Devices handed to another process: real TUNs, and pairs of sockets."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rigs import Recorder, TunRig, endpoint, packet

import aiotun
from aiotun.config import KeptSettings
from aiotun.handover import receive_device, send_device
from aiotun.testing import memory_devices

Pair = tuple[socket.socket, socket.socket]
KINDS = {
    "stream": socket.SOCK_STREAM,
    "datagrams": socket.SOCK_DGRAM,
    "packets": socket.SOCK_SEQPACKET,
}


@pytest.fixture(params=KINDS)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    near, far = socket.socketpair(socket.AF_UNIX, KINDS[request.param])
    with near, far:
        near.settimeout(5)
        far.settimeout(5)
        yield near, far


@pytest.mark.requires("tun", "netns")
def test_a_tun(pair: Pair) -> None:
    rig = TunRig(name="t0", mtu=1400, addresses="10.9.0.1/24")
    send_device(pair[0], rig.device)
    rig.device.close()
    with receive_device(pair[1]) as device:
        assert not os.get_inheritable(device.fileno())
        assert (device.name, device.mtu, device.offload) == ("t0", 1400, True)
        assert [str(address) for address in device.addresses()] == ["10.9.0.1/24"]
        rig.send(packet(1))
        assert device.recv(timeout=2) == packet(1)
        device.send(packet(2))
        assert rig.recv() == packet(2)
    assert rig.namespace.run(socket.if_nameindex) == [(1, "lo")]
    rig.close()


KEPT: dict[str, Any] = {
    "udp_zero_checksum": True,
    "ipv6_quiet": True,
    "dad": True,
    "connected_routes": False,
    "metric": 77,
}


def test_they_are_all_kept() -> None:
    assert KeptSettings.__annotations__.keys() == KEPT.keys()


@pytest.mark.requires("tun", "netns")
def test_settings_that_go_on_counting(pair: Pair) -> None:
    rig = TunRig(**KEPT)
    send_device(pair[0], rig.device)
    rig.device.close()
    with receive_device(pair[1]) as device:
        assert {name: getattr(device.interface.config, name) for name in KEPT} == KEPT
        assert device.udp_zero_checksum
        device.add_address("10.9.0.1/24")
        assert device.routes() == []  # no connected one
    rig.close()


def test_settings_of_a_descriptor(pair: Pair) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, aiotun.Device.from_fd(ours.detach(), framing="vnet", **KEPT) as device:
        send_device(pair[0], device)
        with receive_device(pair[1]) as received:
            assert {name: getattr(received.interface.config, name) for name in KEPT} == KEPT
            assert received.udp_zero_checksum


@pytest.mark.requires("tun", "netns")
def test_it_stays_open_here(pair: Pair) -> None:
    rig = TunRig()
    send_device(pair[0], rig.device)
    receive_device(pair[1]).close()
    rig.send(packet(1))
    assert rig.device.recv(timeout=2) == packet(1)
    rig.close()


@pytest.mark.parametrize("framing", ["none", "vnet", "pi", "family"])
@pytest.mark.parametrize("layer", ["tun", "tap"])
def test_what_the_system_does_not_tell(pair: Pair, framing: Any, layer: Any) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with (
        theirs,
        aiotun.Device.from_fd(ours.detach(), framing=framing, layer=layer, mtu=1400) as device,
    ):
        send_device(pair[0], device)
        with receive_device(pair[1]) as received:
            assert (received.queue.framing, received.layer, received.mtu) == (framing, layer, 1400)


def test_from_a_program_that_sends_the_descriptor_alone(pair: Pair) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        socket.send_fds(pair[0], [b"\0"], [ours.fileno()])
        ours.close()
        with receive_device(pair[1], framing="none", mtu=1300) as device:
            assert device.mtu == 1300
            theirs.send(packet(1))
            assert device.recv(timeout=2) == packet(1)


def test_several_descriptors_and_none(pair: Pair) -> None:
    """Of several the first is taken; the system closes the others."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        socket.send_fds(pair[0], [b"\0"], [ours.fileno(), *[theirs.fileno()] * 100])
        ours.close()
        receive_device(pair[1], framing="none").close()
        assert theirs.recv(1) == b""
    pair[0].send(b"nothing with it")
    with pytest.raises(aiotun.TunError, match="without a descriptor"):
        receive_device(pair[1])


def test_the_other_side_is_gone() -> None:
    near, far = socket.socketpair()
    near.close()
    with far, pytest.raises(aiotun.ClosedError, match="closed the socket"):
        receive_device(far)


WRONG: dict[str, dict[str, Any]] = {
    "a framing that is none": {"framing": "nonsense"},
    "a framing of another type": {"framing": ["none"]},
    "a layer that is none": {"layer": 3},
    "an MTU that is none": {"mtu": 1e99},
    "what no system knows": {"framing": None},
    "a metric that is none": {"metric": "high"},
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_messages(pair: Pair, case: str) -> None:
    """The descriptor is closed then, which the fixture `no_leaks` looks at."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        message = {"framing": "none", "offload": False, "layer": "tun", "mtu": 1500}
        message |= KEPT | WRONG[case]
        socket.send_fds(pair[0], [json.dumps(message).encode()], [ours.fileno()])
    with pytest.raises((aiotun.ConfigError, aiotun.UnsupportedError)):
        receive_device(pair[1])


@given(st.one_of(st.binary(min_size=1, max_size=100), st.text(max_size=50).map(str.encode)))
def test_any_message(message: bytes) -> None:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with near, far, ours, theirs:
        socket.send_fds(near, [message or b"."], [ours.fileno()])
        receive_device(far, framing="none").close()


def test_what_cannot_be_sent(pair: Pair) -> None:
    device, far = memory_devices()
    with far:
        with device, pytest.raises(aiotun.UnsupportedError, match="no file descriptor"):
            send_device(pair[0], device)
        with pytest.raises(aiotun.ClosedError):
            send_device(pair[0], device)


async def test_one_that_a_transport_has(pair: Pair) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        device = aiotun.Device.from_fd(ours.detach(), framing="none")
        async with endpoint(device, Recorder):
            with pytest.raises(aiotun.BusyError):
                send_device(pair[0], device)
