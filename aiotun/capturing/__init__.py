"""Recording packets as pcapng: from within a program, and of any interface of a Linux machine."""

from .files import Ring
from .tap import Capture, capture

__all__ = ["Capture", "Ring", "capture"]
