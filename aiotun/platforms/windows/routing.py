"""The routes of Windows that lead out of other interfaces: which of them is the default, and when
that changes."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes
from contextlib import ExitStack

from .iphlpapi import IpHelper
from .notices import Notices
from .power import told_of_resumes
from .structs import (
    AF_INET,
    AF_INET6,
    IF_OPER_STATUS_UP,
    MIB_IF_ROW2,
    MIB_IPFORWARD_ROW2,
    MIB_IPINTERFACE_ROW,
)

__all__ = ["RouteChanges", "default_interface"]


def default_interface(ip: IpHelper, version: int, but: int) -> int | None:
    """The index of the interface that packets go out of without a better route, `but` for the one
    with this LUID; None where there is none.

    Windows takes the default route with the least sum of its metric and its interface's.
    """
    family = AF_INET if version == 4 else AF_INET6
    found: list[tuple[int, int]] = []
    for row in ip.table("GetIpForwardTable2", MIB_IPFORWARD_ROW2):
        prefix = row.DestinationPrefix
        if (
            prefix.PrefixLength == 0
            and prefix.Prefix.family == family
            and row.InterfaceLuid != but
            and _is_up(ip, row.InterfaceLuid)
        ):
            found.append((row.Metric + _metric(ip, family, row.InterfaceLuid), row.InterfaceIndex))
    return min(found)[1] if found else None


def _is_up(ip: IpHelper, luid: int) -> bool:
    row = MIB_IF_ROW2(InterfaceLuid=luid)
    try:
        ip.call("GetIfEntry2", ctypes.byref(row))
    except OSError:  # it has gone meanwhile
        return False
    return row.OperStatus == IF_OPER_STATUS_UP


def _metric(ip: IpHelper, family: int, luid: int) -> int:
    row = ip.initialized(MIB_IPINTERFACE_ROW(), "InitializeIpInterfaceEntry")
    row.Family, row.InterfaceLuid = family, luid
    try:
        ip.call("GetIpInterfaceEntry", ctypes.byref(row))
    except OSError:
        return 0
    return row.Metric


class RouteChanges:
    """Tells whether routes, or the metrics of interfaces, have changed since it was asked last, or
    may have while the machine slept."""

    def __init__(self, ip: IpHelper) -> None:
        self._changed = False
        kinds = ("NotifyRouteChange2", "NotifyIpInterfaceChange")
        self._notices = Notices(ip, kinds, self._told)
        self._resumes = ExitStack()
        self._resumes.enter_context(told_of_resumes(self._told))

    def _told(self) -> None:
        self._changed = True

    def happened(self) -> bool:
        changed, self._changed = self._changed, False
        return changed

    def close(self) -> None:
        self._resumes.close()
        self._notices.close()
