"""An interface that is as its store says, from start to end, and answers the `wg` tool."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any

from .changes import Control, difference, snapshot
from .config import InterfaceConfig
from .endpoint import WireGuard
from .stores.file import Store
from .system_routes import Routes, with_mark
from .uapi_socket import DIRECTORY, open_uapi

__all__ = ["Server"]

logger = logging.getLogger("wireguard")

INTERVAL = 1.0
"""Seconds between two looks whether the UAPI socket is still there."""


class Server:
    """Runs one interface."""

    def __init__(self, store: Store, name: str) -> None:
        self.store = store
        self.name = name

    async def run(self, *, uapi: bool = True, directory: Path = DIRECTORY) -> None:
        """Serve until cancelled, or until the interface or its UAPI socket is deleted.

        Raises `OSError` and `ValueError` for what cannot be.
        """
        self.config = config = await asyncio.to_thread(with_mark, await self.store.load())
        async with contextlib.AsyncExitStack() as stack:
            await self._commands(config.pre_up)
            stack.push_async_callback(self._commands, config.post_down)
            self.wireguard = WireGuard(config, name=self.name)
            await stack.enter_async_context(self.wireguard)
            self.control = Control(self.wireguard)
            self.routes = Routes(self.wireguard.device)
            stack.push_async_callback(asyncio.to_thread, self.routes.close)
            await asyncio.to_thread(self.routes.update, config)
            if config.save_config:
                stack.push_async_callback(self._save)
            stack.push_async_callback(self._commands, config.pre_down)
            await self._commands(config.post_up)
            parts = [self.wireguard.wait_closed(), self._follow_store()]
            if uapi:
                path = await stack.enter_async_context(
                    open_uapi(self.control, self.name, directory)
                )
                parts.append(_until_deleted(path))
            self._tell()
            await _until_one_ends(parts)

    async def _follow_store(self) -> None:
        async for config in self.store.watch():
            try:
                present = self.wireguard.fwmark
                await self._become(await asyncio.to_thread(with_mark, config, present))
            except OSError as exc:
                logger.error("what has changed holds in part: %s", exc.strerror or exc)

    async def _become(self, config: InterfaceConfig) -> None:
        await self.control.apply(difference(self.config, config))
        device = self.wireguard.device
        if config.addresses != self.config.addresses:
            device.set_addresses(config.addresses)
        if config.mtu != self.config.mtu:
            device.mtu = config.mtu
        await asyncio.to_thread(self.routes.update, config)
        self.config = config
        self._tell()

    async def _save(self) -> None:
        await self.store.save(snapshot(self.wireguard, self.config))

    async def _commands(self, commands: Iterable[str]) -> None:
        """Run them in a shell. Raises `OSError` for one that fails."""
        for command in commands:
            command = command.replace("%i", self.name)
            logger.info("%s", command)
            process = await asyncio.create_subprocess_shell(command)
            if await process.wait():
                raise OSError(f"this command failed with status {process.returncode}: {command}")

    def _tell(self) -> None:
        print(
            f"{self.name} is up at UDP port {self.wireguard.listen_port}, "
            f"peers: {len(self.config.peers)}, addresses: "
            f"{', '.join(map(str, self.config.addresses)) or 'none'}",
            flush=True,
        )
        if self.config.dns:
            print(f"DNS is not set here: {', '.join(self.config.dns)}", flush=True)


async def _until_deleted(path: Path) -> None:
    """A way to end userspace WireGuard, as its description has it."""
    while True:
        await asyncio.sleep(INTERVAL)
        if not await asyncio.to_thread(path.exists):
            return


async def _until_one_ends(parts: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run them all; when one ends or fails, end the others. Raises what it raised."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
