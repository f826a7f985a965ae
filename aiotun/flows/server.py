"""FlowServer: the flows of a device, served."""

from __future__ import annotations

import asyncio
import errno
import inspect
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

from ..cancelling import AsyncClosing, despite_cancellation, end
from ..endpoints import create_device_endpoint
from ..errors import OffloadError
from ..offload import SuperPacket
from ..protocols import PacketProtocol
from ..throttle import Throttle
from ..transports.closing import close_off_loop
from .base import Accept, Decision, Drop, Flow, FlowCounters, FlowLimits
from .conversations import Conversation, ConversationTable
from .dispatch import Dispatcher
from .table import Connection, ConnectionTable
from .tcp import BACKLOG, Beginning, Listener, is_open, listen, reset_socket
from .udp import ConversationTransport

if TYPE_CHECKING:
    from ..device import Device
    from ..transports import PacketTransport

__all__ = ["Begin", "Converse", "FlowServer", "Options"]

Begin = Callable[[asyncio.Transport, Flow], None]
"""What gives an accepted connection its protocol."""

Converse = Callable[["FlowServer", Flow], asyncio.DatagramProtocol]
"""What makes the protocol of a conversation."""

INTERVAL = 1.0
"""Seconds between two looks at what is over, while there is anything."""

GONE = {errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH}
"""What the kernel says of a client that does not answer any more: no fault of a handler's, like
any `ConnectionError`."""

BACKLOG_MAX = 4
"""Times the packets that pause reading, after which datagrams for clients are dropped: answers to
what was read before have room."""

CLOSING_TICKS = 3
"""Turns of the loop in which the resets of the last connections come out of the device and
reach their clients."""

PATIENCE = 1.0
"""Seconds that a device has to take what waits for it, before it is closed."""


class Options(NamedTuple):
    """What both ways to start one take."""

    accept: Accept | None
    echo: bool
    limits: FlowLimits
    listeners: Sequence[Listener] | None
    clients: Device | None


