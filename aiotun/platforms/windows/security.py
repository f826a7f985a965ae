"""Who may do what with an object of Windows: security descriptors, owners, and privileges."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import _winapi
import ctypes
import msvcrt
import os
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import byref, c_uint32, c_void_p, wintypes
from functools import cache
from pathlib import Path

from .structs import SECURITY_ATTRIBUTES, TOKEN_PRIVILEGES

__all__ = [
    "ADMINISTRATORS",
    "SYSTEM",
    "copy_access",
    "create_file",
    "hold_file",
    "make_directory",
    "owner_of",
    "owner_of_file",
    "privileged",
    "security_attributes",
    "set_access",
]

SYSTEM, ADMINISTRATORS = "S-1-5-18", "S-1-5-32-544"
"""SECURITY_LOCAL_SYSTEM_RID and DOMAIN_ALIAS_RID_ADMINS (winnt.h) as identifiers in words."""

SDDL_REVISION = 1

# winnt.h
DELETE, GENERIC_WRITE = 0x10000, 0x40000000
OWNER_SECURITY_INFORMATION, DACL_SECURITY_INFORMATION = 1, 4
PROTECTED_DACL_SECURITY_INFORMATION = 0x80000000
TOKEN_QUERY, TOKEN_ADJUST_PRIVILEGES = 8, 0x20
SE_PRIVILEGE_ENABLED = 2

# fileapi.h, winbase.h, winerror.h
CREATE_NEW, OPEN_ALWAYS = 1, 4
FILE_ATTRIBUTE_NORMAL = 0x80
FILE_FLAG_DELETE_ON_CLOSE = 0x4000000
ERROR_SHARING_VIOLATION, ERROR_INSUFFICIENT_BUFFER, ERROR_ALREADY_EXISTS = 32, 122, 183
SE_KERNEL_OBJECT, SE_FILE_OBJECT = 6, 1
"""SE_OBJECT_TYPE (accctrl.h)"""

_POINTER = ctypes.POINTER(c_void_p)


@cache
def _advapi() -> ctypes.WinDLL:
    library = ctypes.WinDLL("advapi32.dll", use_last_error=True, winmode=0x800)
    library.ConvertStringSecurityDescriptorToSecurityDescriptorW.argtypes = [
        wintypes.LPCWSTR,
        c_uint32,
        _POINTER,
        c_void_p,
    ]
    library.ConvertSidToStringSidW.argtypes = [c_void_p, _POINTER]
    library.GetSecurityInfo.argtypes = [
        *(c_void_p, ctypes.c_int, c_uint32),
        *(_POINTER, c_void_p, c_void_p, c_void_p, _POINTER),
    ]
    library.GetFileSecurityW.argtypes = [
        *(wintypes.LPCWSTR, c_uint32, c_void_p, c_uint32, ctypes.POINTER(c_uint32)),
    ]
    library.SetFileSecurityW.argtypes = [wintypes.LPCWSTR, c_uint32, c_void_p]
    library.GetNamedSecurityInfoW.argtypes = [
        *(wintypes.LPCWSTR, ctypes.c_int, c_uint32),
        *(_POINTER, c_void_p, c_void_p, c_void_p, _POINTER),
    ]
    library.OpenProcessToken.argtypes = [c_void_p, c_uint32, _POINTER]
    library.LookupPrivilegeValueW.argtypes = [wintypes.LPCWSTR, wintypes.LPCWSTR, c_void_p]
    library.AdjustTokenPrivileges.argtypes = [
        *(c_void_p, wintypes.BOOL, c_void_p, c_uint32, c_void_p, c_void_p),
    ]
    return library


@cache
def _kernel() -> ctypes.WinDLL:
    library = ctypes.WinDLL("kernel32.dll", use_last_error=True, winmode=0x800)
    library.LocalFree.argtypes = [c_void_p]
    library.LocalFree.restype = c_void_p
    library.CreateDirectoryW.argtypes = [wintypes.LPCWSTR, c_void_p]
    return library


def _check(done: object) -> None:
    if not done:
        raise ctypes.WinError(ctypes.get_last_error())


@contextmanager
def _descriptor(sddl: str) -> Iterator[c_void_p]:
    """Where the security descriptor is, meanwhile, that stands in words there.

    The language is in "Security Descriptor Definition Language" of Microsoft's reference.
    """
    descriptor = c_void_p()
    _check(
        _advapi().ConvertStringSecurityDescriptorToSecurityDescriptorW(
            sddl, SDDL_REVISION, byref(descriptor), None
        )
    )
    try:
        yield descriptor
    finally:
        _kernel().LocalFree(descriptor)


@contextmanager
def security_attributes(sddl: str) -> Iterator[int]:
    """The address of SECURITY_ATTRIBUTES with this descriptor, for what is made meanwhile."""
    with _descriptor(sddl) as descriptor:
        attributes = SECURITY_ATTRIBUTES(ctypes.sizeof(SECURITY_ATTRIBUTES), descriptor, False)
        yield ctypes.addressof(attributes)


def owner_of(handle: int) -> str:
    """Who owns the object, as an identifier in words ("S-1-5-18"). Raises `OSError`."""
    return _owner(_advapi().GetSecurityInfo, handle, SE_KERNEL_OBJECT)


def owner_of_file(path: Path) -> str:
    """The same of a file or a folder."""
    return _owner(_advapi().GetNamedSecurityInfoW, str(path), SE_FILE_OBJECT)


def _owner(ask: ctypes._NamedFuncPointer, thing: int | str, kind: int) -> str:
    owner, descriptor, words = c_void_p(), c_void_p(), c_void_p()
    error = ask(
        *(thing, kind, OWNER_SECURITY_INFORMATION),
        *(byref(owner), None, None, None, byref(descriptor)),
    )
    if error:
        raise ctypes.WinError(error)
    try:
        _check(_advapi().ConvertSidToStringSidW(owner, byref(words)))
        assert words.value is not None
        return ctypes.wstring_at(words.value)
    finally:
        _kernel().LocalFree(words)
        _kernel().LocalFree(descriptor)


@contextmanager
def privileged(name: str) -> Iterator[None]:
    """Meanwhile the process uses a privilege, if it has it; administrators have many unused."""
    token, before = c_void_p(), TOKEN_PRIVILEGES()
    wanted = TOKEN_PRIVILEGES(PrivilegeCount=1, Attributes=SE_PRIVILEGE_ENABLED)
    _check(
        _advapi().OpenProcessToken(
            _winapi.GetCurrentProcess(), TOKEN_QUERY | TOKEN_ADJUST_PRIVILEGES, byref(token)
        )
    )
    try:
        luid = byref(wanted, TOKEN_PRIVILEGES.Luid.offset)
        _check(_advapi().LookupPrivilegeValueW(None, name, luid))
        size = c_uint32()
        _check(
            _advapi().AdjustTokenPrivileges(
                token, False, byref(wanted), ctypes.sizeof(before), byref(before), byref(size)
            )
        )
        try:
            yield
        finally:
            if before.PrivilegeCount:  # it was there, and unused
                _advapi().AdjustTokenPrivileges(token, False, byref(before), 0, None, None)
    finally:
        assert token.value is not None
        _winapi.CloseHandle(token.value)


def create_file(path: Path, sddl: str) -> int:
    """Make a file with this security; a descriptor to write it. Raises `OSError`,
    `FileExistsError` among them."""
    return _create_file(path, sddl, GENERIC_WRITE, CREATE_NEW, FILE_ATTRIBUTE_NORMAL)


def hold_file(path: Path, sddl: str) -> int | None:
    """A descriptor of a file that goes with it, and is made with this security unless it is there.

    None while others have it open. Raises `OSError`.
    """
    try:
        return _create_file(path, sddl, DELETE, OPEN_ALWAYS, FILE_FLAG_DELETE_ON_CLOSE)
    except OSError as exc:
        if exc.winerror == ERROR_SHARING_VIOLATION:
            return None
        raise


def _create_file(path: Path, sddl: str, access: int, disposition: int, flags: int) -> int:
    """Open a file that nobody else opens meanwhile."""
    with security_attributes(sddl) as attributes:
        try:
            handle = _winapi.CreateFile(
                str(path), access, 0, attributes, disposition, flags, _winapi.NULL
            )
        except OSError as exc:
            exc.filename = str(path)
            raise
    return msvcrt.open_osfhandle(handle, os.O_BINARY)


def make_directory(path: Path, sddl: str) -> None:
    """Make a folder with this security unless it is there. Raises `OSError`."""
    with security_attributes(sddl) as attributes:
        if not _kernel().CreateDirectoryW(str(path), attributes):
            error = ctypes.get_last_error()
            if error != ERROR_ALREADY_EXISTS or not path.is_dir():
                raise ctypes.WinError(error, str(path))


def copy_access(source: Path, target: Path) -> None:
    """Let those do with the target who may with the source. Raises `OSError`."""
    size = c_uint32()
    ask = _advapi().GetFileSecurityW
    ask(str(source), DACL_SECURITY_INFORMATION, None, 0, byref(size))
    if ctypes.get_last_error() != ERROR_INSUFFICIENT_BUFFER:
        raise ctypes.WinError(ctypes.get_last_error(), str(source))
    descriptor = ctypes.create_string_buffer(size.value)
    _check(ask(str(source), DACL_SECURITY_INFORMATION, descriptor, size, byref(size)))
    _check(_advapi().SetFileSecurityW(str(target), DACL_SECURITY_INFORMATION, descriptor))


def set_access(path: Path, sddl: str) -> None:
    """Let those do with a file or folder who may by this descriptor. Raises `OSError`."""
    with _descriptor(sddl) as descriptor:
        information = DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION
        _check(_advapi().SetFileSecurityW(str(path), information, descriptor))
