"""aiotun wireguard serve: an interface as its file says."""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from ...flows.translate import is_unicast
from ..logs import Connections, JSONFormatter
from ..server import Companion, Server, Service
from ..state import state_directory
from ..stores.file import ConfigFile
from ..stores.urls import open_store
from ..timestamps import Timestamps
from ..values import parse_endpoint
from ..wg_quick import interface_name
from .loop import on_signal, run
from .peer import add_store_argument

if sys.platform == "win32":
    from ..uapi_pipe import DIRECTORY
else:
    from ..uapi_socket import DIRECTORY

if TYPE_CHECKING:
    from ..cluster.member import Member

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        nargs="?",
        type=Path,
        default=Path("wg0.conf"),
        help="as wg-quick has it, and as aiotun wireguard pair makes it (wg0.conf)",
    )
    parser.add_argument("--name", help="of the interface; that of the file, without .conf")
    add_store_argument(parser, None)
    parser.add_argument(
        "--link",
        metavar="ADDRESS:PORT",
        help="share the peers of a store of NATS with other servers, which reach this one there",
    )
    parser.add_argument(
        "--exit",
        choices=("flows",),
        help="where peers' packets go: through sockets of this program, which takes no root",
    )
    parser.add_argument(
        "--exit-allow",
        metavar="ADDRESS:PORT",
        action="append",
        default=[],
        help="a service of this host that peers reach by the exit, as by itself they reach none",
    )
    parser.add_argument(
        "--no-uapi", action="store_true", help=f"nothing in {DIRECTORY} for the wg tool"
    )
    parser.add_argument(
        "--metrics", metavar="PLACE", help="for Prometheus, at 127.0.0.1:9586 or unix:PATH"
    )
    parser.add_argument(
        "--web", metavar="PLACE", help="a page for an operator, at 127.0.0.1:8080 or unix:PATH"
    )
    parser.add_argument(
        "--state",
        type=Path,
        metavar="DIRECTORY",
        help="where the peers' last time stamps outlive a restart; STATE_DIRECTORY if that is set, "
        "on Windows else %%ProgramData%%\\aiotun",
    )
    parser.add_argument(
        "--kill-switch",
        action="store_true",
        help="let nothing leave this machine but through the interface, by nft",
    )
    parser.add_argument(
        "--log", choices=("text", "json"), default="text", help="how lines of the log look"
    )
    parser.add_argument(
        "--allow-commands", action="store_true", help="run PreUp, PostUp, PreDown and PostDown"
    )


def main(args: argparse.Namespace) -> None:
    """Raises `OSError` and `ValueError`."""
    # Before there is a loop: as long as it waits for a pipe, signals do what they do by themselves.
    file = ConfigFile(args.file, allow_commands=args.allow_commands)
    run(_serve(args, file))


async def _serve(args: argparse.Namespace, file: ConfigFile) -> None:
    if args.log == "json":
        logging.getLogger().handlers[0].setFormatter(JSONFormatter())
    name = interface_name(args.name or args.file.stem)
    companions: list[Companion] = [Connections(name)]
    state = args.state or state_directory()
    if state is not None:
        companions.append(Timestamps(state / f"{name}.timestamps"))
    async with contextlib.AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(args.store)) if args.store else None
        server = Server(
            file,
            name,
            store=store,
            member=await stack.enter_async_context(_joined(args)) if args.link else None,
            companions=companions,
            services=list(_services(args)),
            kill_switch=args.kill_switch,
            exit=_allowed(args),
        )
        if sys.platform != "win32":  # where a file that changes is read anyway
            on_signal(signal.SIGHUP, server.reload)
        await server.run(uapi=not args.no_uapi)


def _allowed(args: argparse.Namespace) -> list[tuple[str, int]] | None:
    """The services of this host that peers may reach through an exit; None: there is no exit."""
    if args.exit is None:
        if args.exit_allow:
            raise ValueError("--exit-allow is about --exit flows: say that too")
        return None
    services = list(map(parse_endpoint, args.exit_allow))
    for host, _ in services:
        if not is_unicast(ip_address(host).packed):
            raise ValueError(f"--exit-allow: {host} is no address that packets of peers may have")
    return services


def _services(args: argparse.Namespace) -> Iterator[Service]:
    if args.metrics:
        from ..web.listening import parse_place
        from ..web.metrics import serve_metrics

        metrics = parse_place(args.metrics)
        yield lambda server: serve_metrics(server, metrics)
    if args.web:
        from ..web.listening import parse_place
        from ..web.page import serve_page

        web = parse_place(args.web)
        yield lambda server: serve_page(server, web)


def _joined(args: argparse.Namespace) -> contextlib.AbstractAsyncContextManager[Member]:
    if not str(args.store).startswith(("nats:", "tls:")):
        raise ValueError("--link takes a store of NATS, in which servers find each other: --store")
    from ..cluster.member import joined

    host, port = parse_endpoint(args.link)
    return joined(args.store, (str(ip_address(host)), port))
