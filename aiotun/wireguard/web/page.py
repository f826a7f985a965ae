"""A page on which an operator sees servers and peers, and adds, disables and removes peers.

Each request for data carries a token in its Authorization header: no other site can make a
browser send one, and there is no cookie that it could use. The page itself holds nothing secret;
it takes the token from the fragment of its address, which no browser sends to a server.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import secrets
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import segno
from aiohttp import web

from ..cli.pair import add_client
from ..config import InterfaceConfig
from ..config_file import format_config
from ..keys import KEY_SIZE, encode_key
from ..stores.base import Change, Peers
from ..values import format_endpoint, parse_endpoint, parse_network
from ..wg_quick import interface_name
from .listening import Handler, listening

if TYPE_CHECKING:
    from ..server import Server

__all__ = ["Page", "serve_page"]

logger = logging.getLogger("aiotun.wireguard")

STATIC = Path(__file__).with_name("static")

INTERVAL = 1.0
"""Seconds between two events."""

BODY_MAX = 1 << 14
"""Bytes of a request."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Page:
    """What the page is made of, and what it asks for."""

    def __init__(self, server: Server, token: str) -> None:
        self._server = server
        self._token = token.encode()
        self._ending = asyncio.Event()

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard], client_max_size=BODY_MAX)
        for path, name in (("/", "index.html"), ("/page.js", "page.js"), ("/page.css", "page.css")):
            app.router.add_get(path, _file(STATIC / name))
        app.router.add_get("/api/events", self._events)
        app.on_shutdown.append(self._end)
        app.router.add_post("/api/peers", self._add)
        app.router.add_delete("/api/peers/{key}", self._remove)
        app.router.add_post("/api/peers/{key}/{what:enable|disable}", self._set_enabled)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse what does not come from the page itself, or has no token."""
        try:
            self._check(request)
            answer = await handler(request)
        except web.HTTPException as exc:
            answer = web.Response(status=exc.status, text=exc.text)
        if not answer.prepared:
            answer.headers.update(HEADERS)
        return answer

    def _check(self, request: web.Request) -> None:
        origin = request.headers.get("Origin")
        if origin not in (None, f"http://{request.headers.get('Host')}"):
            raise web.HTTPForbidden(text="this is another site's request")
        if request.path.startswith("/api/"):
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            given = token.encode(errors="replace")
            if scheme != "Bearer" or not hmac.compare_digest(given, self._token):
                raise web.HTTPUnauthorized(text="the token is missing or wrong")

    def state(self) -> dict[str, Any]:
        """What the page shows; no secret is in it."""
        server = self._server
        tunnel, member = server.wireguard.tunnel, server.member
        peers = []
        for key, config in server.peers.items():
            peer = tunnel.peers.get(key)
            holder = member.holdings.get(key) if member is not None else None
            at = member.servers.get(holder.server) if member is not None and holder else None
            peers.append(
                {
                    "key": key.hex(),
                    "public_key": encode_key(key),
                    "name": config.name,
                    "enabled": config.enabled,
                    "allowed_ips": [str(network) for network in config.allowed_ips],
                    "endpoint": format_endpoint(peer.endpoint) if peer and peer.endpoint else "",
                    "last_handshake": peer.last_handshake if peer else None,
                    "received": peer.rx_bytes if peer else 0,
                    "sent": peer.tx_bytes if peer else 0,
                    "server": at.name if at is not None else "",
                }
            )
        return {
            "interface": server.name,
            "public_key": encode_key(tunnel.public_key),
            "listen_port": server.wireguard.listen_port,
            "store_reachable": getattr(server.store, "reachable", True),
            "servers": [each.name for each in member.servers.values()] if member else [],
            "handshakes": tunnel.handshakes,
            "dropped": {name: n for name, n in asdict(tunnel.counters).items() if n},
            "peers": peers,
        }

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events (HTML, section 9.2), one a second."""
        answer = web.StreamResponse(headers={**HEADERS, "Content-Type": "text/event-stream"})
        await answer.prepare(request)
        with contextlib.suppress(ConnectionError):  # nobody looks any more
            while not self._ending.is_set():
                await answer.write(f"data: {json.dumps(self.state())}\n\n".encode())
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._ending.wait(), INTERVAL)
        return answer

    async def _end(self, app: web.Application) -> None:
        """End the events, for which the server would wait otherwise."""
        self._ending.set()

    async def _add(self, request: web.Request) -> web.StreamResponse:
        """A client with keys made here, which are in this answer and are not kept."""
        fields = await _fields(request, "name", "endpoint", "allowed_ips")
        clients: dict[bytes, InterfaceConfig] = {}

        def decide(peers: Peers) -> Change:
            known = replace(self._server.settings, peers=tuple(peers.values()))
            if any(peer.name == name for peer in peers.values()):
                raise ValueError(f"there is a peer called {name}")
            peer, client = add_client(known, endpoint, networks)
            clients[peer.public_key] = client
            return Change(peer.public_key, replace(peer, name=name))

        try:
            name = interface_name(fields["name"])
            endpoint = parse_endpoint(fields["endpoint"])
            words = filter(None, fields["allowed_ips"].replace(",", " ").split())
            networks = tuple(map(parse_network, words))
            public_key, _ = await self._server.store.change(decide)
        except ValueError as exc:
            raise web.HTTPBadRequest(text=str(exc)) from None
        except OSError as exc:
            raise web.HTTPServiceUnavailable(text=exc.strerror or str(exc)) from None
        logger.info("the page has added the peer %s", name)
        text = format_config(clients[public_key])
        try:
            qr = segno.make(text, error="l", micro=False).svg_data_uri(scale=4, light="white")
        except segno.DataOverflowError:  # many networks: it is there to be copied
            qr = ""
        return web.json_response({"config": text, "qr": qr})

    async def _remove(self, request: web.Request) -> web.StreamResponse:
        return await self._change(request, lambda peers, key: None)

    async def _set_enabled(self, request: web.Request) -> web.StreamResponse:
        enabled = request.match_info["what"] == "enable"
        return await self._change(request, lambda peers, key: replace(peers[key], enabled=enabled))

    async def _change(
        self, request: web.Request, becomes: Callable[[Peers, bytes], Any]
    ) -> web.StreamResponse:
        try:
            key = bytes.fromhex(request.match_info["key"])
        except ValueError:
            key = b""

        def decide(peers: Peers) -> Change:
            if len(key) != KEY_SIZE or key not in peers:
                raise web.HTTPNotFound(text="there is no such peer")
            return Change(key, becomes(peers, key))

        try:
            await self._server.store.change(decide)
        except ValueError as exc:
            raise web.HTTPBadRequest(text=str(exc)) from None
        except OSError as exc:
            raise web.HTTPServiceUnavailable(text=exc.strerror or str(exc)) from None
        return web.Response(status=204)


async def serve_page(server: Server, place: str | tuple[str, int]) -> None:
    """Until cancelled; prints the address with a token that is made anew each time.

    Raises `OSError` where the place cannot be had.
    """
    token = secrets.token_urlsafe(32)
    async with listening(Page(server, token).app(), place) as where:
        print(f"the page is at {where}#{token}", flush=True)
        await asyncio.Event().wait()


def _file(path: Path) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(path)

    return answer


async def _fields(request: web.Request, *names: str) -> dict[str, str]:
    """The fields of a JSON object, all of them text."""
    try:
        found = json.loads(await request.read())  # UTF-8, whatever charset is named
    except (ValueError, RecursionError, web.RequestPayloadError):
        raise web.HTTPBadRequest(text="the request is no JSON") from None
    if not isinstance(found, dict) or not all(isinstance(found.get(name), str) for name in names):
        raise web.HTTPBadRequest(text=f"the request takes these as text: {', '.join(names)}")
    return {name: found[name].strip() for name in names}
