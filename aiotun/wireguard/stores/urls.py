"""Stores by their URLs."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from .base import Store
from .file import ConfigFile, FileStore

__all__ = ["open_store"]


@contextlib.asynccontextmanager
async def open_store(url: str) -> AsyncIterator[Store[Any]]:
    """The store at file:PATH, or at nats://HOST:4222/BUCKET (see `nats.parse_address`).

    Raises `OSError` where it cannot be had, and `ValueError`.
    """
    scheme, colon, path = url.partition(":")
    if colon and scheme == "file" and path:
        yield FileStore(ConfigFile(Path(path), allow_commands=True))  # it runs none
    elif scheme in ("nats", "tls"):
        try:
            from .nats import NatsStore
        except ModuleNotFoundError as exc:
            if exc.name is None or exc.name.partition(".")[0] != "nats":
                raise
            raise OSError("a store of NATS takes nats-py: pip install 'aiotun[nats]'") from exc
        async with NatsStore.open(url) as store:
            yield store
    else:
        raise ValueError("a store is file:PATH or nats://HOST:4222/BUCKET")
