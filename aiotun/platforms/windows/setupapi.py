"""Adapters of tap-windows6, made, found and removed by SetupAPI (setupapi.h).

The driver's own tools do it in the same way (tapinstall, which is devcon of the Windows
driver samples). Adapters outlive the programs that made them.
"""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes
import errno
import time
import winreg
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ctypes import POINTER, byref, c_uint32, c_void_p, wintypes
from functools import cache
from typing import Any
from uuid import UUID

from ...errors import InterfaceGoneError, NoDriverError, NotPermittedError, TunError
from .remedies import ADMINISTRATOR, TAP
from .structs import GUID, SP_DEVINFO_DATA, SP_DRVINFO_DATA_V2_W

__all__ = ["HARDWARE_ID", "SetupApi", "setup_api"]

HARDWARE_ID = "tap0901"
"""Of the driver's version 9 (OemVista.inf)."""

NET = GUID.of(UUID("4d36e972-e325-11ce-bfc1-08002be10318"))
"""GUID_DEVCLASS_NET (devguid.h)"""

# setupapi.h
DIGCF_PRESENT = 2
DICD_GENERATE_ID = 1
DICS_FLAG_GLOBAL = 1
DIREG_DRV = 2
SPDIT_COMPATDRIVER = 2
SPDRP_HARDWAREID = 1
DIF_INSTALLDEVICE = 0x02
DIF_REMOVE = 0x05
DIF_SELECTBESTCOMPATDRV = 0x17
DIF_REGISTERDEVICE = 0x19
DIF_INSTALLINTERFACES = 0x20
DIF_REGISTER_COINSTALLERS = 0x22

# winerror.h and setupapi.h
ERROR_ACCESS_DENIED = 5
ERROR_NO_COMPAT_DRIVERS = 0xE0000228

PATIENCE = 15.0
"""Seconds for a new adapter to be known to the network."""

PAUSE = 0.01

INVALID_HANDLE_VALUE = c_void_p(-1).value

_DATA = POINTER(SP_DEVINFO_DATA)

FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "SetupDiCreateDeviceInfoList": (c_void_p, [POINTER(GUID), c_void_p]),
    "SetupDiDestroyDeviceInfoList": (wintypes.BOOL, [c_void_p]),
    "SetupDiCreateDeviceInfoW": (
        wintypes.BOOL,
        [c_void_p, wintypes.LPCWSTR, POINTER(GUID), wintypes.LPCWSTR, c_void_p, c_uint32, _DATA],
    ),
    "SetupDiSetDeviceRegistryPropertyW": (
        wintypes.BOOL,
        [c_void_p, _DATA, c_uint32, c_void_p, c_uint32],
    ),
    "SetupDiGetDeviceRegistryPropertyW": (
        wintypes.BOOL,
        [c_void_p, _DATA, c_uint32, c_void_p, c_void_p, c_uint32, c_void_p],
    ),
    "SetupDiBuildDriverInfoList": (wintypes.BOOL, [c_void_p, _DATA, c_uint32]),
    "SetupDiEnumDriverInfoW": (
        wintypes.BOOL,
        [c_void_p, _DATA, c_uint32, c_uint32, POINTER(SP_DRVINFO_DATA_V2_W)],
    ),
    "SetupDiCallClassInstaller": (wintypes.BOOL, [c_uint32, c_void_p, _DATA]),
    "SetupDiGetClassDevsW": (c_void_p, [POINTER(GUID), wintypes.LPCWSTR, c_void_p, c_uint32]),
    "SetupDiEnumDeviceInfo": (wintypes.BOOL, [c_void_p, c_uint32, _DATA]),
    "SetupDiCreateDevRegKeyW": (
        c_void_p,
        [c_void_p, _DATA, c_uint32, c_uint32, c_uint32, c_void_p, c_void_p],
    ),
    "SetupDiOpenDevRegKey": (
        c_void_p,
        [c_void_p, _DATA, c_uint32, c_uint32, c_uint32, c_uint32],
    ),
}
"""What each returns and takes. GetLastError names an error."""


