"""Tasks that send over one framed end while it has no room: first come, first served."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rigs import MemoryRig, packet

import aiotun
from aiotun.codecs import Raw, RawStream

KINDS = ["bytes", "packets", "device"]


class Far:
    """The other side of a framed end, which takes an item when it is told to."""

    framed: aiotun.Framed[bytes]

    def take(self) -> bytes | None:
        """What came next, if anything did."""
        raise NotImplementedError


class Gate(Far):
    """A stream, of bytes or of packets, whose `send` waits until what it sends is taken."""

    def __init__(self) -> None:
        self._offered: asyncio.Future[None] | None = None
        self._items: list[bytes] = []

    async def receive(self, max_bytes: int) -> bytes:
        return b""

    async def send(self, item: bytes, /) -> None:
        self._items.append(item)
        self._offered = asyncio.get_running_loop().create_future()
        await self._offered

    async def send_many(self, packets: Iterable[bytes], /) -> None:
        await self.send(b"".join(packets))

    async def send_eof(self) -> None: ...

    async def aclose(self) -> None: ...

    def take(self) -> bytes | None:
        if self._offered is None:
            return None
        self._offered.set_result(None)
        self._offered = None
        return self._items.pop()


class PacketGate(Gate):
    async def recv(self) -> bytes:
        return b""

    async def recv_many(self) -> list[bytes]:
        return [b""]


class Device(Far):
    def __init__(self, rig: MemoryRig) -> None:
        self._rig = rig

    def take(self) -> bytes | None:
        with contextlib.suppress(TimeoutError):
            return self._rig.recv(0)
        return None


@asynccontextmanager
async def full(kind: str) -> AsyncIterator[Far]:
    """A framed end that waits for its other side: what is sent next has to wait."""
    far: Far
    async with contextlib.AsyncExitStack() as stack:
        if kind == "device":
            rig = MemoryRig(capacity=1, push_back=True)
            stack.callback(rig.close)
            far = Device(rig)
            tun = await aiotun.open_device(device=rig.device)
            stack.push_async_callback(tun.aclose)
            stack.callback(tun.transport.abort)
            tun.transport.set_write_buffer_limits(high=0)
            far.framed = aiotun.Framed(tun, Raw())
            await far.framed.send(packet(99))
        elif kind == "packets":
            far = packets = PacketGate()
            far.framed = aiotun.Framed(packets, Raw(), write_size=1)  # type: ignore[call-overload]
        else:
            far = stream = Gate()
            far.framed = aiotun.Framed(stream, RawStream(), write_size=1)
        await far.framed.send(packet(99))
        await turns()
        assert far.framed.full
        yield far


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def drain(far: Far) -> list[bytes]:
    """All that comes, but for what made it full."""
    items: list[bytes] = []
    misses = 0
    while misses < 5:
        item = far.take()
        await turns()
        misses = 0 if item else misses + 1
        if item is not None and item != packet(99):
            items.append(item)
    return items


@pytest.mark.parametrize("kind", KINDS)
async def test_in_the_order_in_which_they_came(kind: str) -> None:
    async with full(kind) as far:
        senders = [asyncio.ensure_future(far.framed.send(packet(n))) for n in range(6)]
        assert await drain(far) == [packet(n) for n in range(6)]
        await asyncio.gather(*senders)


@pytest.mark.parametrize("kind", KINDS)
async def test_many_items_wait_with_the_first_of_them(kind: str) -> None:
    """`send_all` stands once for all that follow; there is room for them, then."""
    async with full(kind) as far:
        first = asyncio.ensure_future(far.framed.send_all([packet(0), packet(1)]))
        second = asyncio.ensure_future(far.framed.send(packet(2)))
        found = b"".join(await drain(far))
        assert found == b"".join(packet(n) for n in range(3))
        await asyncio.gather(first, second)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("after", range(6))
async def test_a_newcomer_does_not_overtake_one_that_was_called(kind: str, after: int) -> None:
    """There may be room already, while the one that was called has not run yet."""
    loop = asyncio.get_running_loop()
    newcomers: list[asyncio.Task[None]] = []
    async with full(kind) as far:

        def come(left: int) -> None:
            if left:
                loop.call_soon(come, left - 1)
            else:
                newcomers.append(asyncio.ensure_future(far.framed.send(packet(1))))

        waiting = asyncio.ensure_future(far.framed.send(packet(0)))
        await turns()
        loop.call_soon(come, after)  # before what the other side sets off
        found = far.take()
        assert found == packet(99)
        assert await drain(far) == [packet(0), packet(1)]
        await asyncio.gather(waiting, *newcomers)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cancelled", range(3))
async def test_one_that_is_cancelled_has_not_sent_and_holds_up_nobody(
    kind: str, cancelled: int
) -> None:
    async with full(kind) as far:
        senders = [asyncio.ensure_future(far.framed.send(packet(n))) for n in range(3)]
        await turns()
        senders[cancelled].cancel()
        await turns()
        assert await drain(far) == [packet(n) for n in range(3) if n != cancelled]
        await asyncio.wait(senders)
        assert [sender.cancelled() for sender in senders] == [n == cancelled for n in range(3)]


@pytest.mark.parametrize("kind", KINDS)
async def test_all_hear_of_the_end(kind: str) -> None:
    async with full(kind) as far:
        senders = [asyncio.ensure_future(far.framed.send(packet(n))) for n in range(3)]
        await turns()
        closing = asyncio.ensure_future(far.framed.aclose())
        await turns()
        closing.cancel()
        await asyncio.wait([closing, *senders], timeout=5)
        assert [type(sender.exception()) for sender in senders] == [aiotun.ClosedError] * 3


steps = st.one_of(
    st.just(("send",)),
    st.just(("take",)),
    st.just(("turn",)),
    st.tuples(st.just("cancel"), st.integers(0, 7)),
)


@pytest.mark.parametrize("kind", KINDS)
@given(script=st.lists(steps, max_size=30))
def test_whatever_they_do(kind: str, script: list[tuple[str] | tuple[str, int]]) -> None:
    """What arrives are the items of those that were not cancelled, in the order they came."""

    async def run() -> None:
        async with full(kind) as far:
            senders: list[asyncio.Task[None]] = []
            found: list[bytes | None] = []
            for name, *which in script:
                if name == "send":
                    senders.append(asyncio.ensure_future(far.framed.send(packet(len(senders)))))
                elif name == "take":
                    found.append(far.take())
                elif name == "turn":
                    await asyncio.sleep(0)
                elif which[0] < len(senders):
                    senders[which[0]].cancel()
            found += await drain(far)
            await asyncio.gather(*senders, return_exceptions=True)
            sent = [packet(n) for n, each in enumerate(senders) if not each.cancelled()]
            assert [each for each in found if each not in (None, packet(99))] == sent

    asyncio.run(run())
