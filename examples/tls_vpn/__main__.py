"""python -m examples.tls_vpn server | client"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path

from .certificates import make_certificates
from .client import connect
from .server import serve
from .wire import PORT


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.tls_vpn")
    parser.add_argument("--directory", type=Path, default=Path("certificates"))
    parser.add_argument("--port", type=int, default=PORT)
    commands = parser.add_subparsers(dest="command", required=True)
    server = commands.add_parser("server", help="makes the certificates that are not there yet")
    server.add_argument("clients", nargs="*", help="names of clients to make certificates for")
    server.add_argument("--host", default=None, help="the address to listen at")
    server.add_argument("--name", default="vpn0", help="of the network interface")
    server.add_argument("--networks", nargs="+", default=["10.8.0.0/24", "fd08::/64"])
    client = commands.add_parser("client")
    client.add_argument("who", help="the name in the certificate")
    client.add_argument("host", help="where the server is")
    client.add_argument("--name", default="vpn0", help="of the network interface")
    return parser.parse_args()


async def until_signal(program: Coroutine[None, None, None]) -> None:
    task = asyncio.ensure_future(program)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


def main() -> None:
    args = arguments()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        if args.command == "server":
            make_certificates(args.directory, args.clients)
            program = serve(args.directory, args.host, args.port, args.networks, args.name)
        else:
            program = connect(args.directory, args.who, args.host, args.port, args.name)
        asyncio.run(until_signal(program))
    except ValueError as exc:
        sys.exit(str(exc))


if __name__ == "__main__":
    main()