class FlowServer(AsyncClosing):
    """What `create_flow_server` and `start_flow_server` give: to be closed."""

    transport: PacketTransport
    """The device's."""

    def __init__(
        self,
        device: Device,
        converse: Converse | None,
        options: Options,
    ) -> None:
        self.device = device
        """The device that flows come out of; with `clients`, the one that leads to the kernel."""
        self._apart = options.clients is not None
        """Whether clients are behind another device, not behind this one."""
        self._clients: PacketTransport | None = None
        """That device's."""
        self._pushing_back: set[_Packets] = set()
        self.counters = FlowCounters()
        """What became of flows, and of packets that went nowhere."""
        self._loop = asyncio.get_running_loop()
        self._begin: Begin | None = None
        self._converse = converse
        self._accept = options.accept
        self._echo = options.echo
        self._limits = options.limits
        self._tasks: set[asyncio.Future[Any]] = set()
        self._servers: list[asyncio.Server] = []
        self._transports: WeakSet[asyncio.Transport] = WeakSet()
        self._reports = 0
        """How many ICMP errors may still leave in this second."""
        self._second = 0.0
        self._warnings = Throttle()
        self._timer: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None
        self._closed: asyncio.Future[Exception | None] = self._loop.create_future()
        self._conversations = ConversationTable(
            options.limits,
            self.counters,
            write=self._write,
            admit=self._admit_conversation,
            take=self._take_conversation,
            may_report=self._may_report,
        )

    async def _listen(self, begin: Begin | None, given: Sequence[Listener] | None) -> None:
        """Listen for what comes out of the device. When this fails, nothing is left open."""
        self._begin = begin
        listeners = given or ()
        if begin is not None and given is None:
            listeners = self.device.interface.call_beside(partial(listen, self.device))
        self._connections = ConnectionTable(
            {each.version: each.gate for each in listeners},
            self._limits,
            self.counters,
            to_client=self._write_to_client,
            to_listener=self._write_to_listener,
            admit=self._admit_connection,
            may_report=self._may_report,
        )
        self._dispatcher = Dispatcher(
            self._connections,
            self._conversations,
            self.counters,
            to_client=self._write,
            to_listener=lambda packet: self.transport.write(packet),
            echo=self._echo,
        )
        try:
            for each in listeners:
                server = await self._loop.create_server(
                    lambda: Beginning(self._claim, self._begin_connection),
                    sock=each.socket,
                    backlog=BACKLOG,
                    start_serving=False,  # or a cancellation leaves one that serves to nobody
                )
                self._servers.append(server)
                await server.start_serving()
        except BaseException:
            self._stop_listening()
            for each in listeners[len(self._servers) :]:
                each.socket.close()
            raise

    async def _open(self, clients: Device | None) -> None:
        """Begin to read. When this fails or is cancelled, nothing is left open."""
        try:
            await create_device_endpoint(lambda: _Packets(self), device=self.device)
        except BaseException:
            self._stop_listening()
            if clients is not None:
                await despite_cancellation(close_off_loop(self._loop, clients.close))
            raise
        if clients is None:
            self.transport._write_back(self._connections.paths)
        else:
            try:
                await create_device_endpoint(lambda: _ClientPackets(self), device=clients)
            except BaseException:
                await self.aclose()
                raise

    @property
    def flows(self) -> list[Flow]:
        """Those that there are now."""
        connections = [each.flow for each in self._connections.connections()]
        return connections + [each.flow for each in self._conversations.conversations()]

    # Packets from the device, and to it.

    def _received(self, frames: list[SuperPacket]) -> None:
        now = self._loop.time()
        if self._apart:
            self._dispatcher.receive_from_listener(frames, now)
        else:
            self._dispatcher.receive(frames, now)
            self._watch()

    def _received_from_clients(self, frames: list[SuperPacket]) -> None:
        self._dispatcher.receive_from_clients(frames, self._loop.time())
        self._watch()

    def _write(self, packet: bytes) -> None:
        """Write a whole packet to its client."""
        (self._clients or self.transport).write(packet)

    def _write_to_client(self, frame: bytes) -> None:
        self._write_frame(self._clients or self.transport, frame)

    def _write_to_listener(self, frame: bytes) -> None:
        self._write_frame(self.transport, frame)

    def _write_frame(self, transport: PacketTransport, frame: bytes) -> None:
        try:
            transport.write_super(SuperPacket(frame))
        except OffloadError:
            self.counters.drops[Drop.MALFORMED] += 1

    def _pause_reading(self, end: _Packets) -> None:
        """One of the devices takes nothing more for now."""
        self._pushing_back.add(end)
        for each in (self._clients, self.transport):
            if each is not None:
                each.pause_reading()

    def _resume_reading(self, end: _Packets) -> None:
        self._pushing_back.discard(end)
        if self._pushing_back:
            return
        for each in (self._clients, self.transport):
            if each is not None:
                each.resume_reading()

    def _may_report(self) -> bool:
        now = self._loop.time()
        if now >= self._second + 1:
            self._second, self._reports = now, self._limits.errors
        self._reports -= 1
        return self._reports >= 0

    def _tick(self) -> None:
        self._timer = None
        now = self._loop.time()
        self._connections.expire(now)
        self._conversations.expire(now)
        self._watch()

    def _watch(self) -> None:
        """Look at what is over from time to time, as long as there is anything."""
        if (
            self._timer is None
            and self._closing is None
            and (self._connections.busy or len(self._conversations))
        ):
            self._timer = self._loop.call_later(INTERVAL, self._tick)

    # Decisions.

    def _admit_connection(self, connection: Connection) -> Decision | None:
        if self._begin is None:
            return Decision.REFUSE
        decide = partial(self._decide_connection, connection)
        return self._ask(connection.flow, decide)

    def _decide_connection(self, connection: Connection, decision: Decision) -> None:
        now = self._loop.time()
        self._connections.decide(connection, decision, now)

    def _admit_conversation(self, conversation: Conversation) -> Decision | None:
        if self._converse is None:
            return Decision.REFUSE
        return self._ask(conversation.flow, partial(self._conversations.decide, conversation))

    def _ask(self, flow: Flow, decide: Callable[[Decision], None]) -> Decision | None:
        """What `accept` says about a flow; None if `decide` is called with it later."""
        flow.device = self.device
        if self._accept is None:
            return Decision.TAKE
        try:
            answer = self._accept(flow)
            if not inspect.isawaitable(answer):
                return _checked(answer)
        except Exception as exc:
            self._complain(exc, f"accept= of {flow!r}")
            return Decision.REFUSE
        asking = asyncio.ensure_future(answer)

        def answered(asking: asyncio.Future[Decision]) -> None:
            self._tasks.discard(asking)
            if asking.cancelled():  # the client has given up, or the server closes
                return
            try:
                decision = _checked(asking.result())
            except Exception as exc:
                self._complain(exc, f"accept= of {flow!r}")
                decision = Decision.REFUSE
            decide(decision)

        self._tasks.add(asking)
        asking.add_done_callback(answered)
        flow.add_done_callback(lambda flow: asking.cancel())
        return None

    # What is served.

    def _claim(self, transport: asyncio.Transport) -> Flow | None:
        peer = transport.get_extra_info("peername")
        if peer is None:  # it was reset before: a loop of uvloop asks the socket
            return None
        host, port = peer[:2]
        connection = self._connections.accept(ip_address(host).packed, port, is_open(transport))
        if connection is None or self._closing is not None:
            self.counters.drops[Drop.NO_FLOW] += 1
            return None
        self._transports.add(transport)
        return connection.flow

    def _begin_connection(self, transport: asyncio.Transport, flow: Flow) -> None:
        assert self._begin is not None
        self._begin(transport, flow)

    def _take_conversation(self, conversation: Conversation) -> None:
        assert self._converse is not None
        try:
            protocol = self._converse(self, conversation.flow)
        except Exception as exc:
            self._complain(exc, f"the factory for {conversation.flow!r}")
            self._conversations.end(conversation)
            return
        transport = ConversationTransport(
            self._loop, conversation, protocol, self._send, self._conversations.end
        )
        transport._call(protocol.connection_made, transport)

    def _send(self, conversation: Conversation, data: bytes) -> None:
        transport = self._clients or self.transport
        if self._pushing_back and self._is_full(transport):
            self.counters.drops[Drop.DEVICE_FULL] += 1
        else:
            self._conversations.send(conversation, data, transport.mtu, self._loop.time())

    def _is_full(self, transport: PacketTransport) -> bool:
        _, high = transport.get_write_buffer_limits()
        return transport.get_write_buffer_size() > BACKLOG_MAX * high

    def _run(
        self, handler: Awaitable[None], flow: Flow, abort: Callable[[], object]
    ) -> asyncio.Task[None]:
        """Run a handler in a task that ends with the server."""

        async def run() -> None:
            try:
                await handler
            except Exception as exc:
                if isinstance(exc, ConnectionError) or getattr(exc, "errno", None) in GONE:
                    self.device.logger.debug("%r ended: %s", flow, exc)
                else:
                    self._complain(exc, f"the handler of {flow!r}")
                abort()
            except asyncio.CancelledError:
                abort()
                raise

        task = asyncio.ensure_future(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _warn(self, exc: Exception) -> None:
        if self._warnings.admit((type(exc), getattr(exc, "errno", None))) is not None:
            self.device.logger.warning("%s", exc)

    def _complain(self, exc: BaseException, where: str) -> None:
        self._loop.call_exception_handler(
            {"message": f"exception in {where} on {self.device.name}", "exception": exc}
        )

    # The end.

    async def serve_forever(self) -> None:
        """Wait until the server was closed; a cancellation closes it.

        Raises what ended the device, such as `InterfaceGoneError`.
        """
        try:
            await self.wait_closed()
        except asyncio.CancelledError:
            await self.aclose()
            raise

    async def wait_closed(self) -> None:
        """Wait until nothing is open any more. Raises as `serve_forever` does."""
        exc = await asyncio.shield(self._closed)
        if exc is not None:
            raise exc.with_traceback(None)  # it grows with each raise

    def close(self) -> None:
        """Cancel the handlers, reset the connections, end the conversations, close the device.

        A handler that does not end within a second is cancelled again, and so each second: see
        `start_flow_server`. What the device does not take within a second is dropped, and counted.
        """
        if self._closing is None:
            self._closing = self._loop.create_task(self._close())

    async def aclose(self) -> None:
        """`close`, and wait until nothing is open any more."""
        self.close()
        assert self._closing is not None
        await despite_cancellation(self._closing)

    async def _close(self, exc: Exception | None = None) -> None:
        try:
            if self._timer is not None:
                self._timer.cancel()
            self._stop_listening()
            await end(self._tasks)
            for conversation in self._conversations.conversations():
                self._conversations.end(conversation)
            for transport in list(self._transports):
                reset_socket(transport)
            for _ in range(CLOSING_TICKS):
                await asyncio.sleep(0)
        finally:
            for each in (self._clients, self.transport):
                if each is not None:
                    giving_up = self._loop.call_later(PATIENCE, each.abort)
                    await each.aclose()
                    giving_up.cancel()
            self._closed.set_result(exc)

    def _stop_listening(self) -> None:
        for server in self._servers:
            server.close()

    def _lost(self, exc: Exception | None) -> None:
        """The device is closed: by `_close`, or by what happened to it."""
        if self._closing is None:
            self._closing = self._loop.create_task(self._close(exc))


class _Packets(PacketProtocol):
    """The protocol on the device."""

    def __init__(self, server: FlowServer) -> None:
        self._server = server

    def connection_made(self, transport: PacketTransport) -> None:
        self._server.transport = transport

    def super_packets_received(self, packets: list[SuperPacket]) -> None:
        self._server._received(packets)

    def pause_writing(self) -> None:
        self._server._pause_reading(self)

    def resume_writing(self) -> None:
        self._server._resume_reading(self)

    def error_received(self, exc: Exception) -> None:
        self._server._warn(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server._lost(exc)


class _ClientPackets(_Packets):
    """The protocol on a device for clients alone."""

    def connection_made(self, transport: PacketTransport) -> None:
        self._server._clients = transport

    def super_packets_received(self, packets: list[SuperPacket]) -> None:
        self._server._received_from_clients(packets)


def _checked(decision: object) -> Decision:
    if not isinstance(decision, Decision):
        raise TypeError(f"accept= says a Decision, not {decision!r}")
    return decision
