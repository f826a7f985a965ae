"""Descriptors of the BSDs and macOS sent to another process: on MODELS of their drivers."""

from __future__ import annotations

import socket
import sys
from typing import Any

import packets
import pytest
from models.bsds import FreeBSDKernel, OpenBSDKernel
from models.darwin import DarwinKernel
from models.devices import Opener, open_on_model
from models.kernel import ModelKernel

import aiotun
from aiotun.config import DeviceConfig, Layer
from aiotun.handover import receive_device, send_device
from aiotun.options import FreeBSDOptions, OpenBSDOptions
from aiotun.platforms import darwin

V4 = packets.udp(4, payload=b"x" * 100)


@pytest.mark.parametrize("layer", ["tun", "tap"])
def test_what_stands_in_front_is_said(kernel: ModelKernel, opened: Opener, layer: Layer) -> None:
    if isinstance(kernel, DarwinKernel):
        pytest.skip("macOS tells what a utun is, and a TAP is not sent")
    device = opened(layer=layer, addresses=["10.9.0.1/24"], mtu=1400, connected_routes=False)
    near, far = socket.socketpair()
    with near, far:
        send_device(near, device)
        with receive_device(far) as received:
            assert (received.layer, received.mtu) == (layer, 1400)
            assert not received.interface.config.connected_routes
            frame = V4 if layer == "tun" else packets.ethernet(V4)
            kernel.emit(device.name, frame)
            assert received.recv(timeout=2) == frame


def test_a_utun() -> None:
    kernel = DarwinKernel()
    with open_on_model(kernel, addresses=["10.9.0.1/24"]) as device:
        assert device.queue.framing is None
        config = DeviceConfig(connected_routes=False)
        adopted = darwin.adopt_on(kernel, device.fileno(), config, False, 1500)
        assert adopted is not None
        with aiotun.Device.from_parts(*adopted) as received:
            received.add_address("10.9.1.1/24")
            assert [str(each.destination) for each in kernel.routes] == ["10.9.0.0"]


@pytest.mark.parametrize(
    ("kernel", "settings"),
    [
        (DarwinKernel(), {"layer": "tap"}),
        (FreeBSDKernel(), {"layer": "tap", "freebsd": FreeBSDOptions(offload=True)}),
        (OpenBSDKernel(), {"openbsd": OpenBSDOptions(offload=True)}),
    ],
    ids=["two descriptors", "FreeBSD's header", "OpenBSD's header"],
)
def test_what_no_framing_says(
    kernel: ModelKernel, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", kernel.system.name.lower())
        device = open_on_model(kernel, **settings)
    near, far = socket.socketpair()
    with near, far, device:
        with pytest.raises(aiotun.UnsupportedError):
            send_device(near, device)
        if settings == {"layer": "tap"}:
            with pytest.raises(aiotun.UnsupportedError, match="two descriptors"):
                device.detach()
