"""An interface that is as its store says, from start to end, and answers the `wg` tool."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import sys
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ..cancelling import despite_cancellation, end
from ..errors import UnsupportedError
from .changes import Control, difference, snapshot
from .config import InterfaceConfig, PeerConfig
from .endpoint import WireGuard
from .keys import KEY_SIZE, encode_key
from .kill_switch import KillSwitch
from .service_manager import ServiceManager
from .stores.base import Store
from .stores.file import ConfigFile, FileStore
from .system import device_name, open_system
from .wg_quick import interface_name, run_hooks

if sys.platform == "win32":
    from .uapi_pipe import DIRECTORY, open_uapi
else:
    from .uapi_socket import DIRECTORY, named, open_uapi

if TYPE_CHECKING:
    from ..flows import FlowServer
    from .cluster.member import Member

__all__ = ["Server"]

logger = logging.getLogger("aiotun.wireguard")

INTERVAL = 1.0
"""Seconds between two looks whether the UAPI socket is still there."""


class Companion(Protocol):
    """What has to know each peer of an interface from its first moment on."""

    def serve(self, wireguard: WireGuard) -> None:
        """Take this interface, which has no peers yet."""

    def place(self, public_keys: Iterable[bytes]) -> None:
        """These peers have come, changed or gone."""

    async def run(self) -> None:
        """Until cancelled."""


T = TypeVar("T")

Service = Callable[["Server"], Coroutine[Any, Any, None]]
"""Runs while the interface is up, until cancelled."""


class Server:
    """Runs one interface: as its file says, with the peers of a store, which is that file too if
    none is given. As a `member` it shares these peers with other servers. With a `kill_switch`
    nothing leaves the machine but through the interface. With an `exit` peers reach the Internet
    through sockets of this process, and the system has no interface: see `flows_exit` for the
    services of this host that they reach too, an address and a port each.

    Raises `ValueError` for a name that no interface can have."""

    def __init__(
        self,
        file: ConfigFile,
        name: str,
        *,
        store: Store[Any] | None = None,
        member: Member | None = None,
        companions: Sequence[Companion] = (),
        services: Sequence[Service] = (),
        kill_switch: bool = False,
        exit: Collection[tuple[str, int]] | None = None,
    ) -> None:
        self.file = file
        self.store: Store[Any] = FileStore(file) if store is None else store
        self.member = member
        self._exit = exit
        self.flows: FlowServer | None = None
        """Those of the peers, where it is an exit and up."""
        if exit is not None and kill_switch:
            raise ValueError(
                "an exit through flows lets packets leave this machine: no kill switch"
            )
        if exit is not None and sys.platform != "linux":
            raise UnsupportedError(
                errno.EOPNOTSUPP,
                "an exit through flows takes user namespaces, which Linux has",
                remedies=("forward packets by this system's own means",),
            )
        if kill_switch and sys.platform != "linux":
            raise UnsupportedError(
                errno.EOPNOTSUPP,
                "a kill switch is made of rules of nft, which Linux has",
                remedies=("write rules for this system's own packet filter",),
            )
        self.name = interface_name(name)
        self._companions = [*companions, *([] if member is None else [member])]
        self._services = services
        self._kill_switch = KillSwitch(self.name) if kill_switch else None
        self._manager = ServiceManager()
        self._becoming = asyncio.Lock()
        """Held from before file and store are read until the interface is so: what was read
        earlier takes the place of nothing that was read later."""
        self._known: InterfaceConfig | None = None
        """What file and store said when all of it was made so; None: some of it was refused."""
        self._reload_wanted = asyncio.Event()
        self._came_up = asyncio.Event()

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
        self._known = wanted = self._wanted
        async with contextlib.AsyncExitStack() as stack:
            path = await self._up(wanted, stack, directory if uapi else None)
            up = stack.pop_all()
        try:
            parts = [
                self.wireguard.wait_closed(),
                self._follow_file(),
                self._follow_store(revision),
                self._follow_reloads(),
                self._follow_link(),
            ]
            if self._system is not None:
                parts.append(self._system.follow(lambda: self.wireguard.endpoints))
            if path is not None and sys.platform != "win32":  # where a pipe cannot be deleted
                parts.append(_until_deleted(path))
            parts += [companion.run() for companion in self._companions]
            parts += [service(self) for service in self._services]
            parts.append(self._manager.run())
            await _until_one_ends(parts)
        finally:
            self._manager.stopping()
            await self._down(up)

    def reload(self) -> None:
        """Become what file and store say, as soon as the interface is up; log what cannot be."""
        self._reload_wanted.set()

    async def _up(
        self, config: InterfaceConfig, stack: contextlib.AsyncExitStack, directory: Path | None
    ) -> Path | None:
        """Bring the interface up as `wg-quick up` does. The stack undoes it.

        The interface has its port and its socket in the directory before the first command runs,
        so that the `wg` tool works there, and what the file says of it only behind PreUp.
        """
        self.config = replace(config, private_key=bytes(KEY_SIZE), addresses=(), dns=(), peers=())
        device = None
        if self._exit is not None and sys.platform == "linux":
            from .exits import flows_exit

            exit_ = flows_exit(config.mtu, self._exit)
            device, self.flows = await stack.enter_async_context(exit_)
        self.wireguard = WireGuard(self.config, name=device_name(self.name), device=device)
        await stack.enter_async_context(self.wireguard)
        self.wireguard.on_link_up(self._came_up.set)
        self.interface = self.wireguard.device.name if self.flows is None else self.name
        for companion in self._companions:
            companion.serve(self.wireguard)
        self.control = Control(self.wireguard)
        path = None
        if directory is not None:
            open_ = open_uapi(self.control, self.interface, directory)
            path = await stack.enter_async_context(open_)
            if sys.platform != "win32" and self.interface != self.name:
                stack.enter_context(named(self.name, self.interface, directory))
        await run_hooks(config.pre_up, self.interface)
        self._system = open_system(self.wireguard) if self.flows is None else None
        if self._system is not None:
            stack.push_async_callback(asyncio.to_thread, self._system.close)
        if self._kill_switch is not None:
            stack.push_async_callback(self._kill_switch.close)
        await self._become(config)
        await run_hooks(config.post_up, self.interface)
        print(self._status, flush=True)
        self._manager.ready(self._status)
        return path

    async def _down(self, up: contextlib.AsyncExitStack) -> None:
        """Take the interface down as `wg-quick down` does. Each step runs, even if others fail."""
        async with contextlib.AsyncExitStack() as stack:  # from its end
            stack.push_async_callback(run_hooks, self.config.post_down, self.interface)
            stack.push_async_callback(up.aclose)
            if self.config.save_config:
                stack.push_async_callback(self._save)
            stack.push_async_callback(run_hooks, self.config.pre_down, self.interface)

    @property
    def settings(self) -> InterfaceConfig:
        """What the file says; its peers are not among it where a store has them."""
        return self._settings

    @property
    def peers(self) -> Mapping[bytes, PeerConfig]:
        """What the store says, also of those that are disabled."""
        return self._peers

    @property
    def _wanted(self) -> InterfaceConfig:
        """What the file and the store say."""
        enabled = tuple(peer for peer in self._peers.values() if peer.enabled)
        return replace(self._settings, peers=enabled)

    async def _follow_reloads(self) -> None:
        while await self._reload_wanted.wait():
            self._reload_wanted.clear()
            self._manager.reloading()
            async with self._becoming:
                try:
                    self._settings = await self.file.load()
                    self._peers, _ = await self.store.peers()
                except (OSError, ValueError) as exc:
                    logger.error("%s; what held before holds on", exc)
                await self._change()
            self._manager.ready(self._status)

    async def _follow_file(self) -> None:
        async with contextlib.aclosing(self.file.watch()) as configs:
            async for config in configs:
                async with self._becoming:
                    if replace(config, peers=()) != replace(self._settings, peers=()):
                        self._settings = config
                        with contextlib.suppress(OSError, ValueError):
                            self._peers, _ = await self.store.peers()
                        await self._change()

    async def _follow_store(self, revision: Any) -> None:
        async with contextlib.aclosing(self.store.watch(revision)) as found:
            async for changes in found:
                async with self._becoming:
                    for key, peer in changes:
                        if peer is None:
                            self._peers.pop(key, None)
                        else:
                            self._peers[key] = peer
                    with contextlib.suppress(OSError, ValueError):
                        self._settings = await self.file.load()
                    await self._change()

    async def _follow_link(self) -> None:
        """Others had the interface down: with it went its routes, and its addresses of IPv6."""
        while await self._came_up.wait():
            self._came_up.clear()
            async with self._becoming:
                self._known = None
                await self._change()

    async def _change(self) -> None:
        """Become what file and store say. Who changed the one may have changed the other too."""
        wanted = self._wanted
        if wanted == self._known:
            return
        try:
            await self._become(wanted, again=self._known is None)
            self._known = wanted
            logger.info("%s has changed: %s", self.interface, self._state)
            self._manager.ready(self._status)
        except OSError as exc:
            self._known = None
            logger.error("what has changed holds in part: %s", exc.strerror or exc)
        except ValueError as exc:
            logger.error("%s; what held before holds on", exc)

    async def _become(self, config: InterfaceConfig, *, again: bool = False) -> None:
        """Make all be as the configuration says, `again` what was to be so before, too.

        Raises `ValueError` before anything is done. After an `OSError` a part of it holds.
        """
        system, device = self._system, self.wireguard.device
        if system is not None:
            config = await _in_thread(system.with_mark, config, self.wireguard.fwmark)
        if self._kill_switch is not None:
            # A mark that came with the routes of a peer stays when that peer goes.
            config = replace(config, fwmark=config.fwmark or self.wireguard.fwmark)
            self._kill_switch.check(config.fwmark)
        before = self.config
        changes = difference(before, config)
        await self.control.apply(changes)
        self.config = config
        for companion in self._companions:
            companion.place([change.public_key for change in changes.peers])
        if again or config.mtu != before.mtu:  # first, as an IPv6 address takes one of 1280
            device.mtu = config.mtu
        if again or config.addresses != before.addresses:
            device.set_addresses(config.addresses)
            left = {address.interface for address in device.addresses()}
            for address in left.intersection(before.addresses).difference(config.addresses):
                device.remove_address(address)  # a link-local one
        if system is not None:
            if again:
                await _in_thread(system.look_again)
            await _in_thread(system.update, config, self.wireguard.endpoints)
        if self._kill_switch is not None:
            await self._kill_switch.set(config.fwmark)
        if system is not None and (again or config.dns != before.dns):
            missing = await _in_thread(system.set_dns, config.dns)
            if missing is not None:
                words = ", ".join(config.dns)
                print(f"DNS is not set, for want of {missing}: {words}", flush=True)

    async def _save(self) -> None:
        await self.file.save(snapshot(self.wireguard, self.config))

    @property
    def _status(self) -> str:
        return f"{self.interface} is up at {self._state}"

    @property
    def _state(self) -> str:
        return (
            f"UDP port {self.wireguard.listen_port}, peers: {len(self.config.peers)}, addresses: "
            f"{', '.join(map(str, self.config.addresses)) or 'none'}"
        )


async def _in_thread(change: Callable[..., T], *args: Any) -> T:
    """Change the system off the loop, to the end even when cancelled: it is undone next."""
    return await despite_cancellation(asyncio.to_thread(change, *args))


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
        await end(tasks)
