"""The functions of iphlpapi.dll (netioapi.h) that configure interfaces, typed.

`IpHelper` is the one table through which they are called, so that the tests can give
another library that has them.
"""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes
import errno
from collections.abc import Callable
from ctypes import POINTER, byref, c_size_t, c_uint16, c_uint32, c_uint64, c_void_p, wintypes
from functools import cache
from typing import Any, TypeVar

from ...errors import UnsupportedError
from .structs import (
    AF_UNSPEC,
    DNS_INTERFACE_SETTINGS,
    GUID,
    MIB_IF_ROW2,
    MIB_IPFORWARD_ROW2,
    MIB_IPINTERFACE_ROW,
    MIB_UNICASTIPADDRESS_ROW,
)

__all__ = [
    "ERROR_ACCESS_DENIED",
    "ERROR_FILE_NOT_FOUND",
    "ERROR_INVALID_PARAMETER",
    "ERROR_NOT_FOUND",
    "ERROR_OBJECT_ALREADY_EXISTS",
    "IpHelper",
    "NotifyCallback",
    "ip_helper",
]

# winerror.h
ERROR_FILE_NOT_FOUND = 2
ERROR_ACCESS_DENIED = 5
ERROR_INVALID_PARAMETER = 87
ERROR_NOT_FOUND = 1168
ERROR_OBJECT_ALREADY_EXISTS = 5010

ALIAS_MAX = 256
"""NDIS_IF_MAX_STRING_SIZE, in UTF-16 units."""

NotifyCallback = ctypes.WINFUNCTYPE(None, c_void_p, c_void_p, ctypes.c_int)
"""What changes are told to: context, row, and what kind of change."""

Row = TypeVar("Row", bound=ctypes.Structure)

_LUID = POINTER(c_uint64)
_NOTIFY = [c_uint16, NotifyCallback, c_void_p, ctypes.c_ubyte, POINTER(wintypes.HANDLE)]

FUNCTIONS: dict[str, list[Any]] = {
    "ConvertInterfaceAliasToLuid": [wintypes.LPCWSTR, _LUID],
    "ConvertInterfaceLuidToAlias": [_LUID, wintypes.LPWSTR, c_size_t],
    "ConvertInterfaceLuidToGuid": [_LUID, POINTER(GUID)],
    "ConvertInterfaceLuidToIndex": [_LUID, POINTER(c_uint32)],
    "GetIfEntry2": [POINTER(MIB_IF_ROW2)],
    "GetIpInterfaceEntry": [POINTER(MIB_IPINTERFACE_ROW)],
    "SetIpInterfaceEntry": [POINTER(MIB_IPINTERFACE_ROW)],
    "GetUnicastIpAddressEntry": [POINTER(MIB_UNICASTIPADDRESS_ROW)],
    "CreateUnicastIpAddressEntry": [POINTER(MIB_UNICASTIPADDRESS_ROW)],
    "DeleteUnicastIpAddressEntry": [POINTER(MIB_UNICASTIPADDRESS_ROW)],
    "GetUnicastIpAddressTable": [c_uint16, POINTER(c_void_p)],
    "CreateIpForwardEntry2": [POINTER(MIB_IPFORWARD_ROW2)],
    "DeleteIpForwardEntry2": [POINTER(MIB_IPFORWARD_ROW2)],
    "GetIpForwardTable2": [c_uint16, POINTER(c_void_p)],
    "NotifyIpInterfaceChange": _NOTIFY,
    "NotifyRouteChange2": _NOTIFY,
    "NotifyUnicastIpAddressChange": _NOTIFY,
    "CancelMibChangeNotify2": [wintypes.HANDLE],
    "SetInterfaceDnsSettings": [GUID, POINTER(DNS_INTERFACE_SETTINGS)],
}
"""Each returns an error of winerror.h, or 0."""

PROCEDURES: dict[str, list[Any]] = {
    "InitializeIpInterfaceEntry": [POINTER(MIB_IPINTERFACE_ROW)],
    "InitializeUnicastIpAddressEntry": [POINTER(MIB_UNICASTIPADDRESS_ROW)],
    "InitializeIpForwardEntry": [POINTER(MIB_IPFORWARD_ROW2)],
    "FreeMibTable": [c_void_p],
}
"""These return nothing."""


class IpHelper:
    """Calls the functions, and raises an `OSError` with its `winerror` for the error of one.

    Raises `UnsupportedError` for a function that this Windows does not have.
    """

    def __init__(self, library: str = "iphlpapi.dll") -> None:
        # By name in the system's folder alone, or by its full path.
        self._library = ctypes.WinDLL(library, winmode=0 if ":" in library else 0x800)
        self._found: dict[str, Callable[..., Any]] = {}

    def _function(self, name: str) -> Callable[..., Any]:
        function = self._found.get(name)
        if function is None:
            try:
                function = getattr(self._library, name)
            except AttributeError as exc:
                raise UnsupportedError(
                    errno.EOPNOTSUPP, f"this Windows has no {name}", remedies=("use a newer one",)
                ) from exc
            function.argtypes = FUNCTIONS.get(name) or PROCEDURES[name]
            function.restype = c_uint32 if name in FUNCTIONS else None
            self._found[name] = function
        return function

    def has(self, name: str) -> bool:
        """Whether this Windows has the function."""
        return hasattr(self._library, name)

    def call(self, name: str, *arguments: Any) -> None:
        """Call one that returns an error."""
        error = self._function(name)(*arguments)
        if error:
            raise ctypes.WinError(error, f"{name}: {ctypes.FormatError(error)}")

    def initialized(self, row: Row, name: str) -> Row:
        """The row, filled with the defaults by one of the Initialize functions."""
        self._function(name)(byref(row))
        return row

    def table(self, name: str, kind: type[Row]) -> list[Row]:
        """Copies of all rows of a table: a count of 32 bits, and the rows 8 bytes behind it."""
        table = c_void_p()
        self.call(name, AF_UNSPEC, byref(table))
        assert table.value is not None
        try:
            count = c_uint32.from_address(table.value).value
            rows = (kind * count).from_address(table.value + 8)
            return [kind.from_buffer_copy(row) for row in rows]
        finally:
            self._function("FreeMibTable")(table)

    def alias(self, luid: int) -> str:
        """The interface's name."""
        name = ctypes.create_unicode_buffer(ALIAS_MAX + 1)
        self.call("ConvertInterfaceLuidToAlias", byref(c_uint64(luid)), name, len(name))
        return name.value

    def luid(self, alias: str) -> int | None:
        """That of the interface of that name, if there is one."""
        found = c_uint64()
        try:
            self.call("ConvertInterfaceAliasToLuid", alias, byref(found))
        except OSError:
            return None
        return found.value

    def index(self, luid: int) -> int:
        found = c_uint32()
        self.call("ConvertInterfaceLuidToIndex", byref(c_uint64(luid)), byref(found))
        return found.value

    def guid(self, luid: int) -> GUID:
        found = GUID()
        self.call("ConvertInterfaceLuidToGuid", byref(c_uint64(luid)), byref(found))
        return found


@cache
def ip_helper() -> IpHelper:
    """This system's."""
    return IpHelper()
