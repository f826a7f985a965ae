"""How devices are made, found and left on the BSDs and macOS: on MODELS of their drivers."""

from __future__ import annotations

import errno
import sys
from typing import Any

import pytest
from models.bsds import FreeBSDKernel, NetBSDKernel, OpenBSDKernel
from models.darwin import DarwinKernel
from models.devices import Opener, open_on_model
from models.kernel import ModelKernel

from aiotun.config import Layer
from aiotun.errors import (
    ConfigError,
    MTUError,
    NameInUseError,
    NameInvalidError,
    NoDriverError,
    NotPermittedError,
    UnsupportedError,
)
from aiotun.options import DarwinOptions
from aiotun.platforms.bsd.headers import freebsd

LAYERS: tuple[Layer, ...] = ("tun", "tap")


def names(kernel: ModelKernel) -> set[str]:
    return {each.name for each in kernel.interfaces.values()}


@pytest.mark.parametrize("layer", LAYERS)
def test_the_system_chooses(kernel: ModelKernel, opened: Opener, layer: Layer) -> None:
    kind = kernel.system.kinds[layer]
    first, second = opened(layer=layer), opened(layer=layer, name=f"{kind}%d")
    assert first.name == f"{kind}0"
    assert second.name.startswith(kind)
    assert second.name != first.name
    assert second.index != first.index
    assert first.layer == layer


@pytest.mark.parametrize("layer", LAYERS)
def test_a_number_is_asked_for(kernel: ModelKernel, opened: Opener, layer: Layer) -> None:
    name = f"{kernel.system.kinds[layer]}3"
    assert opened(layer=layer, name=name).name == name


@pytest.mark.parametrize("layer", LAYERS)
def test_closing_leaves_nothing(kernel: ModelKernel, layer: Layer) -> None:
    device = open_on_model(kernel, layer=layer, addresses=["10.9.0.1/24", "fd09::1/64"])
    assert names(kernel)
    device.close()
    assert not names(kernel)
    assert not kernel.routes


@pytest.mark.parametrize("layer", LAYERS)
def test_failing_leaves_nothing(kernel: ModelKernel, layer: Layer) -> None:
    with pytest.raises(UnsupportedError, match="metric"):
        open_on_model(
            kernel,
            layer=layer,
            addresses=["10.9.0.1/24"],
            routes=["10.8.0.0/16 metric 5"],
            persistent=True if layer == "tap" else None,
        )
    assert not names(kernel)
    assert not kernel.routes
    assert not kernel.listeners


@pytest.mark.parametrize("layer", LAYERS)
def test_two_cannot_have_it_open(kernel: ModelKernel, opened: Opener, layer: Layer) -> None:
    device = opened(layer=layer)
    if isinstance(kernel, DarwinKernel) and layer == "tap":
        return  # a feth has no opener: BPF may watch it twice
    with pytest.raises(NameInUseError, match=r"open elsewhere|in use") as info:
        opened(layer=layer, name=device.name)
    assert info.value.errno == errno.EBUSY
    assert info.value.remedies


@pytest.mark.parametrize("layer", LAYERS)
def test_what_is_kept_is_found_again(kernel: ModelKernel, opened: Opener, layer: Layer) -> None:
    if isinstance(kernel, DarwinKernel) and layer == "tun":
        with pytest.raises(UnsupportedError, match="ends with its descriptor"):
            opened(layer=layer, persistent=True)
        return
    name = f"{kernel.system.kinds[layer]}2"
    device = opened(layer=layer, name=name, persistent=True)
    assert device.persistent
    index = device.index
    device.close()
    assert name in names(kernel)
    with pytest.raises(NameInUseError, match="exists"):
        opened(layer=layer, name=name, exclusive=True)
    again = opened(layer=layer, name=name)
    assert again.index == index
    assert again.persistent
    again.close()
    assert name in names(kernel)
    last = opened(layer=layer, name=name, persistent=False)
    last.close()
    assert name not in names(kernel)


def test_persistence_is_given_up_and_taken(kernel: ModelKernel, opened: Opener) -> None:
    device = opened()
    assert not device.persistent
    if not isinstance(kernel, (FreeBSDKernel, NetBSDKernel)):
        with pytest.raises(UnsupportedError, match="ends with its descriptor"):
            device.persistent = True
        return
    device.persistent = True
    device.close()
    assert names(kernel) == {"tun0"}


@pytest.mark.parametrize(
    "name", ["vpn0", "tunx", "tun", "tun01", "tap0", "tun٣"], ids=lambda name: ascii(name)
)
def test_names_that_there_are_not(kernel: ModelKernel, opened: Opener, name: str) -> None:
    if isinstance(kernel, FreeBSDKernel):
        if name.isascii():
            assert opened(name=name).name == name
        return
    with pytest.raises(NameInvalidError, match="a number"):
        opened(name=name)


def test_freebsd_finds_a_name_by_pattern() -> None:
    kernel = FreeBSDKernel()
    first, second = open_on_model(kernel, name="vpn%d"), open_on_model(kernel, name="vpn%d")
    assert (first.name, second.name) == ("vpn0", "vpn1")
    kernel.make("vpn7", "tap")
    with pytest.raises(NameInUseError):
        open_on_model(kernel, name="vpn7", exclusive=True)
    first.close()
    second.close()
    assert names(kernel) == {"vpn7"}


