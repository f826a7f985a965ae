"""Items natively and in Python: all that can be observed is the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from far import Far, close_at_once, use
from hypothesis import example, given
from hypothesis import strategies as st
from implementations import IMPLEMENTATIONS
from rigs import packet, segments

import aiotun
from aiotun.codecs import PacketCodec, Raw


class Odd(PacketCodec[Any]):
    """An item is the packet itself; what begins with certain bytes raises."""

    def encode(self, item: Any) -> bytes:
        if item is None:
            raise aiotun.CodecError("nothing")
        if item == "fault":
            raise ValueError("of the codec")
        if item == "stop":
            raise StopIteration("of the codec")
        return item  # type: ignore[no-any-return]

    def decode(self, packet: bytes) -> Any:
        if packet[-1] == 3:
            raise aiotun.CodecError("3")
        if packet[-1] == 4:
            raise ValueError("of the codec")
        if packet[-1] == 6:
            raise StopIteration("of the codec")
        return (packet, len(packet)) if packet[-1] == 5 else packet


ITEMS: list[Any] = [
    *(packet(n) for n in range(3)),
    *segments(3),
    bytearray(packet(3)),
    b"",
    bytes(65536),
    7,
    None,
    "fault",
    "stop",
]
numbers = st.integers(0, 3)
steps = st.one_of(
    st.tuples(st.just("arrive"), st.lists(st.integers(0, 6), min_size=1, max_size=4)),
    st.tuples(st.just("task"), st.sampled_from(["recv", "next"])),
    st.tuples(st.just("call"), st.sampled_from(["recv", "next"])),
    st.tuples(st.just("task"), st.just("send"), st.sampled_from(ITEMS)),
    st.tuples(st.just("call"), st.just("send"), st.sampled_from(ITEMS)),
    st.tuples(st.just("put"), st.lists(st.sampled_from(ITEMS), max_size=4)),
    st.tuples(st.just("drive"), numbers, st.sampled_from(["send", "next", "throw", "close"])),
    st.tuples(st.just("cancel"), numbers),
    st.tuples(st.just("turn")),
    st.tuples(st.just("turn")),
    st.sampled_from(["pause", "resume", "fill", "many", "flush", "read", "close", "shut"]).map(
        lambda name: (name,)
    ),
)


class Run:
    def __init__(self, codec: PacketCodec[Any], script: list[Any]) -> None:
        self.codec = codec
        self.script = script
        self.log: list[Any] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.calls: list[Coroutine[Any, Any, Any]] = []

    async def run(self) -> list[Any]:
        self.far = Far()
        self.tun = await aiotun.open_device(device=self.far.device)
        close_at_once(self.tun.transport)
        self.framed: aiotun.Framed[Any] = aiotun.Framed(self.tun, self.codec)
        for name, *rest in self.script:
            try:
                await getattr(self, name)(*rest)
            except BaseException as exc:
                self.log.append(_shown(exc))
            self.log.append((self.framed.full, len(self.tun._protocol.kept)))
        for each in self.calls:
            each.close()
        self.tun._protocol.resume_writing()
        await self.framed.aclose()
        await asyncio.wait(self.tasks or [asyncio.ensure_future(asyncio.sleep(0))])
        self.log += [_ended(task) for task in self.tasks]
        self.log += [self.framed.counters, self.tun.transport.counters, self.far.recv()]
        self.far.close()
        return self.log

    def begin(self, name: str, *item: Any) -> Coroutine[Any, Any, Any]:
        if name == "next":
            return aiter(self.framed).__anext__()  # type: ignore[return-value]
        method: Callable[..., Coroutine[Any, Any, Any]] = getattr(self.framed, name)
        return method(*item)

    async def arrive(self, kinds: list[int]) -> None:
        try:
            self.far.send(*(packet(0)[:-1] + bytes([kind]) for kind in kinds))
        except OSError as exc:
            self.log.append(exc.errno)

    async def task(self, *what: Any) -> None:
        self.tasks.append(asyncio.ensure_future(self.begin(*what)))

    async def call(self, *what: Any) -> None:
        self.calls.append(self.begin(*what))

    async def put(self, items: list[Any]) -> None:
        self.log.append(self.framed._sink.put(items))

    async def drive(self, number: int, how: str) -> None:
        """Do what a task does to a coroutine, by hand."""
        if number >= len(self.calls):
            return
        call = self.calls[number]
        try:
            if how == "throw":
                call.throw(RuntimeError("of the test"))
            elif how == "close":
                call.close()
            elif how == "send" and number % 2:
                call.send("what is none")
            else:
                call.send(None)
        except StopIteration as exc:
            self.log.append(exc.value)

    async def cancel(self, number: int) -> None:
        if number < len(self.tasks):
            self.log.append(self.tasks[number].cancel())

    async def turn(self) -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def pause(self) -> None:
        self.tun._protocol.pause_writing()

    async def resume(self) -> None:
        self.tun._protocol.resume_writing()

    async def fill(self) -> None:
        """As if many waited: reading is paused, and resumed when few do."""
        self.tun._protocol._keep([packet(n) for n in range(1025)])

    async def many(self) -> None:
        """As if it had been a task that never waits."""
        self.tun._protocol.written = self.tun._protocol._yield_at

    async def flush(self) -> None:
        self.tun.transport.flush()

    async def read(self) -> None:
        self.log.append(await asyncio.wait_for(self.framed.recv_many(), 0.01))

    async def close(self) -> None:
        self.tun.transport.close()

    async def shut(self) -> None:
        self.framed._source.closed = self.framed._sink.closed = True


def _shown(exc: BaseException) -> Any:
    return type(exc), str(exc), repr(exc.__cause__)


def _ended(task: asyncio.Task[Any]) -> Any:
    if task.cancelled():
        return "cancelled"
    exc = task.exception()
    return task.result() if exc is None else _shown(exc)


@pytest.mark.requires("native")
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@given(st.sampled_from([Odd(), Raw()]), st.lists(steps, min_size=5, max_size=25))
@example(Odd(), [("arrive", [6]), ("turn",), ("call", "recv"), ("drive", 0, "next")])
@example(Odd(), [("call", "send", "stop"), ("drive", 0, "next")])
@example(Odd(), [("put", [packet(0), "stop", packet(1)])])
def test_items_are_the_same(codec: PacketCodec[Any], script: list[Any]) -> None:
    found = []
    for implementation in IMPLEMENTATIONS:
        with pytest.MonkeyPatch.context() as patch:
            use(implementation, patch)
            found.append(asyncio.run(Run(codec, script).run()))
    first, second = found
    assert first == second
