"""The ways to start a server of flows: by protocols, and by coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ..cancelling import Opening, despite_cancellation
from ..config import DeviceConfig, DeviceSettings, make_config
from ..device import Device
from ..endpoints import open_off_loop
from ..errors import ConfigError
from ..kinds import check_kind
from ..transports.closing import close_off_loop
from .base import Accept, Flow, FlowLimits
from .server import Begin, Converse, FlowServer, Options
from .tcp import Listener, begin_protocol, begin_stream, reset_socket
from .udp import DatagramStream, StreamProtocol

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["create_flow_server", "start_flow_server"]

StreamHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
DatagramHandler = Callable[[DatagramStream], Awaitable[None]]

STREAM_LIMIT = 64 * 1024
"""Bytes of a reader's buffer, as asyncio's own streams have them."""


async def create_flow_server(
    factory: Callable[[], asyncio.BaseProtocol] | None,
    *,
    datagrams: Callable[[], asyncio.DatagramProtocol] | None = None,
    accept: Accept | None = None,
    echo: bool = False,
    limits: FlowLimits = FlowLimits(),  # noqa: B008  (it is immutable)
    device: Device | None = None,
    listeners: Sequence[Listener] | None = None,
    clients: Device | None = None,
    config: DeviceConfig | None = None,
    **settings: Unpack[DeviceSettings],
) -> FlowServer:
    """Serve the TCP connections and UDP conversations that come out of a TUN, by protocols.

    `factory` makes a protocol for each connection, `datagrams` one for each conversation;
    None refuses them. A transport's `get_extra_info("flow")` is the `Flow`, with the
    original destination.

    `accept`, a function or a coroutine function, decides about each `Flow` before its client
    gets an answer. What it raises refuses the flow. While a coroutine decides, the client
    waits; if it gives up, the coroutine is cancelled.

    `echo` answers each ping to any address. `limits` bound everything.

    The device is made from `config` or the fields of `DeviceConfig`, or is an open `device`,
    which the server owns from now on, also if this call fails. TCP needs an address on it
    with others in its network, such as "10.9.0.1/24"; up to four others are used. Sockets of
    the program that lead into the device themselves end in a circle: bind them to another
    interface, or make the device in another `namespace`.

    `listeners` are sockets that were made where the device is, see `open_rootless`. With
    `clients`, packets of clients come from and go to that device, which belongs to the server
    too, and `device` only leads to the kernel that terminates connections.

    Raises `ConfigError` for a TAP and for wrong values, and what opening a device raises.
    """

    def begin(server: FlowServer) -> Begin | None:
        return None if factory is None else partial(begin_protocol, factory)

    def converse(server: FlowServer, flow: Flow) -> asyncio.DatagramProtocol:
        assert datagrams is not None
        return datagrams()

    return await _start(
        begin,
        datagrams and converse,
        Options(accept, echo, limits, listeners, clients),
        device,
        config,
        settings,
    )


def start_flow_server(
    handle: StreamHandler | None,
    *,
    datagrams: DatagramHandler | None = None,
    accept: Accept | None = None,
    echo: bool = False,
    limit: int = STREAM_LIMIT,
    limits: FlowLimits = FlowLimits(),  # noqa: B008  (it is immutable)
    device: Device | None = None,
    listeners: Sequence[Listener] | None = None,
    clients: Device | None = None,
    config: DeviceConfig | None = None,
    **settings: Unpack[DeviceSettings],
) -> Opening[FlowServer]:
    """Serve them by coroutines: `handle(reader, writer)` as with `asyncio.start_server`.

    `datagrams` is called with a `DatagramStream` for each conversation, which ends when it
    returns. `limit` bounds a reader's buffer, in bytes. All else is as in
    `create_flow_server`.

    Closing the server cancels the handlers, and again each second while one has not
    ended. A clean-up that takes longer has to be shielded: `asyncio.shield(clean_up())`
    goes on when the handler has ended.

    >>> async with start_flow_server(handle, addresses=["10.9.0.1/24"]) as flows:
    ...     await flows.serve_forever()
    """

    def begin(server: FlowServer) -> Begin | None:
        if handle is None:
            return None

        def begin_handling(transport: asyncio.Transport, flow: Flow) -> None:
            reader, writer = begin_stream(transport, flow, limit)
            server._run(handle(reader, writer), flow, partial(reset_socket, transport))

        return begin_handling

    def converse(server: FlowServer, flow: Flow) -> asyncio.DatagramProtocol:
        return _HandledConversation(server, flow, datagrams)  # type: ignore[arg-type]

    return Opening(
        lambda: _start(
            begin,
            datagrams and converse,
            Options(accept, echo, limits, listeners, clients),
            device,
            config,
            settings,
        )
    )


async def _start(
    begin: Callable[[FlowServer], Begin | None],
    converse: Converse | None,
    options: Options,
    device: Device | None,
    config: DeviceConfig | None,
    settings: DeviceSettings,
) -> FlowServer:
    loop = asyncio.get_running_loop()
    check_kind(options.limits, "limits=", FlowLimits)
    for listener in options.listeners or ():
        check_kind(listener, "each of listeners=", Listener)
    devices = [each for each in (device, options.clients) if each is not None]
    for each in devices:
        check_kind(each, "a device of the server", Device)
    try:
        if device is None:
            config = make_config(config, settings)
            _check_layer(config.layer)
            device = await open_off_loop(loop, config)
            devices.append(device)
        elif config is not None or settings:
            raise ConfigError("an open device= is configured already: leave out the other keywords")
        for each in devices:
            _check_layer(each.layer)
        server = FlowServer(device, converse, options)
        await server._listen(begin(server), options.listeners)
    except BaseException:
        for listener in options.listeners or ():
            listener.socket.close()
        for each in devices:
            await despite_cancellation(close_off_loop(loop, each.close))
        raise
    await server._open(options.clients)
    return server


def _check_layer(layer: str) -> None:
    if layer != "tun":
        raise ConfigError(
            'flows come out of IP packets: make the device with layer="tun" (a TAP has Ethernet '
            "frames, with their VLANs and neighbours)"
        )


class _HandledConversation(StreamProtocol):
    """A conversation that a coroutine handles."""

    def __init__(self, server: FlowServer, flow: Flow, handle: DatagramHandler) -> None:
        super().__init__(flow, server._limits.queued_bytes, server.counters)
        self._server = server
        self._handle = handle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        stream = DatagramStream(self)
        task = self._server._run(self._handle(stream), self.flow, stream.close)
        task.add_done_callback(lambda task: stream.close())
