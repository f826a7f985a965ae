"""What protocols that are tested with remember."""

from __future__ import annotations

from typing import Any


class Calls:
    """Remembers every callback, in order, as tuples of name and argument."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def error_received(self, exc: Exception) -> None:
        self.calls.append(("error_received", exc))

    def pause_writing(self) -> None:
        self.calls.append(("pause_writing",))

    def resume_writing(self) -> None:
        self.calls.append(("resume_writing",))

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append(("connection_lost", exc))

    def named(self, name: str) -> list[Any]:
        """The arguments of all calls of one callback."""
        return [call[1] if len(call) > 1 else None for call in self.calls if call[0] == name]
