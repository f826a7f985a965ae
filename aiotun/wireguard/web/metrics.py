"""Metrics for Prometheus over HTTP, at /metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from ..metrics import Metrics
from .listening import listening

if TYPE_CHECKING:
    from ..server import Server

__all__ = ["serve_metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


async def serve_metrics(server: Server, place: str | tuple[str, int]) -> None:
    """Until cancelled. Raises `OSError` where the place cannot be had."""
    metrics = Metrics(server)

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application()
    app.router.add_get("/metrics", answer)
    async with listening(app, place):
        await metrics.run()
