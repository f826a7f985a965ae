"""What a file of code says of itself: its version (winver.h) and who signed it (wintrust.h)."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes
from ctypes import addressof, byref, c_long, c_uint32, c_void_p, sizeof
from uuid import UUID

from .structs import GUID, WINTRUST_DATA, WINTRUST_FILE_INFO

__all__ = ["file_version", "signature_fault"]

# wintrust.h
GENERIC_VERIFY_V2 = GUID.of(UUID("00aac56b-cd44-11d0-8cc2-00c04fc295ee"))
WTD_UI_NONE = 2
WTD_CHOICE_FILE = 1
WTD_CACHE_ONLY_URL_RETRIEVAL = 0x1000

_LPCWSTR = ctypes.c_wchar_p


def signature_fault(path: str) -> str | None:
    """What is wrong with the file's signature (Authenticode); None if Windows trusts it.

    Nothing is asked over the network: whether it was revoked stays open.
    """
    name = ctypes.create_unicode_buffer(path)
    file = WINTRUST_FILE_INFO(cbStruct=sizeof(WINTRUST_FILE_INFO), pcwszFilePath=addressof(name))
    data = WINTRUST_DATA(
        cbStruct=sizeof(WINTRUST_DATA),
        dwUIChoice=WTD_UI_NONE,
        dwUnionChoice=WTD_CHOICE_FILE,
        pFile=addressof(file),
        dwProvFlags=WTD_CACHE_ONLY_URL_RETRIEVAL,
    )
    verify = ctypes.WinDLL("wintrust.dll", winmode=0x800).WinVerifyTrust
    verify.restype, verify.argtypes = c_long, [c_void_p, c_void_p, c_void_p]
    error = verify(None, byref(GENERIC_VERIFY_V2), byref(data))
    return None if error == 0 else f"{ctypes.FormatError(error)} ({error & 0xFFFFFFFF:#x})"


def file_version(path: str) -> str | None:
    """As 0.14.1.0; None if the file says nothing of it."""
    library = ctypes.WinDLL("version.dll", winmode=0x800)
    library.GetFileVersionInfoSizeW.argtypes = [_LPCWSTR, c_void_p]
    library.GetFileVersionInfoW.argtypes = [_LPCWSTR, c_uint32, c_uint32, c_void_p]
    library.VerQueryValueW.argtypes = [c_void_p, _LPCWSTR, c_void_p, c_void_p]
    size = library.GetFileVersionInfoSizeW(path, None)
    info = ctypes.create_string_buffer(size or 1)
    fixed = c_void_p()  # VS_FIXEDFILEINFO (verrsrc.h): the version is its third and fourth word
    if not (
        size
        and library.GetFileVersionInfoW(path, 0, size, info)
        and library.VerQueryValueW(info, "\\", byref(fixed), byref(c_uint32()))
        and fixed.value
    ):
        return None
    high, low = (c_uint32 * 2).from_address(fixed.value + 8)
    return f"{high >> 16}.{high & 0xFFFF}.{low >> 16}.{low & 0xFFFF}"
