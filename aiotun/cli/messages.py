"""Errors and amounts in plain words."""

from __future__ import annotations

import argparse
from contextlib import suppress

__all__ = ["amount", "duration", "message", "scaled"]


def message(exc: OSError | ValueError) -> str:
    """An error in plain words."""
    if isinstance(exc, OSError) and exc.strerror:
        return f"{exc.filename}: {exc.strerror}" if exc.filename else exc.strerror
    return str(exc)


def amount(text: str) -> int:
    """A number above 0, with k, M or G for thousands of it. For argparse."""
    factor = {"k": 10**3, "M": 10**6, "G": 10**9}.get(text[-1:], 1)
    digits = text if factor == 1 else text[:-1]
    if not digits.isdecimal() or not int(digits):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0, such as 500k or 20M")
    return int(digits) * factor


def duration(text: str) -> float:
    """A number of seconds above 0. For argparse."""
    with suppress(ValueError):
        if 0 < (number := float(text)) < 1e6:
            return number
    raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")


def scaled(value: float) -> str:
    """Three digits, and the prefix of its unit: 1234567 is "1.23 M"."""
    prefixes = iter(("", "k", "M", "G", "T"))
    prefix = next(prefixes)
    while value >= 999.5 and (following := next(prefixes, None)) is not None:
        value, prefix = value / 1000, following
    return f"{value:.3g} {prefix}"
