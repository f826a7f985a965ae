"""The stand-in for Wintun and iphlpapi (tests/support/windows), and how tests use it."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import contextlib
import ctypes
import functools
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from ctypes import c_char_p, c_uint32, c_uint64, c_void_p, c_wchar_p
from ipaddress import ip_network
from typing import Any

import pytest

import aiotun
from aiotun.platforms import windows
from aiotun.platforms.windows import interface, power
from aiotun.platforms.windows.iphlpapi import IpHelper
from aiotun.platforms.windows.structs import GUID, MIB_IPFORWARD_ROW2

__all__ = ["LIBRARY", "Card", "Far", "StandIn", "configured", "in_thread", "open_standin"]

LIBRARY = os.environ.get("AIOTUN_STANDIN", "")
"""Its path, where tools/windows built it."""

IF_TYPE_ETHERNET_CSMACD = 6
"""ipifcons.h"""

FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "StandinAdd": (c_void_p, [c_wchar_p, c_void_p, c_uint64, c_char_p]),
    "StandinBehaviour": (c_uint32, [c_void_p, c_uint32]),
    "StandinCorrupt": (None, [c_void_p]),
    "StandinDad": (c_uint32, [c_uint32, c_uint32]),
    "StandinDns": (c_wchar_p, [c_void_p, c_uint32, c_uint32]),
    "StandinFail": (None, [c_char_p, c_uint32, c_uint32]),
    "StandinFind": (c_void_p, [c_wchar_p]),
    "StandinForget": (None, [c_void_p]),
    "StandinIpv6": (None, [c_uint32]),
    "StandinKept": (c_uint32, [c_void_p]),
    "StandinListeners": (c_uint32, []),
    "StandinPull": (c_uint32, [c_void_p, c_char_p]),
    "StandinPush": (c_uint32, [c_void_p, c_char_p, c_uint32]),
    "StandinRemove": (None, [c_void_p]),
    "StandinPower": (c_uint32, [c_uint32]),
    "StandinRename": (None, [c_void_p, c_wchar_p]),
}


class StandIn:
    """The library: what tests order of it."""

    def __init__(self) -> None:
        library = ctypes.WinDLL(LIBRARY)
        self.functions: dict[str, Callable[..., Any]] = {}
        for name, (result, arguments) in FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
            self.functions[name] = function

    def call(self, name: str, *arguments: Any) -> Any:
        return self.functions["Standin" + name](*arguments)

    def fail(self, function: str, error: int, times: int = 1) -> None:
        """Have the next calls of a function fail with an error of winerror.h."""
        self.call("Fail", function.encode(), error, times)


class Far:
    """The other side of a device's rings."""

    def __init__(self, standin: StandIn, name: str) -> None:
        self._standin = standin
        self._adapter = standin.call("Find", name)
        self._buffer = ctypes.create_string_buffer(0x10000)

    def call(self, name: str, *arguments: Any) -> Any:
        return self._standin.call(name, self._adapter, *arguments)

    def push(self, packet: bytes) -> bool:
        """Let a packet arrive; False if the ring has no room for it."""
        return bool(self.call("Push", packet, len(packet)))

    def pull(self, timeout: float = 0.0) -> bytes:
        """The next packet that the device sent. Raises `TimeoutError`."""
        deadline = time.monotonic() + timeout
        while True:
            size = self.call("Pull", self._buffer)
            if size:
                return self._buffer.raw[:size]
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(0.001)

    def remove(self) -> None:
        """Remove the adapter as the device manager does."""
        self.call("Remove")


class Card:
    """A network card, up, with routes of somebody else's."""

    def __init__(self, standin: StandIn, name: str, index: int) -> None:
        self._standin = standin
        self._luid = IF_TYPE_ETHERNET_CSMACD << 48 | index << 24
        guid = ctypes.byref(GUID.of(uuid.uuid4()))
        self._adapter = standin.call("Add", name, guid, self._luid, None)

    def route(self, network: str, metric: int) -> None:
        self._call("CreateIpForwardEntry2", network, metric)

    def unroute(self, network: str) -> None:
        self._call("DeleteIpForwardEntry2", network, 0)

    def _call(self, function: str, network: str, metric: int) -> None:
        ip, destination = windows.ip_helper(), ip_network(network)
        row = ip.initialized(MIB_IPFORWARD_ROW2(), "InitializeIpForwardEntry")
        row.InterfaceLuid, row.Metric, row.SitePrefixLength = self._luid, metric, 0
        row.DestinationPrefix.Prefix.put(destination.network_address)
        row.DestinationPrefix.PrefixLength = destination.prefixlen
        row.NextHop.put(destination.network_address)
        ip.call(function, ctypes.byref(row))

    def close(self) -> None:
        self._standin.call("Forget", self._adapter)


def configured(**settings: Any) -> dict[str, Any]:
    """The settings of a device on the stand-in; `windows` takes its options as a dict."""
    options = {"wintun_file": LIBRARY, **settings.pop("windows", {})}
    return settings | {"windows": aiotun.options.WindowsOptions(**options)}


@contextlib.contextmanager
def open_standin() -> Iterator[StandIn]:
    """In its place the system's functions would configure the interface."""
    if not LIBRARY:
        pytest.skip("AIOTUN_STANDIN names no stand-in for Wintun (make windows builds one)")
    standin = StandIn()
    listening = standin.call("Listeners")  # of a test that failed, maybe
    helper = IpHelper(LIBRARY)

    def netsh(*words: str) -> str:
        """A model of netsh: it renames."""
        assert words[:3] == ("interface", "set", "interface"), words
        names = dict(word.split("=", 1) for word in words[3:])
        standin.call("Rename", standin.call("Find", names["name"]), names["newname"])
        return ""

    register = functools.partial(power._register, LIBRARY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "ip_helper", lambda: helper)
        patch.setattr(power, "_register", register)
        patch.setattr(interface, "netsh", netsh)
        yield standin
        standin.call("Ipv6", 1)
        standin.call("Dad", 0, 0)
        standin.fail("", 0, 0)
        assert standin.call("Listeners") <= listening, "somebody still listens to changes"


def in_thread(function: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Call it in a thread; the list gets what it returns or raises."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(function())
        except Exception as exc:
            results.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, results
