"""What packets belong to, and their rewriting: natively where that is built, else in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..native import native
from .translate import Rewrite, locate

__all__ = ["Rewrite", "locate"]

if not TYPE_CHECKING and native is not None:
    from ..native._native import Rewrite, locate
