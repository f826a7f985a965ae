"""The two ways of a packet through the core of WireGuard."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import pytest

from aiotun import aead
from aiotun.wireguard.core.interface import Interface
from aiotun.wireguard.core.tunnel import Tunnel

__all__ = ["WAYS", "leave_all_to_python"]

WAYS = ["python"] if aead.implementation == "python" else ["native", "python"]

Objects = TypeVar("Objects", bound=Iterable[object])


def leave_all_to_python(patch: pytest.MonkeyPatch) -> None:
    """No interface of WireGuard seals or opens natively what is plain."""

    def leave(self: Interface, objects: Objects, now: float) -> Objects:
        return objects

    patch.setattr(Interface, "seal_for_peers", leave)
    patch.setattr(Interface, "open_from_peers", leave)
    patch.setattr(Tunnel, "crossing", lambda self, ends, clock: None)