class SetupApi:
    """The library's functions, and what is done with them."""

    def __init__(self) -> None:
        self._library = ctypes.WinDLL("setupapi.dll", use_last_error=True, winmode=0x800)
        self._functions: dict[str, Callable[..., Any]] = {}
        for name, (result, arguments) in FUNCTIONS.items():
            function = getattr(self._library, name)
            function.restype, function.argtypes = result, arguments
            self._functions[name] = function

    def _call(self, name: str, *arguments: Any) -> Any:
        result = self._functions[name](*arguments)
        if not result or result == INVALID_HANDLE_VALUE:
            error = ctypes.get_last_error()
            why = f"{ctypes.FormatError(error)} ({error & 0xFFFFFFFF:#x})"
            raise ctypes.WinError(error, f"{name}: {why}")
        return result

    def make(self, mac: str | None) -> int:
        """Make an adapter, and return its LUID. Takes some seconds.

        Raises `NoDriverError`, `NotPermittedError` and `TunError`; nothing is left then.
        """
        try:
            return self._make(mac)
        except OSError as exc:
            error = (exc.winerror or 0) & 0xFFFFFFFF
            if error == ERROR_NO_COMPAT_DRIVERS:
                raise NoDriverError(
                    errno.ENODEV, "the TAP-Windows driver is not installed", remedies=TAP
                ) from exc
            if error == ERROR_ACCESS_DENIED:
                raise NotPermittedError(
                    errno.EPERM, "this process may not make a TAP", remedies=ADMINISTRATOR
                ) from exc
            raise TunError(exc.errno or errno.EIO, f"no TAP can be made: {exc.strerror}") from exc

    def _make(self, mac: str | None) -> int:
        with self._new() as of:
            self._install(DIF_SELECTBESTCOMPATDRV, of)
            self._install(DIF_REGISTERDEVICE, of)
            try:
                if mac is not None:
                    self._set_mac(of, mac)
                for step in (DIF_REGISTER_COINSTALLERS, DIF_INSTALLINTERFACES):
                    with suppress(OSError):  # there need be none
                        self._install(step, of)
                self._install(DIF_INSTALLDEVICE, of)
                return self._wait_for_luid(of)
            except BaseException:
                self._install(DIF_REMOVE, of)
                raise

    @contextmanager
    def _new(self) -> Iterator[tuple[Any, ...]]:
        """A device that the system does not have yet, and the drivers for it."""
        with self._list("SetupDiCreateDeviceInfoList", byref(NET), None) as devices:
            data = SP_DEVINFO_DATA()
            data.cbSize = ctypes.sizeof(data)
            of = (devices, byref(data))
            self._call(
                "SetupDiCreateDeviceInfoW",
                devices, "Net", byref(NET), None, None, DICD_GENERATE_ID, byref(data),
            )  # fmt: skip
            ids = f"{HARDWARE_ID}\0\0".encode("utf-16-le")
            self._call("SetupDiSetDeviceRegistryPropertyW", *of, SPDRP_HARDWAREID, ids, len(ids))
            self._call("SetupDiBuildDriverInfoList", *of, SPDIT_COMPATDRIVER)
            yield of

    def driver_version(self) -> str | None:
        """Of the newest driver for TAPs that is installed, as 9.26.0.0. Raises `OSError`."""
        found: list[int] = []
        driver = SP_DRVINFO_DATA_V2_W()
        driver.cbSize = ctypes.sizeof(driver)
        with self._new() as of:
            while self._functions["SetupDiEnumDriverInfoW"](
                *of, SPDIT_COMPATDRIVER, len(found), byref(driver)
            ):
                found.append(driver.DriverVersion)
        parts = [max(found, default=0) >> shift & 0xFFFF for shift in (48, 32, 16, 0)]
        return ".".join(map(str, parts)) if found else None

    def _set_mac(self, of: tuple[Any, ...], mac: str) -> None:
        """The driver reads it when it starts (adapter.c, tapReadPermanentAddress)."""
        key = self._call("SetupDiCreateDevRegKeyW", *of, DICS_FLAG_GLOBAL, 0, DIREG_DRV, None, None)
        try:
            winreg.SetValueEx(key, "MAC", 0, winreg.REG_SZ, mac)
        finally:
            winreg.CloseKey(key)

    def _install(self, step: int, of: tuple[Any, ...]) -> None:
        self._call("SetupDiCallClassInstaller", step, *of)

    def _wait_for_luid(self, of: tuple[Any, ...]) -> int:
        deadline = time.monotonic() + PATIENCE
        while True:
            luid = self._luid(of)
            if luid is not None:
                return luid
            if time.monotonic() > deadline:
                raise TimeoutError(errno.ETIMEDOUT, "the network does not know the new adapter")
            time.sleep(PAUSE)

    def _luid(self, of: tuple[Any, ...]) -> int | None:
        """As Windows' class installer for networks writes it down (NET_LUID of ifdef.h)."""
        try:
            key = self._call(
                "SetupDiOpenDevRegKey", *of, DICS_FLAG_GLOBAL, 0, DIREG_DRV, winreg.KEY_READ
            )
        except OSError:
            return None
        try:
            kind, index = (
                winreg.QueryValueEx(key, name)[0] for name in ("*IfType", "NetLuidIndex")
            )
        except OSError:
            return None
        finally:
            winreg.CloseKey(key)
        return int(kind) << 48 | int(index) << 24

    def find(self, luid: int) -> bool:
        """Whether that interface is an adapter of this driver."""
        with self._adapters() as adapters:
            return any(self._luid(of) == luid for of in adapters)

    def remove(self, luid: int) -> None:
        """Remove that adapter from the system. Raises `InterfaceGoneError` and `TunError`."""
        with self._adapters() as adapters:
            for of in adapters:
                if self._luid(of) == luid:
                    try:
                        self._install(DIF_REMOVE, of)
                    except OSError as exc:
                        raise TunError(errno.EIO, f"the TAP is not removed: {exc}") from exc
                    return
        raise InterfaceGoneError(errno.ENODEV, "the adapter was removed")

    @contextmanager
    def _adapters(self) -> Iterator[Iterator[tuple[Any, ...]]]:
        with self._list("SetupDiGetClassDevsW", byref(NET), None, None, DIGCF_PRESENT) as devices:
            yield self._each(devices)

    def _each(self, devices: int) -> Iterator[tuple[Any, ...]]:
        number = 0
        data = SP_DEVINFO_DATA()
        data.cbSize = ctypes.sizeof(data)
        while self._functions["SetupDiEnumDeviceInfo"](devices, number, byref(data)):
            number += 1
            ids = ctypes.create_unicode_buffer(1024)  # what is longer is not ours
            with suppress(OSError):
                self._call(
                    "SetupDiGetDeviceRegistryPropertyW",
                    devices, byref(data), SPDRP_HARDWAREID, None, ids, ctypes.sizeof(ids), None,
                )  # fmt: skip
            if HARDWARE_ID in ids.value.lower().split("\\"):  # it may say root\tap0901
                yield devices, byref(data)

    @contextmanager
    def _list(self, name: str, *arguments: Any) -> Iterator[int]:
        devices: int = self._call(name, *arguments)
        try:
            yield devices
        finally:
            self._functions["SetupDiDestroyDeviceInfoList"](devices)


@cache
def setup_api() -> SetupApi:
    """This system's."""
    return SetupApi()
