"""TAPs on Windows: adapters made, found again and removed, and their frames."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import asyncio
import uuid
import winreg
from collections.abc import Iterator
from typing import Any

import pytest
from rigs import Recorder, endpoint, until
from standin import Far, StandIn, configured, in_thread
from standin_tap import MAC, FarTap, TapStandIn, open_tap_standin

import aiotun
from aiotun.errors import (
    ClosedError,
    InterfaceDownError,
    InterfaceGoneError,
    MACError,
    NameInUseError,
    NoDriverError,
    UnsupportedError,
)
from aiotun.platforms.windows import WindowsInterface, setupapi, tap

CLASS = r"SYSTEM\CurrentControlSet\Control\Class\{4d36e972-e325-11ce-bfc1-08002be10318}"


def frame(number: int = 0, size: int = 64) -> bytes:
    return bytes(12) + b"\x88\xb5" + number.to_bytes(2, "big") + bytes(size - 16)


def tap_settings(**settings: Any) -> dict[str, Any]:
    return configured(layer="tap", **settings)


@pytest.fixture
def driver(standin: StandIn) -> Iterator[TapStandIn]:
    with open_tap_standin(standin) as driver:
        yield driver


@pytest.fixture
def far(driver: TapStandIn) -> FarTap:
    return driver.announce()


@pytest.fixture
def device(far: FarTap) -> Iterator[aiotun.Device]:
    with aiotun.Device(**tap_settings(name="tap0")) as device:
        yield device


def test_a_new_one_is_made_and_removed(driver: TapStandIn, far: FarTap) -> None:
    with aiotun.Device(**tap_settings(name="Büro", addresses="10.9.0.1/24", mtu=1400)) as device:
        assert driver.installed() == [True]
        assert (device.name, device.layer, device.mtu, device.mac) == ("Büro", "tap", 1400, MAC)
        assert list(map(str, device.addresses())) == ["10.9.0.1/24"]
        assert isinstance(device.interface, WindowsInterface)
        assert device.interface.driver_version == (9, 26)
        assert not device.persistent
        assert far.plugged
    assert driver.installed() == [False]


def test_one_that_stays_is_found_again(driver: TapStandIn, far: FarTap) -> None:
    with aiotun.Device(**tap_settings(name="tap7", persistent=True)):
        pass
    assert not far.plugged
    with pytest.raises(NameInUseError):
        aiotun.Device(**tap_settings(name="tap7", exclusive=True))
    with pytest.raises(MACError, match="stays"):
        aiotun.Device(**tap_settings(name="tap7", mac="02:00:00:00:00:09"))
    with aiotun.Device(**tap_settings(name="tap7", mac=MAC)) as device:
        assert device.persistent
    assert driver.installed() == [True]
    with aiotun.Device(**tap_settings(name="tap7")) as device:
        device.persistent = False
    assert driver.installed() == [False]


def test_a_name_that_another_kind_has(far: FarTap) -> None:
    with aiotun.Device(**configured(name="t0")), pytest.raises(NameInUseError, match="'t0'"):
        aiotun.Device(**tap_settings(name="t0"))


def test_names_are_counted(driver: TapStandIn) -> None:
    driver.announce("Ethernet 1")
    with aiotun.Device(**tap_settings()) as first:
        driver.announce("Ethernet 2")
        with aiotun.Device(**tap_settings()) as second:
            assert (first.name, second.name) == ("tap0", "tap1")


def test_a_mac_address_is_given_to_the_driver(driver: TapStandIn) -> None:
    mac = "02:00:00:00:00:01"
    driver.announce(mac=mac)
    with aiotun.Device(**tap_settings(mac=mac)) as device:
        assert device.mac == mac
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, CLASS) as drivers:
            found = []
            for number in range(winreg.QueryInfoKey(drivers)[0]):
                with winreg.OpenKey(drivers, winreg.EnumKey(drivers, number)) as key:
                    try:
                        found.append(winreg.QueryValueEx(key, "MAC")[0])
                    except OSError:
                        continue
        assert found == [mac]
        with pytest.raises(UnsupportedError):
            device.mac = "02:00:00:00:00:02"


def test_a_guid_is_not_taken(driver: TapStandIn) -> None:
    with pytest.raises(UnsupportedError, match="guid"):
        aiotun.Device(**tap_settings(windows={"guid": uuid.uuid4()}))


def test_without_the_driver(driver: TapStandIn) -> None:
    with pytest.raises(NoDriverError, match="install tap-windows6"):
        aiotun.Device(**tap_settings())


@pytest.mark.parametrize(
    "fails", ["SetIpInterfaceEntry", "CreateUnicastIpAddressEntry", "ConvertInterfaceLuidToGuid"]
)
def test_a_failure_leaves_nothing(
    driver: TapStandIn, far: FarTap, standin: StandIn, fails: str
) -> None:
    standin.fail(fails, 5)
    with pytest.raises(OSError, match=r"may not change|ConvertInterface"):
        aiotun.Device(**tap_settings(addresses="10.9.0.1/24"))
    assert driver.installed() == [False]


def test_a_network_that_does_not_know_the_adapter(
    driver: TapStandIn, far: FarTap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setupapi, "PATIENCE", 0.1)
    monkeypatch.setattr(setupapi.SetupApi, "_luid", lambda self, of: None)
    with pytest.raises(aiotun.TunError, match="does not know the new adapter"):
        aiotun.Device(**tap_settings())
    monkeypatch.undo()
    assert driver.installed() == [False]


def test_frames_of_all_sizes_come_whole_and_in_order(device: aiotun.Device, far: FarTap) -> None:
    for number, size in enumerate([60, 61, 1514, 64, 1518, 9000, 17] * 10):
        far.push(frame(number, size))
        far.push(frame(number + 1, size))
        assert device.recv(timeout=10) == frame(number, size)
        assert device.recv(timeout=10) == frame(number + 1, size)
        device.send(frame(number, size))
        assert far.pull(10) == frame(number, max(size, 60))


def test_what_is_no_frame(device: aiotun.Device) -> None:
    for wrong in (bytes(13), bytes(70000)):
        with pytest.raises(OSError, match=r"no Ethernet frame|65553 at most"):
            device.send(wrong)


async def test_a_transport(device: aiotun.Device, far: FarTap) -> None:
    async with endpoint(device, Recorder) as protocol:
        for number in range(300):
            far.push(frame(number))
            if number % 50 == 0:
                await until(lambda: protocol.packets[-1:] == [frame(number)])  # noqa: B023
        await until(lambda: len(protocol.packets) == 300)
        assert protocol.packets == [frame(number) for number in range(300)]
        protocol.transport.writelines(frame(number) for number in range(300))
        protocol.transport.flush()
        assert [await asyncio.to_thread(far.pull, 10) for _ in range(300)] == protocol.packets
        protocol.transport.pause_reading()
        far.push(frame(7))
        far.push(frame(8))
        protocol.transport.resume_reading()
        await until(lambda: protocol.packets[-2:] == [frame(7), frame(8)])


def test_a_wait_that_a_frame_ends(device: aiotun.Device, far: FarTap) -> None:
    threads = [in_thread(device.recv) for _ in range(3)]
    for number in range(3):
        far.push(frame(number))
    for thread, _ in threads:
        thread.join(30)
    assert sorted(result for _, results in threads for result in results) == [
        frame(number) for number in range(3)
    ]
    with pytest.raises(TimeoutError):
        device.recv(timeout=0.05)


def test_down_and_up(device: aiotun.Device, far: FarTap) -> None:
    thread, results = in_thread(device.recv)
    device.down()
    assert not far.plugged
    with pytest.raises(InterfaceDownError):
        device.send(frame())
    device.up()
    assert far.plugged
    far.push(frame(1))
    thread.join(30)
    assert results == [frame(1)]


async def test_down_and_up_under_a_transport(device: aiotun.Device, far: FarTap) -> None:
    async with endpoint(device, Recorder) as protocol:
        for number in range(20):
            far.push(frame(number))
            await until(lambda: protocol.packets[-1:] == [frame(number)])  # noqa: B023
            device.down()
            device.up()


def test_close_ends_the_wait(device: aiotun.Device) -> None:
    thread, results = in_thread(device.recv)
    device.close()
    thread.join(30)
    assert isinstance(results[0], ClosedError)


async def test_sleep_and_resume(device: aiotun.Device, far: FarTap) -> None:
    """The driver ends the read that waits, and pulls the cable: it is plugged in again."""
    async with endpoint(device, Recorder) as protocol:
        for number in range(3):
            far.sleep()
            await until(lambda: far.plugged)
            far.push(frame(number))
            await until(lambda: protocol.packets[-1:] == [frame(number)])  # noqa: B023
        protocol.transport.pause_reading()
        far.sleep()
        protocol.transport.write(frame(9))
        protocol.transport.flush()
        assert await asyncio.to_thread(far.pull, 10) == frame(9)


async def test_an_adapter_that_is_removed(
    standin: StandIn, device: aiotun.Device, far: FarTap
) -> None:
    async with endpoint(device, Recorder) as protocol:
        Far(standin, device.name).remove()
        far.remove()
        await until(lambda: protocol.named("connection_lost"))
        (reason,) = protocol.named("connection_lost")
        assert isinstance(reason, InterfaceGoneError)


def test_writes_that_the_system_has_not_taken_in(
    device: aiotun.Device, far: FarTap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stand-in takes each at once: so it is the queue that is told otherwise."""
    monkeypatch.setattr(tap, "WRITES_MAX", 0)
    with pytest.raises(TimeoutError):
        device.send(frame(), timeout=0.05)
    thread, results = in_thread(lambda: device.send(frame(3), timeout=30))
    monkeypatch.undo()
    thread.join(30)
    assert results == [None]
    assert far.pull(10) == frame(3)
