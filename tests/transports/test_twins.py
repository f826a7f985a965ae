"""The two ports, driven by the same random scripts: all that can be observed is the same."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from typing import Any

import pytest
from far import FRAMINGS, Far, close_at_once, use
from hypothesis import example, given
from hypothesis import strategies as st
from implementations import IMPLEMENTATIONS
from rigs import BatchRecorder, Recorder, SuperRecorder, packet, segments
from strategies import spoiled, super_frames

import aiotun
from aiotun.offload import NO_OFFLOAD, GROTable

FACTORIES = {"each": Recorder, "batch": BatchRecorder, "super": SuperRecorder}
WRITES: list[Any] = [
    *(packet(n) for n in range(3)),
    *segments(3),
    b"",
    bytearray(packet(3)),
    bytes(65536),
    packet(4, 60_000),
    None,
]
SUPER_WRITES: list[Any] = [
    *(aiotun.SuperPacket(frame) for frame in GROTable().coalesce(segments(3))),
    aiotun.SuperPacket(NO_OFFLOAD + packet(5)),
    aiotun.SuperPacket(b"short"),
    aiotun.SuperPacket(NO_OFFLOAD),
    aiotun.SuperPacket(NO_OFFLOAD + bytes(65536)),
    packet(6),
]

ends = st.sampled_from([0, 0, 1])
SIMPLE = ["nothing", "pause", "resume", "flush", "close", "abort", "raise", "leave", "append"]
acts = st.one_of(
    st.sampled_from([*SIMPLE, *["echo"] * 4, "relay", "unrelay"]).map(lambda name: (name,)),
    st.tuples(st.just("write"), ends, st.sampled_from(WRITES)),
    st.tuples(st.just("writelines"), ends, st.lists(st.sampled_from(WRITES), max_size=4)),
    st.tuples(st.just("write_super"), ends, st.sampled_from(SUPER_WRITES)),
    st.tuples(st.just("swap"), st.sampled_from(list(FACTORIES))),
)
frames = st.one_of(
    st.sampled_from([NO_OFFLOAD + packet(n) for n in range(4)]),
    st.sampled_from([packet(n) for n in range(4)]),
    super_frames(),
    super_frames().flatmap(spoiled).filter(len),  # an empty one tells that the socket was closed
    st.binary(min_size=1, max_size=60),
)
steps = st.one_of(
    st.tuples(st.just("arrive"), ends, st.lists(frames, min_size=1, max_size=6)),
    st.tuples(st.just("read"), ends),
    st.tuples(st.just("read"), ends),
    st.tuples(st.just("writable"), ends),
    st.tuples(st.just("take"), ends),
    st.tuples(st.just("limit"), ends, st.integers(0, 3)),
    st.tuples(st.just("turn")),
    acts,
)


class Run:
    """Two transports of which nothing is watched: a script says what happens."""

    def __init__(
        self, script: list[Any], reactions: list[Any], told: list[Any], framings: list[Any]
    ) -> None:
        self.script = script
        self.reactions = iter(reactions)
        self.told = iter(told)
        self.framings = framings
        self.log: list[Any] = []
        self.protocols: list[Recorder] = []
        self.relaying: asyncio.Task[None] | None = None

    async def run(self) -> list[Any]:
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, told: self.log.append(
                (told["message"].split(" of ")[0], told["exception"])
            )
        )
        with contextlib.ExitStack() as stack:
            self.fars, self.transports = [], []
            for framing in self.framings:
                # Room for a few large frames: more are read in more wake-ups in C.
                far = stack.enter_context(contextlib.closing(Far(framing, 1 << 16)))
                self.fars.append(far)
                transport, _ = await aiotun.create_device_endpoint(
                    lambda: self.protocol("each"), device=far.device
                )
                transport._unwatch_readable()
                for watch in ("_watch_readable", "_watch_writable"):
                    setattr(transport, watch, lambda: None)
                close_at_once(transport)
                self.transports.append(transport)
            for step in self.script:
                await self.step(*step)
            await self.end()
        return [
            [_shown(each) for each in self.log],
            [[_shown(call) for call in each.calls] for each in self.protocols],
            [transport.counters for transport in self.transports],
        ]

    def protocol(self, kind: str) -> Recorder:
        protocol = FACTORIES[kind]()
        number = len(self.protocols)
        protocol.on_packet = lambda received: self.react(number, received)
        for callback in ("error_received", "pause_writing", "resume_writing"):
            self.react_to(protocol, callback)
        self.protocols.append(protocol)
        return protocol

    def react_to(self, protocol: Recorder, callback: str) -> None:
        """Have it act in a callback that a write calls, where the script has an act for it."""
        told = getattr(protocol, callback)

        def tell(*args: Any) -> None:
            told(*args)
            transport = getattr(protocol, "transport", self.transports[0])
            self.act(self.transports.index(transport), packet(8), *next(self.told, ("nothing",)))

        setattr(protocol, callback, tell)

    def react(self, number: int, received: bytes) -> None:
        """What a callback does: the next of what the script has, once."""
        transport = getattr(self.protocols[number], "transport", self.transports[0])
        self.act(self.transports.index(transport), received, *next(self.reactions, ("echo",)))

    async def step(self, name: str, *rest: Any) -> None:
        transport = self.transports[rest[0]] if rest and rest[0] in (0, 1) else None
        try:
            await self.take_step(transport, name, *rest)
        except (TypeError, aiotun.OffloadError, RuntimeError, KeyboardInterrupt) as exc:
            self.log.append(exc)
        for each in self.transports:
            self.log.append((each.is_reading(), each.is_closing(), each.get_write_buffer_size()))

    async def take_step(self, transport: Any, name: str, *rest: Any) -> None:
        """As if an exception were handled, which those of the step then have as their context."""
        try:
            raise LookupError("handled")
        except LookupError:
            if name == "arrive":
                for frame in rest[1]:
                    with contextlib.suppress(OSError):  # it is closed already, or full
                        self.fars[rest[0]].put(frame)
            elif name == "turn":
                await asyncio.sleep(0)
            elif name == "take":
                self.log.append((rest[0], self.fars[rest[0]].recv()))
            elif transport and name == "read":
                _read(transport)
            elif transport and name == "writable":
                if not transport._finished:
                    transport._write_ready()
            elif transport and name == "limit":
                transport.set_write_buffer_limits(high=rest[1])
            else:
                self.act(0, packet(7), name, *rest)

    def act(self, at: int, received: bytes, name: str, *rest: Any) -> None:
        transport = self.transports[at]
        other = self.transports[rest[0]] if rest and rest[0] in (0, 1) else transport
        acts: dict[str, Callable[[], object]] = {
            "nothing": lambda: None,
            "echo": lambda: transport.write(received),
            "pause": transport.pause_reading,
            "resume": transport.resume_reading,
            "flush": transport.flush,
            "close": transport.close,
            "abort": transport.abort,
            "append": lambda: [  # to the batch that it was given
                batch.append(b"of the protocol")
                for each in self.protocols
                for batch in each.named("packets_received")[-1:]
            ],
            "relay": self.relay,
            "unrelay": lambda: self.relaying and self.relaying.cancel(),
            "write": lambda: other.write(rest[1]),
            "writelines": lambda: other.writelines(rest[1]),
            "write_super": lambda: other.write_super(rest[1]),
            "swap": lambda: transport.set_protocol(self.protocol(rest[0])),
        }
        if name == "raise":
            raise RuntimeError("of the test")
        if name == "leave":
            try:
                raise ValueError("of the test")
            except ValueError:
                raise KeyboardInterrupt  # noqa: B904 (its context is looked at)
        acts[name]()

    def relay(self) -> None:
        if self.relaying is None or self.relaying.done():
            self.relaying = asyncio.ensure_future(aiotun.relay(*self.transports))
            self.relaying.add_done_callback(self.relay_ended)

    def relay_ended(self, done: asyncio.Task[None]) -> None:
        if not done.cancelled():
            self.log.append(done.exception())

    async def end(self) -> None:
        for transport in self.transports:
            transport.abort()
        for transport in self.transports:
            await transport._closed
        if self.relaying is not None:
            await asyncio.wait([self.relaying])
        self.log += [far.recv() for far in self.fars]


def _read(transport: Any) -> None:
    """One wake-up. A ring, which tells of nothing that waits already, is read until none does: a
    relay in C leaves the rest of a batch behind a packet that is refused."""
    before = -1
    while before < transport.counters.frames_received:
        before = transport.counters.frames_received
        transport._port.read_ready()
        if sys.platform != "win32":
            return


def _shown(value: object) -> object:
    """What is compared of it: of exceptions and packets their text, and what exceptions hide."""
    if isinstance(value, (list, tuple)):
        return [_shown(each) for each in value]
    if isinstance(value, BaseException):
        return type(value), str(value), _shown(value.__context__)
    if isinstance(value, aiotun.SuperPacket):
        return type(value), str(value)
    return value


@pytest.mark.requires("native")
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@given(
    script=st.lists(steps, min_size=10, max_size=25),  # short ones find little
    reactions=st.lists(acts, min_size=5, max_size=25),
    told=st.lists(acts, max_size=5),
    framings=st.tuples(*[st.sampled_from([FRAMINGS[0], *FRAMINGS])] * 2),
)
@example(  # what is written when the tick ends, as a write was refused, waits for the loop's turn
    script=[("arrive", 0, [NO_OFFLOAD + packet(n) for n in range(2)]), ("read", 0)],
    reactions=[("swap", "each")],
    told=[("echo",)],
    framings=(FRAMINGS[-1], FRAMINGS[0]),
)
@example(  # what the report of a malformed frame paused delivers nothing, and so flushes nothing
    script=[
        ("arrive", 0, [NO_OFFLOAD + packet(0)]),
        ("echo",),
        ("arrive", 0, [b"\0"]),
        ("read", 0),
    ],
    reactions=[],
    told=[("pause",)],
    framings=(FRAMINGS[0], FRAMINGS[0]),
)
@example(  # what the report of a refused packet writes is not flushed with that
    script=[
        ("write", 0, b"no packet"),
        ("write_super", 0, SUPER_WRITES[0]),
        ("turn",),
        ("take", 0),
    ],
    reactions=[],
    told=[("echo",)],
    framings=(FRAMINGS[-1], FRAMINGS[0]),
)
@example(  # what leaves the loop has the context that it was raised with
    script=[("arrive", 0, [NO_OFFLOAD + packet(0)]), ("read", 0)],
    reactions=[("leave",)],
    told=[],
    framings=(FRAMINGS[0], FRAMINGS[0]),
)
def test_ports_are_the_same(
    script: list[Any], reactions: list[Any], told: list[Any], framings: tuple[Any, Any]
) -> None:
    found = []
    for implementation in IMPLEMENTATIONS:
        with pytest.MonkeyPatch.context() as patch:
            use(implementation, patch)
            found.append(asyncio.run(Run(script, reactions, told, list(framings)).run()))
    first, second = found
    assert first == second