@pytest.mark.parametrize("transient", [False, True], ids=["14", "15"])
def test_freebsd_15_destroys_by_itself(transient: bool) -> None:
    """So that nothing is left of a program that was killed."""
    kernel = FreeBSDKernel(transient)
    asked: list[str] = []

    def destroy(request: Any) -> None:
        asked.append(request.ifr_name.decode())
        kernel.destroy(request)

    kernel.ioctls[freebsd.SIOCIFDESTROY] = destroy
    open_on_model(kernel).close()
    assert asked == ([] if transient else ["tun0"])
    assert not names(kernel)
    open_on_model(kernel, persistent=True).close()
    assert names(kernel) == {"tun0"}


def test_freebsd_without_the_head_hands_out_no_ipv6() -> None:
    kernel = FreeBSDKernel()
    with open_on_model(kernel) as device:
        assert kernel.find(device.name).head


def test_netbsd_keeps_its_tun_multicast() -> None:
    kernel = NetBSDKernel()
    with open_on_model(kernel) as device:
        assert kernel.find(device.name).flags & 0x8010 == 0x8010


@pytest.mark.parametrize("layer", LAYERS)
def test_without_privileges(kernel: ModelKernel, opened: Opener, layer: Layer) -> None:
    with kernel.unprivileged(), pytest.raises(NotPermittedError) as info:
        opened(layer=layer)
    assert "run as root" in info.value.remedies
    assert not names(kernel)


@pytest.mark.parametrize("kind", [NetBSDKernel, OpenBSDKernel])
def test_a_node_is_missing(kind: type[NetBSDKernel | OpenBSDKernel]) -> None:
    kernel = kind(units=1)
    with open_on_model(kernel), pytest.raises(NoDriverError, match="MAKEDEV tun1"):
        open_on_model(kernel)
    with pytest.raises(NoDriverError, match="MAKEDEV tap5"):
        open_on_model(kind(units=4), name="tap5", layer="tap", persistent=True)


def test_all_bpf_devices_are_in_use() -> None:
    kernel = DarwinKernel()
    taps = [open_on_model(kernel, layer="tap") for _ in range(4)]
    with pytest.raises(NoDriverError, match="all 4 BPF devices"):
        open_on_model(kernel, layer="tap")
    for tap in taps:
        tap.close()
    assert not names(kernel)


@pytest.mark.parametrize(
    "settings",
    [
        {"tx_queue_len": 100},
        {"owner": 0},  # root, and no False
        {"group": 1},
        {"carrier": False},
        {"metric": 5},
        {"namespace": "x"},
        {"mtu_v6": 1300},
        {"multi_queue": True},
    ],
    ids=str,
)
def test_what_there_is_not(
    kernel: ModelKernel, opened: Opener, settings: dict[str, object]
) -> None:
    with pytest.raises(UnsupportedError, match=f"{next(iter(settings))}|one queue") as info:
        opened(**settings)
    assert info.value.remedies
    assert kernel.system.name in str(info.value)


@pytest.mark.parametrize("layer", LAYERS)
def test_mtus(kernel: ModelKernel, opened: Opener, layer: Layer) -> None:
    least, most = kernel.system.tun_mtu if layer == "tun" else kernel.system.tap_mtu
    if isinstance(kernel, DarwinKernel):
        kernel.max_mtu = most  # as an administrator lets a feth have
    device = opened(mtu=max(least, 68), layer=layer)
    assert device.mtu == max(least, 68)
    device.mtu = most
    assert kernel.find(device.name).mtu == most
    if most < 65535 - 14:  # more the package takes nowhere
        with pytest.raises(MTUError, match=f"{least} to {most} for a {layer} on"):
            device.mtu = most + 1
        with pytest.raises(MTUError):
            opened(mtu=most + 1, layer=layer)


def test_the_peer_of_a_feth(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = DarwinKernel()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "darwin")
        device = open_on_model(
            kernel, layer="tap", name="feth7", darwin=DarwinOptions(peer_feth="feth8"), mtu=1400
        )
    assert names(kernel) == {"feth7", "feth8"}
    assert device.name == "feth7"
    assert {each.mtu for each in kernel.interfaces.values()} == {1400}
    device.mtu = 1300
    assert {each.mtu for each in kernel.interfaces.values()} == {1300}
    with pytest.raises(MTUError, match="refused"):
        device.mtu = 9000  # above sysctl net.link.fake.max_mtu
    device.close()
    assert not names(kernel)
    with pytest.raises(ConfigError, match="feth"):
        DarwinOptions(peer_feth="en0")


def test_a_feth_with_another_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = DarwinKernel()
    monkeypatch.setattr(sys, "platform", "darwin")
    with open_on_model(kernel, layer="tap"):
        before = names(kernel)
        for name, peer in (("feth0", "feth7"), ("feth8", "feth0")):
            with pytest.raises(NameInUseError, match="another peer"):
                open_on_model(kernel, layer="tap", name=name, darwin=DarwinOptions(peer_feth=peer))
        assert names(kernel) == before
