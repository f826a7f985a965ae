"""Services of Windows (winsvc.h): whether one runs."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes
from ctypes import byref, c_uint32, c_void_p, c_wchar_p

__all__ = ["is_running"]

SC_MANAGER_CONNECT = 1
SERVICE_QUERY_STATUS = 4
SERVICE_RUNNING = 4


def is_running(name: str) -> bool:
    """False also where there is no such service."""
    library = ctypes.WinDLL("advapi32.dll", winmode=0x800)
    for function in ("OpenSCManagerW", "OpenServiceW"):
        getattr(library, function).restype = c_void_p
    library.OpenSCManagerW.argtypes = [c_wchar_p, c_wchar_p, c_uint32]
    library.OpenServiceW.argtypes = [c_void_p, c_wchar_p, c_uint32]
    library.QueryServiceStatus.argtypes = [c_void_p, c_void_p]
    library.CloseServiceHandle.argtypes = [c_void_p]
    manager = library.OpenSCManagerW(None, None, SC_MANAGER_CONNECT)
    service = library.OpenServiceW(manager, name, SERVICE_QUERY_STATUS)
    status = (c_uint32 * 7)()  # SERVICE_STATUS: the state is its second word
    try:
        return bool(
            service
            and library.QueryServiceStatus(service, byref(status))
            and status[1] == SERVICE_RUNNING
        )
    finally:
        for handle in filter(None, (service, manager)):
            library.CloseServiceHandle(handle)
