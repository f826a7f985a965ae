"""The client: a TUN device with the addresses that the server gives, connected again and again."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
from pathlib import Path

import aiotun

from .certificates import SERVER, client_name, tls_context
from .wire import CODEC, MTU, addresses_of, while_alive

__all__ = ["connect"]

logger = logging.getLogger("tls_vpn")

FIRST_DELAY, LAST_DELAY = 0.5, 30.0
"""Seconds before another attempt: twice as many after each that failed."""


async def connect(directory: Path, who: str, host: str, port: int, name: str) -> None:
    """Stay connected until cancelled. Raises `ValueError` unless `who` is a client's name."""
    context = tls_context(directory / f"{client_name(who)}.pem", directory / "ca.pem", server=False)
    tun: aiotun.PacketStream | None = None
    addresses: list[str] = []
    delay = FIRST_DELAY
    try:
        while True:
            try:
                framed = await aiotun.open_framed_connection(
                    CODEC, host, port, ssl=context, server_hostname=SERVER
                )
                async with framed:
                    given = json.loads(await asyncio.wait_for(framed.recv(), 10))
                    if tun is not None and given != addresses:
                        await tun.aclose()
                        tun = None
                    if tun is None:  # it stays when the connection ends, and so do its sockets
                        tun = await aiotun.open_device(name=name, addresses=given, mtu=MTU)
                        addresses = given
                    print(f"{tun.device.name} is {', '.join(addresses)}", flush=True)
                    delay = FIRST_DELAY
                    await _pass_packets(tun, framed, addresses)
            except aiotun.InterfaceGoneError:
                raise
            except (OSError, asyncio.TimeoutError, ValueError) as exc:
                logger.warning("%s", exc or type(exc).__name__)
            print(f"not connected: next attempt in {delay:g} s", flush=True)
            await asyncio.sleep(delay)
            delay = min(2 * delay, LAST_DELAY)
    finally:
        if tun is not None:
            await tun.aclose()


async def _pass_packets(
    tun: aiotun.PacketStream, framed: aiotun.Framed[bytes], addresses: list[str]
) -> None:
    own = {ipaddress.ip_interface(address).packed for address in addresses}

    def belongs(packet: bytes) -> bool:
        """Drops signs of life, and what the system sends from other addresses unasked."""
        return not own.isdisjoint(addresses_of(packet))

    await while_alive(framed, aiotun.relay(tun, framed, filter=belongs))
