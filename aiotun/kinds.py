"""How an argument of a wrong type or out of its range is refused, before it is used."""

from __future__ import annotations

__all__ = ["check_fd", "check_kind", "check_number"]

FD_MAX = 2**31 - 1
"""A descriptor is a C int."""


def check_kind(value: object, name: str, *kinds: type) -> None:
    """Raise `TypeError` unless the argument of this name is of one of the kinds."""
    if not isinstance(value, kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"{name} has to be {wanted}, not {type(value).__name__}")


def check_number(value: object, name: str, least: int, most: int) -> None:
    """Raise `TypeError` unless the argument is an integer, `ValueError` out of its range."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} has to be int, not {type(value).__name__}")
    if not least <= value <= most:
        raise ValueError(f"{name} has to be {least} to {most}, not {value}")


def check_fd(value: object, name: str) -> None:
    """The same for a file descriptor."""
    check_number(value, name, 0, FD_MAX)
