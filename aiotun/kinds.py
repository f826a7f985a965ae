"""check_kind: how an argument of a wrong type is refused, before anything is done with it."""

from __future__ import annotations

__all__ = ["check_kind"]


def check_kind(value: object, name: str, *kinds: type) -> None:
    """Raise `TypeError` unless the argument of this name is of one of the kinds."""
    if not isinstance(value, kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"{name} has to be {wanted}, not {type(value).__name__}")
