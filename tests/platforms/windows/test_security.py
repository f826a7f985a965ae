"""Who may do what with files and folders, and what privileges are in use."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes
import os
from ctypes import byref, c_uint32, c_void_p
from pathlib import Path

import pytest

from aiotun.files import create_file, replace_file
from aiotun.platforms.windows import security
from aiotun.platforms.windows.security import (
    ADMINISTRATORS,
    SYSTEM,
    make_directory,
    owner_of_file,
    privileged,
    set_access,
)
from aiotun.platforms.windows.structs import TOKEN_PRIVILEGES
from aiotun.wireguard import state
from aiotun.wireguard.state import state_directory

DACL = 4
"""DACL_SECURITY_INFORMATION"""

EVERYBODY = ";;;WD)"

_advapi = ctypes.WinDLL("advapi32")


def access(path: Path) -> str:
    """Who may do what, in words."""
    size, words = c_uint32(), c_void_p()
    _advapi.GetFileSecurityW(str(path), DACL, None, 0, byref(size))
    descriptor = ctypes.create_string_buffer(size.value)
    assert _advapi.GetFileSecurityW(str(path), DACL, descriptor, size, byref(size))
    convert = _advapi.ConvertSecurityDescriptorToStringSecurityDescriptorW
    assert convert(descriptor, 1, DACL, byref(words), None)
    assert words.value is not None
    return ctypes.wstring_at(words.value)


@pytest.fixture
def open_folder(tmp_path: Path) -> Path:
    """A folder in which everybody may read all that is made."""
    folder = tmp_path / "open"
    make_directory(folder, "D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;OW)(A;OICI;FR;;;WD)")
    return folder


def test_a_new_file_is_its_owners_alone(open_folder: Path) -> None:
    (open_folder / "plain").write_bytes(b"")
    assert EVERYBODY in access(open_folder / "plain")
    replace_file(open_folder / "new", b"1")
    create_file(open_folder / "other", b"2")
    for name in ("new", "other"):
        assert EVERYBODY not in access(open_folder / name)
        assert ";;;SY)" in access(open_folder / name)
    assert (open_folder / "other").read_bytes() == b"2"
    with pytest.raises(FileExistsError):
        create_file(open_folder / "other", b"3")
    assert sorted(os.listdir(open_folder)) == ["new", "other", "plain"]


def test_a_file_that_is_there_keeps_what_others_may(open_folder: Path) -> None:
    for name in ("plain", "new"):
        create_file(open_folder / name, b"old")
    set_access(open_folder / "plain", "D:P(A;;FA;;;SY)(A;;FA;;;OW)(A;;FR;;;WD)")
    for name in ("plain", "new"):
        before = access(open_folder / name)
        replace_file(open_folder / name, b"new")
        assert access(open_folder / name) == before
        assert (open_folder / name).read_bytes() == b"new"
    assert EVERYBODY in access(open_folder / "plain")
    assert EVERYBODY not in access(open_folder / "new")


def test_a_folder_of_administrators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("PROGRAMDATA", str(tmp_path))
    owner = ADMINISTRATORS
    monkeypatch.setattr(state, "owner_of_file", lambda path: owner)  # wine's are the user's own
    for _ in range(2):  # it is made, and found
        assert state_directory() == tmp_path / "aiotun"
        assert EVERYBODY not in access(tmp_path / "aiotun")
        set_access(tmp_path / "aiotun", "D:P(A;;FA;;;SY)(A;;FA;;;OW)(A;;FR;;;WD)")
    owner = "S-1-5-21-1-2-3-1001"
    with pytest.raises(PermissionError, match="does not belong to administrators"):
        state_directory()
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    assert state_directory() == tmp_path


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileExistsError):
        make_directory(tmp_path / "file", "D:P(A;;FA;;;SY)")


def test_owners(tmp_path: Path) -> None:
    assert owner_of_file(tmp_path).startswith("S-1-5-")
    assert SYSTEM == "S-1-5-18"
    with pytest.raises(FileNotFoundError):
        owner_of_file(tmp_path / "absent")


def test_what_is_no_descriptor(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"WinError \d+"):
        make_directory(tmp_path / "new", "nonsense")
    assert not (tmp_path / "new").exists()


def test_privileges_are_in_use_meanwhile() -> None:
    with privileged("SeRestorePrivilege"):
        assert privilege_is_used("SeRestorePrivilege")
    assert not privilege_is_used("SeRestorePrivilege")
    with pytest.raises(OSError, match="WinError 1313"), privileged("SeNonsensePrivilege"):
        pass


def privilege_is_used(name: str) -> bool:
    """By asking for it: what was not in use before stands in the answer."""
    token = c_void_p()
    rights = security.TOKEN_QUERY | security.TOKEN_ADJUST_PRIVILEGES
    _advapi.OpenProcessToken(c_void_p(-1), rights, byref(token))
    wanted = TOKEN_PRIVILEGES(PrivilegeCount=1, Attributes=2)
    before, size = TOKEN_PRIVILEGES(), c_uint32()
    luid = byref(wanted, TOKEN_PRIVILEGES.Luid.offset)
    assert _advapi.LookupPrivilegeValueW(None, name, luid)
    assert _advapi.AdjustTokenPrivileges(token, 0, byref(wanted), 16, byref(before), byref(size))
    assert _advapi.AdjustTokenPrivileges(token, 0, byref(before), 0, None, None)
    ctypes.WinDLL("kernel32").CloseHandle(token)
    return not before.PrivilegeCount or bool(before.Attributes & security.SE_PRIVILEGE_ENABLED)
