"""The stand-in for the driver of tap-windows6 (tests/support/windows/driver), and its far side.

It is loaded into wine as the real one would be. Adapters are made and found by wine's own
SetupAPI; what Windows' class installer for networks adds to one, its GUID and the parts of its
LUID, the INF file says here.
"""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import _winapi
import contextlib
import ctypes
import os
import struct
import time
import uuid
from collections.abc import Iterator
from ctypes import c_uint32, c_void_p, c_wchar_p
from pathlib import Path
from typing import Any

import pytest
from standin import StandIn

from aiotun.platforms.windows import setupapi
from aiotun.platforms.windows.structs import GUID

__all__ = ["FarTap", "TapStandIn", "open_tap_standin"]

DRIVER = os.environ.get("AIOTUN_STANDIN_TAP", "")
"""Its path, where tools/windows built it."""

INF = Path(os.environ["SYSTEMROOT"]) / "inf" / "tap0901.inf"

# Of the stand-in (driver/tap.c).
MAKE, REMOVE, ABORT_READS, MEDIA = (0x220000 | number << 2 for number in range(100, 104))

ETHERNET = 6
"""IF_TYPE_ETHERNET_CSMACD"""

MAC = "00:ff:01:02:03:04"

_service = ctypes.WinDLL("advapi32", use_last_error=True)
_service.OpenSCManagerW.restype = c_void_p
_service.OpenSCManagerW.argtypes = [c_wchar_p, c_wchar_p, c_uint32]
_service.CreateServiceW.restype = c_void_p
_service.CreateServiceW.argtypes = [
    *(c_void_p, c_wchar_p, c_wchar_p, c_uint32, c_uint32, c_uint32, c_uint32, c_wchar_p),
    *(c_wchar_p, c_void_p, c_wchar_p, c_wchar_p, c_wchar_p),
]
_service.OpenServiceW.restype = c_void_p
_service.OpenServiceW.argtypes = [c_void_p, c_wchar_p, c_uint32]
_service.StartServiceW.argtypes = [c_void_p, c_uint32, c_void_p]
_kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
_kernel32.DeviceIoControl.argtypes = [
    *(c_void_p, c_uint32, c_void_p, c_uint32, c_void_p, c_uint32, c_void_p, c_void_p)
]

ERROR_SERVICE_ALREADY_RUNNING = 1056


def _start() -> None:
    every = 0xF01FF  # SERVICE_ALL_ACCESS
    manager = _service.OpenSCManagerW(None, None, 0xF003F)
    service = _service.OpenServiceW(manager, "standintap", every) or _service.CreateServiceW(
        manager, "standintap", "standintap", every, 1, 3, 1, DRIVER, *[None] * 5
    )
    if not _service.StartServiceW(service, 0, None):
        error = ctypes.get_last_error()
        if error != ERROR_SERVICE_ALREADY_RUNNING:
            raise ctypes.WinError(error)


def _clean() -> None:
    """Remove what a program left that was killed."""
    INF.unlink(missing_ok=True)
    system = setupapi.setup_api()
    found = True
    while found:
        with system._adapters() as adapters:
            for of in adapters:
                system._install(setupapi.DIF_REMOVE, of)
                break
            else:
                found = False


def _open(path: str) -> int:
    access = _winapi.GENERIC_READ | _winapi.GENERIC_WRITE
    return _winapi.CreateFile(path, access, 0, _winapi.NULL, _winapi.OPEN_EXISTING, 0, _winapi.NULL)


def _control(handle: int, code: int, data: bytes = bytes(4)) -> bytes:
    buffer = ctypes.create_string_buffer(data, len(data))
    size = ctypes.byref(c_uint32())
    if not _kernel32.DeviceIoControl(
        handle, code, buffer, len(data), buffer, len(data), size, None
    ):
        raise ctypes.WinError(ctypes.get_last_error())
    return buffer.raw


