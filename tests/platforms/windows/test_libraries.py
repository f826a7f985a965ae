"""Wintun's library and iphlpapi: layouts, exports, and how the former is found."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes
import importlib
import os
import pkgutil
import subprocess
from pathlib import Path

import pytest
from standin import LIBRARY, StandIn, configured

import aiotun
from aiotun.errors import NoDriverError, TunError, UnsupportedError
from aiotun.platforms import windows
from aiotun.platforms.windows import iphlpapi, structs, wintun

GENUINE = os.environ.get("AIOTUN_WINTUN", "")
"""The path of the real wintun.dll, whose driver wine cannot load."""


class Field(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("offset", ctypes.c_uint32), ("size", ctypes.c_uint32))


def test_layouts_are_those_of_the_headers() -> None:
    library = ctypes.WinDLL(LIBRARY)
    library.StandinField.restype = ctypes.POINTER(Field)
    number = 0
    seen = set()
    while found := library.StandinField(number):
        field = found.contents
        kind, _, name = field.name.decode().partition(".")
        struct = getattr(structs, kind)
        seen.add(kind)
        ours = getattr(struct, name) if name else None
        place = (ours.offset, ours.size) if ours else (0, ctypes.sizeof(struct))
        assert place == (field.offset, field.size), field.name
        number += 1
    ours_alone = {"DNS_INTERFACE_SETTINGS", "DEVICE_NOTIFY_SUBSCRIBE_PARAMETERS"}  # mingw has none
    assert (
        seen
        == {name for name in structs.__all__ if isinstance(getattr(structs, name), type)}
        - ours_alone
    )


class Constant(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("value", ctypes.c_uint64))


MODULES = [
    *(f"{windows.__name__}.{module.name}" for module in pkgutil.iter_modules(windows.__path__)),
    *("aiotun.udp.event", "aiotun.udp.winsock", "aiotun.wireguard.system.windows"),
]

OURS = {
    *("ATTEMPTS", "BUFFER", "REPLY_MORE", "UNIT", "WRITES_MAX"),  # a choice
    *("COALESCED_MAX", "CONTROL_MAX", "FRAME_MAX", "HEADER", "MTU_MIN_IPV6", "PACKET_MAX"),
}

NOWHERE = {
    *("DEVICE_NOTIFY_CALLBACK", "LOOPBACK"),
    *("DNS_SETTINGS_VERSION", "DNS_SETTING_IPV6", "DNS_SETTING_NAMESERVER"),
    "DNS_SETTING_SEARCHLIST",
    *("GET_VERSION", "SET_MEDIA_STATUS"),  # tap-windows6
    *("UDP_COALESCED_INFO", "UDP_RECV_MAX_COALESCED_SIZE", "UDP_SEND_MSG_SIZE"),
}
"""Constants that mingw's headers do not have."""


def test_constants_are_those_of_the_headers() -> None:
    library = ctypes.WinDLL(LIBRARY)
    library.StandinConstant.restype = ctypes.POINTER(Constant)
    theirs: set[tuple[str, int]] = set()
    number = 0
    while found := library.StandinConstant(number):
        theirs.add((found.contents.name.decode(), found.contents.value))
        number += 1
    ours = {
        (name, int(value))
        for module in MODULES
        for name, value in vars(importlib.import_module(module)).items()
        if name.isupper()
        and isinstance(value, int)
        and name not in OURS | NOWHERE | {"TYPE_CHECKING"}
    }
    assert ours == theirs


def test_the_layout_of_dns_settings() -> None:
    """As the crate windows-sys has it."""
    kind = structs.DNS_INTERFACE_SETTINGS
    fields = [getattr(kind, name).offset for name, _ in kind._fields_]
    assert fields == [0, 8, 16, 24, 32, 40, 44, 48, 52, 56]
    assert ctypes.sizeof(kind) == 64


def test_the_genuine_library_has_all_functions() -> None:
    library = ctypes.WinDLL(GENUINE)
    assert [name for name in wintun.FUNCTIONS if not hasattr(library, name)] == []


WINE = hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")


@pytest.mark.skipif(not WINE, reason="Windows loads the driver")
def test_where_there_is_no_driver_the_genuine_library_says_so() -> None:
    with pytest.raises(TunError, match=r"adapter 'genuine0' cannot be made|may not make"):
        aiotun.Device(name="genuine0", windows=aiotun.options.WindowsOptions(wintun_file=GENUINE))


def test_a_library_that_is_not_there() -> None:
    with pytest.raises(NoDriverError, match="was not found") as caught:
        wintun.Wintun(r"C:\nowhere\wintun.dll")
    assert "www.wintun.net" in str(caught.value)


TRY = """
from aiotun.platforms.windows import wintun
try:
    wintun.Wintun(None)
except OSError as exc:
    print(exc)
print(wintun.Wintun("wintun.dll").driver_version())
"""


def test_the_current_directory_is_not_looked_in(tmp_path: Path) -> None:
    """In a process of its own: a library that is loaded is found by its name."""
    (tmp_path / "wintun.dll").write_bytes(Path(LIBRARY).read_bytes())
    command = [sys.executable, "-c", TRY]
    said = subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.PIPE, text=True)
    refused, version = said.stdout.splitlines()
    assert "was not found" in refused
    assert version == "(0, 14)"  # a path is taken, also one that is relative


def test_a_library_of_something_else(tmp_path: Path) -> None:
    file = tmp_path / "wintun.dll"
    file.write_bytes(b"MZ no library")
    with pytest.raises(NoDriverError):
        wintun.Wintun(str(file))
    kernel = os.path.join(os.environ["SYSTEMROOT"], "System32", "kernel32.dll")
    with pytest.raises(NoDriverError, match="has no WintunCreateAdapter"):
        wintun.Wintun(kernel)


def test_the_driver_logs_to_our_logger(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "aiotun")
    wintun.Wintun(LIBRARY)
    assert caplog.messages == ["Wintun: stand-in, not the real Wintun"]


def test_a_function_that_this_windows_lacks(standin: StandIn) -> None:
    helper = iphlpapi.IpHelper("kernel32.dll")
    with pytest.raises(UnsupportedError, match="no GetIfEntry2"):
        helper.call("GetIfEntry2", None)


def test_every_function_is_there(standin: StandIn) -> None:
    library = ctypes.WinDLL(LIBRARY)
    names = [*iphlpapi.FUNCTIONS, *iphlpapi.PROCEDURES, *wintun.FUNCTIONS]
    assert [name for name in names if not hasattr(library, name)] == []
    with aiotun.Device(**configured()) as device:
        assert device.name == "tun0"
