"""Making a device on Windows: its options, what is tried again, and what is refused."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import uuid
from typing import Any

import pytest
from standin import Far, StandIn, configured

import aiotun
from aiotun.errors import (
    AddressError,
    NameInUseError,
    NameInvalidError,
    NotPermittedError,
    TunError,
    UnsupportedError,
)
from aiotun.platforms.windows import NAMES, WindowsInterface

ACCESS_DENIED, NOT_READY, HANDLE_EOF, INVALID_PARAMETER, ALREADY_EXISTS = 5, 21, 38, 87, 183
TIMEOUT, NOT_FOUND = 258, 1168


def test_all_that_a_device_can_be_told(standin: StandIn) -> None:
    settings = configured(
        name="Büro VPN",
        addresses=["10.9.0.1/24", "fd09::1/64"],
        mtu=1420,
        mtu_v6=1300,
        metric=7,
        ipv6_quiet=True,
        routes=["10.10.0.0/16 metric 50", "default via 10.9.0.2", "fd10::/64 via fd09::2"],
        windows={"dns": ["10.9.0.53", "fd09::53", "10.9.0.54"], "dns_search": ["a.test", "b.test"]},
    )
    with aiotun.Device(**settings) as device:
        assert device.name == "Büro VPN"
        assert (device.mtu, device.mtu_v6) == (1420, 1300)
        assert list(map(str, device.addresses())) == ["10.9.0.1/24", "fd09::1/64"]
        assert list(map(str, device.routes())) == [
            "10.10.0.0/16 metric 50",
            "0.0.0.0/0 via 10.9.0.2 metric 0",
            "fd10::/64 via fd09::2 metric 0",
        ]
        interface = device.interface
        assert isinstance(interface, WindowsInterface)
        assert interface.metric() == interface.metric(6) == 7
        assert interface.luid >> 48 == 53
        assert interface.driver_version == (0, 14)
        assert device.index == interface.luid >> 24 & 0xFFFFFF
        far = Far(standin, device.name)
        assert far.call("Dns", 0, 0) == "10.9.0.53,10.9.0.54"
        assert far.call("Dns", 1, 0) == "fd09::53"
        assert far.call("Dns", 0, 1) == far.call("Dns", 1, 1) == "a.test,b.test"
        assert far.call("Behaviour", 1) == 0  # no router discovery, no link-local address
        interface.set_dns(())
        assert far.call("Dns", 0, 0) == far.call("Dns", 1, 0) == far.call("Dns", 0, 1) == ""


def test_a_guid_comes_from_the_name(standin: StandIn) -> None:
    def guid(**settings: Any) -> uuid.UUID:
        with aiotun.Device(**configured(**settings)) as device:
            assert isinstance(device.interface, WindowsInterface)
            return device.interface.guid

    assert guid(name="vpn0") == guid(name="vpn0") == uuid.uuid5(NAMES, "vpn0") != guid(name="vpn1")
    given = uuid.uuid4()
    assert guid(name="vpn0", windows={"guid": given}) == given


def test_names(standin: StandIn) -> None:
    with (
        aiotun.Device(**configured(name="t%d")) as first,
        aiotun.Device(**configured(name="t%d")) as second,
    ):
        assert (first.name, second.name) == ("t0", "t1")
        with pytest.raises(NameInUseError, match="'t1' exists"):
            aiotun.Device(**configured(name="t1"))
        with pytest.raises(NameInUseError, match="'t1' exists"):
            first.name = "t1"
        first.name = "Another name"
        assert first.name == "Another name"
        for wrong in ("a/b", "x" * 128, "", "a\tb", "a:b"):
            with pytest.raises(NameInvalidError):
                first.name = wrong
        assert aiotun.DeviceConfig(name="x" * 127).name


def test_a_name_that_somebody_takes_meanwhile(standin: StandIn) -> None:
    """Between the look whether it is free, and the making. Wintun renames the older one then."""
    with aiotun.Device(**configured(name="t%d")) as first:
        standin.fail("ConvertInterfaceAliasToLuid", INVALID_PARAMETER)
        with aiotun.Device(**configured(name="t%d")) as second:
            assert (first.name, second.name) == ("t0", "t1")
        standin.fail("ConvertInterfaceAliasToLuid", INVALID_PARAMETER)
        with pytest.raises(NameInUseError, match="'t0' exists"):
            aiotun.Device(**configured(name="t0"))
        assert first.name == "t0"


@pytest.mark.parametrize("error", [ALREADY_EXISTS, NOT_FOUND, NOT_READY])
def test_leftovers_of_a_crash_are_waited_for(standin: StandIn, error: int) -> None:
    standin.fail("WintunCreateAdapter", error, times=3)
    with aiotun.Device(**configured()) as device:
        assert device.is_up
    standin.fail("WintunCreateAdapter", error, times=4)
    with pytest.raises(TunError, match="adapter 'tun0' cannot be made"):
        aiotun.Device(**configured())


@pytest.mark.parametrize(
    ("function", "error", "kind", "words"),
    [
        ("WintunCreateAdapter", ACCESS_DENIED, NotPermittedError, "run as administrator"),
        ("WintunCreateAdapter", TIMEOUT, TunError, "cannot be made"),
        ("SetIpInterfaceEntry", ACCESS_DENIED, NotPermittedError, "run as administrator"),
        ("CreateUnicastIpAddressEntry", ACCESS_DENIED, NotPermittedError, "may not change address"),
        ("CreateIpForwardEntry2", ACCESS_DENIED, NotPermittedError, "may not change route"),
        ("NotifyUnicastIpAddressChange", 8, OSError, "NotifyUnicastIpAddressChange"),
        ("WintunStartSession", 8, OSError, "WintunStartSession"),
    ],
)
def test_a_failure_leaves_nothing(
    standin: StandIn, function: str, error: int, kind: type[OSError], words: str
) -> None:
    standin.fail(function, error)
    with pytest.raises(kind, match=words):
        aiotun.Device(**configured(name="f0", addresses="10.9.0.1/24", routes="10.8.0.0/16"))
    assert standin.call("Find", "f0") is None


def test_dns_that_is_refused_ends_no_device(
    standin: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """Products that watch a machine refuse it to administrators, too."""
    standin.fail("SetInterfaceDnsSettings", ACCESS_DENIED)
    with aiotun.Device(**configured(windows={"dns": ["10.9.0.53"]})) as device:
        assert device.is_up
    assert "DNS servers" in caplog.text


def test_ip_knows_the_interface_a_moment_later(standin: StandIn) -> None:
    standin.fail("GetIpInterfaceEntry", NOT_FOUND, times=5)
    with aiotun.Device(**configured(addresses="10.9.0.1/24")) as device:
        assert device.mtu == 1500


TENTATIVE, DUPLICATE = 1, 2
"""IpDadStateTentative, IpDadStateDuplicate (nldef.h)"""


@pytest.mark.parametrize("address", ["10.9.0.1/24", "fd09::1/64"])
def test_an_address_is_usable_when_the_call_returns(standin: StandIn, address: str) -> None:
    standin.call("Dad", TENTATIVE, 5)
    with aiotun.Device(**configured(addresses=address)) as device:
        assert standin.call("Dad", TENTATIVE, 5) == 0  # all looks were taken
        device.set_addresses(["10.9.1.1/24"])
        assert standin.call("Dad", 0, 0) == 0


def test_an_address_that_stays_tentative_is_told_of(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("aiotun.platforms.windows.interface.PATIENCE", 0.1)
    standin.call("Dad", TENTATIVE, 1 << 30)
    with aiotun.Device(**configured(addresses="10.9.0.1/24")) as device:
        assert caplog.messages == ["tun0: address 10.9.0.1/24 is not usable yet"]
        assert list(map(str, device.addresses())) == ["10.9.0.1/24"]


def test_an_address_that_another_host_has(standin: StandIn) -> None:
    with aiotun.Device(**configured(addresses="10.9.0.1/24")) as device:
        standin.call("Dad", DUPLICATE, 1 << 30)
        with pytest.raises(AddressError, match=r"another host has the address 10\.9\.0\.2/24"):
            device.add_address("10.9.0.2/24")
        assert list(map(str, device.addresses())) == ["10.9.0.1/24"]
        with pytest.raises(AddressError, match="another host"):
            aiotun.Device(**configured(name="f0", addresses="10.9.0.3/24"))
        assert standin.call("Find", "f0") is None


def test_a_machine_without_ipv6(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiotun.platforms.windows.interface.PATIENCE", 0.1)
    standin.call("Ipv6", 0)
    with aiotun.Device(**configured(addresses="10.9.0.1/24", metric=3, ipv6_quiet=True)) as device:
        device.mtu = 1400
        assert device.mtu == 1400
        with pytest.raises(UnsupportedError, match="no IPv6"):
            device.add_address("fd09::1/64")
        with pytest.raises(UnsupportedError, match="no IPv6"):
            device.add_route("fd10::/64")
        with pytest.raises(UnsupportedError, match="DisabledComponents"):
            device.mtu_v6 = 1300
    with pytest.raises(UnsupportedError, match="no IPv6"):
        aiotun.Device(**configured(addresses="fd09::1/64"))


@pytest.mark.parametrize(
    "settings",
    [
        {"carrier": False},
        {"connected_routes": False},
        {"group": 5},
        {"multi_queue": True},
        {"namespace": "blue"},
        {"owner": "somebody"},
        {"persistent": True},
        {"tx_queue_len": 500},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_what_windows_does_not_have(standin: StandIn, settings: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match=next(iter(settings))):
        aiotun.Device(**configured(**settings))


def test_an_address_with_a_peer(standin: StandIn) -> None:
    with pytest.raises(AddressError, match="no peer"):
        aiotun.Device(**configured(addresses="10.9.0.1 peer 10.9.0.2"))


def test_the_driver_is_deleted_with_the_last_adapter(
    standin: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    with aiotun.Device(**configured()):
        with aiotun.Device(**configured(windows={"delete_driver": True})):
            pass
        assert "driver was not removed" in caplog.text
    caplog.clear()
    with aiotun.Device(**configured(windows={"delete_driver": True})):
        pass
    assert "driver was not removed" not in caplog.text