class FarTap:
    """The other side of an adapter."""

    def __init__(self, control: int, guid: uuid.UUID) -> None:
        self._driver = control
        self._guid = f"{{{str(guid).upper()}}}"
        self._handle = _open(rf"\\.\{self._guid}.far")

    def push(self, frame: bytes) -> None:
        """Let a frame arrive. Raises `OSError` while the cable is not plugged in."""
        _winapi.WriteFile(self._handle, frame)

    def pull(self, timeout: float = 0.0) -> bytes:
        """The next frame that the device sent. Raises `TimeoutError`."""
        deadline = time.monotonic() + timeout
        while not (frame := self.poll()):
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(0.001)
        return frame

    def poll(self) -> bytes:
        """The next frame, or nothing."""
        return bytes(_winapi.ReadFile(self._handle, 1 << 16)[0])

    @property
    def plugged(self) -> bool:
        return bool(struct.unpack("I", _control(self._handle, MEDIA))[0])

    def sleep(self) -> None:
        """What the driver does when the machine goes to sleep."""
        _control(self._handle, ABORT_READS)

    def remove(self) -> None:
        """The driver ends what waits, and takes nothing any more."""
        _control(self._driver, REMOVE, f"{self._guid}\0".encode("utf-16-le"))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.remove()
        _winapi.CloseHandle(self._handle)


class TapStandIn:
    """What makes adapters: one at a time is announced, which the next device becomes."""

    def __init__(self, standin: StandIn) -> None:
        _start()
        _clean()
        self._standin = standin
        self._driver = _open(r"\\.\StandinTap")
        self._adapters: list[int] = []
        self._luids: list[int] = []
        self._fars: list[FarTap] = []

    def announce(self, name: str = "Ethernet 7", mac: str = MAC) -> FarTap:
        """The adapter that is made next; Windows names it so."""
        number = 1000 + len(self._luids)
        guid = uuid.uuid4()
        text = f"{{{str(guid).upper()}}}"
        INF.write_text(TEMPLATE.format(guid=text, index=number))
        _control(self._driver, MAKE, f"{text}\0".encode("utf-16-le"))
        luid = ETHERNET << 48 | number << 24
        address = bytes.fromhex(mac.replace(":", ""))
        added = self._standin.call("Add", name, ctypes.byref(GUID.of(guid)), luid, address)
        self._adapters.append(added)
        far = FarTap(self._driver, guid)
        self._luids.append(luid)
        self._fars.append(far)
        return far

    def installed(self) -> list[bool]:
        """Of each that was announced whether the system has it."""
        return [setupapi.setup_api().find(luid) for luid in self._luids]

    def close(self) -> None:
        INF.unlink(missing_ok=True)
        for luid in self._luids:
            if setupapi.setup_api().find(luid):
                setupapi.setup_api().remove(luid)
        for adapter in self._adapters:
            self._standin.call("Forget", adapter)
        for far in self._fars:
            far.close()
        _winapi.CloseHandle(self._driver)


@contextlib.contextmanager
def open_tap_standin(standin: StandIn) -> Iterator[TapStandIn]:
    if not DRIVER:
        pytest.skip("AIOTUN_STANDIN_TAP names no stand-in for the driver (make windows builds one)")
    with contextlib.closing(TapStandIn(standin)) as driver:
        yield driver


TEMPLATE: Any = r"""[Version]
Signature="$Windows NT$"
Class=Net
ClassGUID={{4d36e972-e325-11ce-bfc1-08002be10318}}
Provider=%Name%
DriverVer=11/29/2026,9.26.0.0
[Manufacturer]
%Name%=tap0901,NTamd64
[tap0901.NTamd64]
%Name%=tap0901.ndi,root\tap0901
%Name%=tap0901.ndi,tap0901
[tap0901.ndi]
AddReg=tap0901.reg
[tap0901.ndi.Services]
AddService=tap0901,2,tap0901.service
[tap0901.service]
ServiceType=1
StartType=3
ErrorControl=1
ServiceBinary=%12%\tap0901.sys
[tap0901.reg]
HKR,,NetCfgInstanceId,0,"{guid}"
HKR,,NetLuidIndex,0x10001,{index}
HKR,,*IfType,0x10001,6
[Strings]
Name="stand-in"
"""
"""As the driver's own OemVista.inf, but for what Windows' installer adds."""
