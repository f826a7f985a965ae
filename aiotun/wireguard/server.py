"""An interface that is as its store says, from start to end, and answers the `wg` tool."""

from __future__ import annotations

import sys

assert sys.platform == "linux"  # as its routes are, so far

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .changes import Control, difference, snapshot
from .config import InterfaceConfig
from .endpoint import WireGuard
from .keys import KEY_SIZE, encode_key
from .stores.base import Store
from .stores.file import ConfigFile, FileStore
from .system_routes import SystemRoutes
from .uapi_socket import DIRECTORY, open_uapi
from .wg_quick import interface_name, run_hooks

if TYPE_CHECKING:
    from .cluster.member import Member

__all__ = ["Server"]

logger = logging.getLogger("aiotun.wireguard")

INTERVAL = 1.0
"""Seconds between two looks whether the UAPI socket is still there."""


class Server:
    """Runs one interface: as its file says, with the peers of a store, which is that file too if
    none is given. As a `member` it shares these peers with other servers.

    Raises `ValueError` for a name that no interface can have."""

    def __init__(
        self,
        file: ConfigFile,
        name: str,
        *,
        store: Store[Any] | None = None,
        member: Member | None = None,
    ) -> None:
        self.file = file
        self.store = FileStore(file) if store is None else store
        self.member = member
        self.name = interface_name(name)
        self._becoming = asyncio.Lock()

    async def run(self, *, uapi: bool = True, directory: Path = DIRECTORY) -> None:
        """Serve until cancelled, or until the interface or its UAPI socket is deleted.

        Raises `OSError` and `ValueError` for what cannot be.
        """
        self._settings = await self.file.load()
        self._peers, revision = await self.store.peers()
        for peer in self._settings.peers:
            if peer.public_key not in self._peers:
                key = encode_key(peer.public_key)
                logger.warning("peer %s stands in the file and not in the store: left out", key)
        self._known = self._wanted
        async with contextlib.AsyncExitStack() as stack:
            path = await self._up(self._known, stack, directory if uapi else None)
            up = stack.pop_all()
        try:
            parts = [
                self.wireguard.wait_closed(),
                self._follow_file(),
                self._follow_store(revision),
            ]
            if path is not None:
                parts.append(_until_deleted(path))
            if self.member is not None:
                parts.append(self.member.run())
            await _until_one_ends(parts)
        finally:
            await self._down(up)

    async def _up(
        self, config: InterfaceConfig, stack: contextlib.AsyncExitStack, directory: Path | None
    ) -> Path | None:
        """Bring the interface up as `wg-quick up` does. The stack undoes it.

        The interface has its port and its socket in the directory before the first command runs,
        so that the `wg` tool works there, and what the file says of it only behind PreUp.
        """
        self.config = replace(config, private_key=bytes(KEY_SIZE), addresses=(), peers=())
        self.wireguard = WireGuard(self.config, name=self.name)
        await stack.enter_async_context(self.wireguard)
        if self.member is not None:
            self.member.serve(self.wireguard)
        self.control = Control(self.wireguard)
        path = None
        if directory is not None:
            path = await stack.enter_async_context(open_uapi(self.control, self.name, directory))
        await run_hooks(config.pre_up, self.name)
        self.routes = SystemRoutes(self.wireguard.device)
        stack.push_async_callback(asyncio.to_thread, self.routes.close)
        await self._become(config)
        await run_hooks(config.post_up, self.name)
        self._tell()
        return path

    async def _down(self, up: contextlib.AsyncExitStack) -> None:
        """Take the interface down as `wg-quick down` does. Each step runs, even if others fail."""
        async with contextlib.AsyncExitStack() as stack:  # from its end
            stack.push_async_callback(run_hooks, self.config.post_down, self.name)
            stack.push_async_callback(up.aclose)
            if self.config.save_config:
                stack.push_async_callback(self._save)
            stack.push_async_callback(run_hooks, self.config.pre_down, self.name)

    @property
    def _wanted(self) -> InterfaceConfig:
        """What the file and the store say."""
        enabled = tuple(peer for peer in self._peers.values() if peer.enabled)
        return replace(self._settings, peers=enabled)

    async def _follow_file(self) -> None:
        async with contextlib.aclosing(self.file.watch()) as configs:
            async for config in configs:
                if replace(config, peers=()) != replace(self._settings, peers=()):
                    self._settings = config
                    with contextlib.suppress(OSError, ValueError):
                        self._peers, _ = await self.store.peers()
                    await self._change()

    async def _follow_store(self, revision: Any) -> None:
        async with contextlib.aclosing(self.store.watch(revision)) as found:
            async for changes in found:
                for key, peer in changes:
                    if peer is None:
                        self._peers.pop(key, None)
                    else:
                        self._peers[key] = peer
                with contextlib.suppress(OSError, ValueError):
                    self._settings = await self.file.load()
                await self._change()

    async def _change(self) -> None:
        """Become what file and store say. Who changed the one may have changed the other too."""
        async with self._becoming:
            wanted = self._wanted
            if wanted == self._known:
                return
            try:
                await self._become(wanted)
                self._known = wanted
                self._tell()
            except OSError as exc:
                logger.error("what has changed holds in part: %s", exc.strerror or exc)

    async def _become(self, config: InterfaceConfig) -> None:
        config = await asyncio.to_thread(self.routes.with_mark, config, self.wireguard.fwmark)
        changes = difference(self.config, config)
        await self.control.apply(changes)
        if self.member is not None:
            self.member.place(change.public_key for change in changes.peers)
        device = self.wireguard.device
        if config.addresses != self.config.addresses:
            device.set_addresses(config.addresses)
        if config.mtu != self.config.mtu:
            device.mtu = config.mtu
        await asyncio.to_thread(self.routes.update, config)
        self.config = config

    async def _save(self) -> None:
        await self.file.save(snapshot(self.wireguard, self.config))

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
    """Wait until the UAPI socket is deleted: the documented way to end userspace WireGuard."""
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
