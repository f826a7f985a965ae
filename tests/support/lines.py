"""What happens between two lines of a thread, as a signal handler does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CodeType, FrameType, TracebackType
from typing import Any

import aiotun

PACKAGE = aiotun.__path__[0]


class AtLine:
    """Calls an action at so many lines of aiotun's own code; at the latest when a code begins."""

    def __init__(self, line: int, action: Callable[[], object], latest: CodeType) -> None:
        self.early = False
        """It was called before the code began."""
        self._left = line
        self._action = action
        self._latest = latest
        self._called = False

    def __enter__(self) -> AtLine:
        self._before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        sys.settrace(self._before)

    def _trace(self, frame: FrameType, event: str, argument: object) -> Any:
        if self._called or not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        latest = frame.f_code is self._latest
        if event == "line":
            self._left -= 1
        if latest or self._left < 0:
            self._called, self.early = True, not latest
            self._action()
            return None
        return self._trace
