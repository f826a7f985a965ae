"""What the demo shows: lines that stay, and on a terminal one that lives."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from typing import TextIO

__all__ = ["Display", "amount"]

# ECMA-48: erase in line (8.3.41), select graphic rendition (8.3.117).
ERASE_LINE = "\r\33[K"
BOLD, RESET = "\33[1m", "\33[0m"

INDENT = 3
NAME = 11
"""Columns of what stands before a table, and of a name at the head of a row."""

LEVELS = "▁▂▃▄▅▆▇█"
BAR, ASCII_BAR = "█", "#"


class Display:
    """Writes to a text stream: plain lines unless it is a terminal; no-color.org is respected."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._colour = self._live and not os.environ.get("NO_COLOR")
        self._unicode = _can_encode(stream, LEVELS)

    def line(self, text: str = "", *, hang: int = INDENT) -> None:
        """A line that stays, in the place of the live one.

        What is too long for the terminal goes on in lines of its own, indented by `hang`.
        """
        for line in self._fit(text, hang):
            self._write(f"{ERASE_LINE if self._live else ''}{line}\n")

    def row(self, name: str, text: str) -> None:
        """A line of a table: what is too long goes on in the second column."""
        self.line(f"{' ' * INDENT}{name:{NAME}}{text}", hang=INDENT + NAME)

    def heading(self, text: str) -> None:
        """A line that stands out, after an empty one."""
        self.line()
        for line in self._fit(text, 0):
            self._write(f"{BOLD}{line}{RESET}\n" if self._colour else f"{line}\n")

    def live(self, text: str) -> None:
        """What is going on now; it gives way to what comes next."""
        if self._live:
            self._write(ERASE_LINE + text[: self._width() - 1])

    def bar(self, fraction: float, width: int) -> str:
        """A bar of up to so many columns, padded to that."""
        return ((BAR if self._unicode else ASCII_BAR) * round(fraction * width)).ljust(width)

    def curve(self, values: Sequence[float]) -> str:
        """A column for each value, the largest one full; nothing where it cannot be drawn."""
        if not self._unicode or not values:
            return ""
        top = max(values)
        return "".join(LEVELS[int(value / top * (len(LEVELS) - 1))] for value in values)

    def _width(self) -> int:
        """Columns of the terminal as it is now."""
        return os.get_terminal_size(self._stream.fileno()).columns or 80

    def _fit(self, text: str, hang: int) -> list[str]:
        """The text in lines as long as the terminal; one line where there is none."""
        if not self._live:
            return [text]
        return textwrap.wrap(
            text, self._width(), subsequent_indent=" " * hang, break_on_hyphens=False
        ) or [""]

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def amount(value: float) -> str:
    """A number to three digits: 12.3M."""
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g}{prefix}"
    return f"{value:.3g}"


def _can_encode(stream: TextIO, text: str) -> bool:
    try:
        text.encode(stream.encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True
