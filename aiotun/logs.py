"""NamedLogger: each of its lines names a device or an endpoint."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Adapter = logging.LoggerAdapter[logging.Logger]
else:
    Adapter = logging.LoggerAdapter  # which takes no type before Python 3.11

__all__ = ["NamedLogger"]


class NamedLogger(Adapter):
    """The logger `aiotun`, for one device or endpoint."""

    def __init__(self, subject: str) -> None:
        super().__init__(logging.getLogger("aiotun"), {})
        self.subject = subject
        """What stands before each message; for a device its name, as far as it is known."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        return f"{self.subject}: {msg}", kwargs
