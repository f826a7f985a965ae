"""DeviceLogger: says in each line which device it is about."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Adapter = logging.LoggerAdapter[logging.Logger]
else:
    Adapter = logging.LoggerAdapter  # which takes no type before Python 3.11

__all__ = ["DeviceLogger"]


class DeviceLogger(Adapter):
    """The logger `aiotun`, for one device."""

    def __init__(self, device: str) -> None:
        super().__init__(logging.getLogger("aiotun"), {})
        self.device = device
        """The interface's name as far as it is known."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        return f"{self.device}: {msg}", kwargs
