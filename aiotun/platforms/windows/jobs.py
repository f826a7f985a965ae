"""A program with all that it starts (job objects: jobapi2.h)."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import _winapi
import ctypes
import subprocess
from ctypes import wintypes

from .waits import until_set

__all__ = ["Job"]

# winbase.h
CREATE_SUSPENDED = 4
FAILED = 0xFFFFFFFF
"""Of ResumeThread."""

_kernel32 = ctypes.WinDLL("kernel32.dll", use_last_error=True, winmode=0x800)
_kernel32.CreateJobObjectW.argtypes = [ctypes.c_void_p, wintypes.LPCWSTR]
_kernel32.CreateJobObjectW.restype = wintypes.HANDLE
_kernel32.AssignProcessToJobObject.argtypes = [wintypes.HANDLE, wintypes.HANDLE]
_kernel32.TerminateJobObject.argtypes = [wintypes.HANDLE, wintypes.UINT]
_kernel32.ResumeThread.argtypes = [wintypes.HANDLE]
_kernel32.ResumeThread.restype = wintypes.DWORD


class Job:
    """Runs a command line. What the program starts may outlive it, unless all of it is ended."""

    def __init__(self, words: str, environment: dict[str, str]) -> None:
        """Raises `OSError`."""
        self._job = _kernel32.CreateJobObjectW(None, None)
        _check(self._job)
        try:
            self._process, thread, _, _ = _winapi.CreateProcess(
                *(None, words, None, None, False, CREATE_SUSPENDED),
                *(environment, None, subprocess.STARTUPINFO()),
            )
        except BaseException:
            _winapi.CloseHandle(self._job)
            raise
        try:  # suspended until it is in the job: so what it starts is in it, too
            _check(_kernel32.AssignProcessToJobObject(self._job, self._process))
            _check(_kernel32.ResumeThread(thread) != FAILED)
        except BaseException:
            _winapi.TerminateProcess(self._process, 1)
            self.close()
            raise
        finally:
            _winapi.CloseHandle(thread)

    async def wait(self) -> int:
        """Until the program itself has ended: its status."""
        await until_set(self._process)
        return _winapi.GetExitCodeProcess(self._process)

    def terminate(self) -> None:
        """End all of it that still runs."""
        _kernel32.TerminateJobObject(self._job, 1)

    def close(self) -> None:
        _winapi.CloseHandle(self._process)
        _winapi.CloseHandle(self._job)


def _check(done: object) -> None:
    if not done:
        raise ctypes.WinError(ctypes.get_last_error())
