"""Framed ends over streams of bytes: TCP, TLS, UNIX sockets, anyio's streams, pipes, files."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
import ssl
import struct
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from framing import HALF_CLOSING, LINKS, UNIX, link
from rigs import settle, until

import aiotun
from aiotun.codecs import SLIP, LengthPrefixed, RawStream, StreamDecoder

every_link = pytest.mark.parametrize("kind", LINKS)

BIG = bytes(range(256)) * 1024


@every_link
async def test_items_pass_both_ways_in_order(kind: str) -> None:
    items = [bytes([n]) * (n * 37) for n in range(256)]
    async with link(kind) as (a, b):
        await a.send(b"alone")
        assert await b.recv() == b"alone"
        for end, other in ((a, b), (b, a)):
            sending = asyncio.ensure_future(end.send_all(items))
            received: list[bytes] = []
            while len(received) < len(items):
                received += await other.recv_many()
            await sending
            assert received == items
        assert a.counters == aiotun.framed.FramedCounters(received=256, sent=257)
        assert b.counters == aiotun.framed.FramedCounters(received=257, sent=256)


@every_link
async def test_iteration_ends_when_the_other_side_closes(kind: str) -> None:
    async with link(kind) as (a, b):
        await a.send_all([b"1", b"2", b"3"])
        closing = asyncio.ensure_future(a.aclose())
        assert [item async for item in b] == [b"1", b"2", b"3"]
        with pytest.raises(aiotun.ClosedError, match="other side"):
            await b.recv()
        await b.aclose()
        await closing


@every_link
async def test_closing_ends_a_task_that_waits(kind: str) -> None:
    async with link(kind) as (a, b):
        waiting = asyncio.ensure_future(b.recv())
        await asyncio.sleep(0.01)
        closing = asyncio.gather(b.aclose(), a.aclose())
        with pytest.raises(aiotun.ClosedError, match="this end"):
            await asyncio.wait_for(waiting, 5)
        await closing
        for call in (b.recv, b.recv_many):
            with pytest.raises(aiotun.ClosedError):
                await call()
        with pytest.raises(aiotun.ClosedError):
            await b.send(b"late")
        await b.aclose()  # for the second time


@every_link
async def test_a_cancelled_recv_loses_nothing(kind: str) -> None:
    async with link(kind) as (a, b):
        received: list[bytes] = []
        for n in range(100):
            waiting = asyncio.ensure_future(b.recv())
            await asyncio.sleep(0)
            await a.send(b"%d" % n)
            for _ in range(n % 7):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            if not waiting.cancelled():
                received.append(waiting.result())
        while len(received) < 100:
            received.append(await asyncio.wait_for(b.recv(), 5))
        assert received == [b"%d" % n for n in range(100)]


@every_link
async def test_a_timeout_is_asyncios_own(kind: str) -> None:
    async with link(kind) as (a, b):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(b.recv(), 0.01)
        await a.send(b"now")
        assert await b.recv() == b"now"


@every_link
async def test_a_sender_waits_for_who_does_not_receive_and_cancelled_has_not_sent(
    kind: str,
) -> None:
    async with link(kind, read_size=4096, write_size=4096) as (a, b):
        sent = 0

        async def send() -> None:
            nonlocal sent
            while True:
                await a.send(sent.to_bytes(4, "big") + BIG)
                sent += 1

        sending = asyncio.ensure_future(send())
        await settle(lambda: sent)
        assert a.full
        assert 0 < sent < 200  # 50 MB
        sending.cancel()
        await asyncio.wait([sending])
        assert a.counters.sent == sent
        for n in range(sent):
            item = await b.recv()
            assert item[:4] == n.to_bytes(4, "big")
            assert len(item) == 4 + len(BIG)
        assert not a.full
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(b.recv(), 0.02)


@every_link
async def test_flush_waits_until_all_is_taken(kind: str) -> None:
    async with link(kind) as (a, b):
        await a.flush()  # nothing to do
        await fill(a)
        flushing = asyncio.ensure_future(a.flush())
        await asyncio.sleep(0.01)
        assert not flushing.done()
        for _ in range(a.counters.sent):
            assert len(await b.recv()) == len(BIG)
        await asyncio.wait_for(flushing, 5)


async def test_flush_waits_for_what_gathered_behind_what_is_on_its_way() -> None:
    class Slow(Failing):
        """Each call of `send` waits for its permission."""

        def __init__(self) -> None:
            self.permitted = asyncio.Semaphore(0)
            self.sent: list[bytes] = []

        async def send(self, item: bytes) -> None:
            await self.permitted.acquire()
            self.sent.append(item)

    stream = Slow()
    framed = aiotun.Framed(stream, RawStream())
    await framed.send(b"on its way")
    await asyncio.sleep(0)
    await framed.send(b"gathered")
    flushing = asyncio.ensure_future(framed.flush())
    for sent in ([b"on its way"], [b"on its way", b"gathered"]):
        await asyncio.sleep(0.01)
        assert not flushing.done()
        stream.permitted.release()
        await until(lambda sent=sent: stream.sent == sent)  # type: ignore[misc]
    await asyncio.wait_for(flushing, 5)


@every_link
async def test_many_senders(kind: str) -> None:
    async with link(kind, write_size=1000) as (a, b):

        async def send(who: int) -> None:
            for n in range(50):
                await a.send(bytes([who, n]) * 100)

        sending = [asyncio.ensure_future(send(who)) for who in range(10)]
        received = [await b.recv() for _ in range(500)]
        await asyncio.gather(*sending)
        for who in range(10):
            own = [item for item in received if item[0] == who]
            assert own == [bytes([who, n]) * 100 for n in range(50)]


@every_link
async def test_a_second_reader_is_refused(kind: str) -> None:
    async with link(kind) as (a, b):
        first = asyncio.ensure_future(b.recv())
        await asyncio.sleep(0)
        for call in (b.recv, b.recv_many, b.release):
            with pytest.raises(aiotun.BusyError):
                await call()
        await a.send(b"item")
        assert await first == b"item"


async def test_send_all_takes_what_was_before_an_error() -> None:
    def items() -> Iterator[bytes]:
        yield b"1"
        yield b"2"
        raise KeyError

    async with link("tcp") as (a, b):
        with pytest.raises(KeyError):
            await a.send_all(items())
        with pytest.raises(aiotun.CodecError):
            await a.send_all([b"3", bytes(1 << 21), b"lost"])
        await a.send(b"4")
        assert [await b.recv() for _ in range(4)] == [b"1", b"2", b"3", b"4"]
        assert a.counters.sent == 4


async def test_send_all_from_an_asynchronous_source() -> None:
    async def items() -> AsyncIterator[bytes]:
        for n in range(3):
            yield b"%d" % n
            await asyncio.sleep(0)

    async with link("tcp") as (a, b):
        await a.send_all(items())
        assert [await b.recv() for _ in range(3)] == [b"0", b"1", b"2"]


@pytest.mark.parametrize("kind", HALF_CLOSING)
async def test_one_way_closed_the_other_goes_on(kind: str) -> None:
    async with link(kind) as (a, b):
        await a.send(b"last")
        await a.send_eof()
        with pytest.raises(aiotun.ClosedError):
            await a.send(b"more")
        assert [item async for item in b] == [b"last"]
        await b.send(b"answer")
        assert await a.recv() == b"answer"


@pytest.mark.parametrize("kind", ["tls", "anyio tls"])
async def test_tls_has_no_half_close(kind: str) -> None:
    async with link(kind) as (a, b):
        with pytest.raises(aiotun.UnsupportedError):
            await a.send_eof()
        await a.send(b"still open")
        assert await b.recv() == b"still open"


@every_link
async def test_two_tasks_own_the_halves(kind: str) -> None:
    async with link(kind) as (a, b):
        reader, writer = a.split()
        assert reader.counters is a.counters

        async def read() -> list[bytes]:
            async with reader:
                return [item async for item in reader]

        async def write() -> None:
            async with writer:
                await writer.send_all([b"to", b"b"])

        reading = asyncio.ensure_future(read())
        await write()
        assert [await b.recv(), await b.recv()] == [b"to", b"b"]
        assert not reading.done()
        if "tls" not in kind:
            with pytest.raises(aiotun.ClosedError):
                await b.recv()
        await b.send_all([b"to", b"a"])
        closing = asyncio.ensure_future(b.aclose())
        assert await asyncio.wait_for(reading, 5) == [b"to", b"a"]
        await asyncio.wait_for(closing, 5)  # for a's stream is closed too
        await writer.aclose()  # for the second time


async def test_a_writing_half_closed_under_cancellation() -> None:
    async with link("tcp", write_size=1000) as (a, b):
        reader, writer = a.split()
        await fill(a)
        await reader.aclose()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(writer.aclose(), 0.02)
        with pytest.raises(aiotun.ClosedError, match="this end is closed"):
            await writer.send(b"late")
        with pytest.raises((OSError, aiotun.CodecError)):  # reset, or cut off
            await drain(b)


async def drain(end: aiotun.Framed[bytes]) -> None:
    while True:
        await end.recv_many()


async def fill(end: aiotun.Framed[bytes]) -> None:
    """Send until nothing more goes."""
    sending = asyncio.ensure_future(end.send_all(itertools.repeat(BIG, 1000)))
    await settle(lambda: end.counters.sent)
    sending.cancel()
    await asyncio.wait([sending])


@every_link
async def test_closing_under_cancellation_waits_for_nobody(kind: str) -> None:
    async with link(kind, write_size=1000) as (a, b):
        await fill(a)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(a.aclose(), 0.02)
        with pytest.raises(aiotun.ClosedError):
            await a.send(b"late")
        with pytest.raises(aiotun.ClosedError, match="this end is closed"):
            await a.recv()
        with pytest.raises((OSError, aiotun.CodecError)):
            await asyncio.wait_for(drain(b), 5)


@pytest.mark.parametrize("kind", ["tcp", "tls"])
async def test_a_writing_half_that_is_closed_sends_no_more(kind: str) -> None:
    """Where the stream has an end of its own, and where it has none."""
    async with link(kind) as (a, _):
        _, writer = a.split()
        await writer.aclose()
        with pytest.raises(aiotun.ClosedError, match="this end is closed"):
            await writer.send(b"late")


async def test_an_exception_does_not_wait_long_for_a_stuck_peer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aiotun.cancelling.AsyncClosing.linger", 0.02)
    async with link("tcp", write_size=1000) as (a, _):
        await fill(a)
        with pytest.raises(KeyError):
            async with a:
                raise KeyError
        with pytest.raises(aiotun.ClosedError):
            await a.recv()


@pytest.mark.parametrize("kind", ["tcp", "tls", UNIX])
async def test_a_broken_connection_is_told_to_both_halves(kind: str) -> None:
    async with link(kind, write_size=1000) as (a, b):
        sock = b.get_extra_info("socket")
        if kind != "unix":
            linger = struct.pack("ii", 1, 0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        waiting = asyncio.ensure_future(a.recv())
        await asyncio.sleep(0.01)
        (await b.release()).stream[1].transport.abort()
        with pytest.raises(OSError):  # noqa: PT011
            await asyncio.wait_for(waiting, 5)

        async def send() -> None:
            while True:
                await a.send(BIG)

        with pytest.raises(OSError):  # noqa: PT011
            await asyncio.wait_for(send(), 5)
        with pytest.raises(OSError):  # noqa: PT011
            await a.flush()


@pytest.mark.parametrize("kind", ["tcp", "anyio"])
async def test_release_gives_the_stream_back_with_what_was_not_used(kind: str) -> None:
    async with link(kind) as (a, b):
        await a.send_all([b"one", b"two", b"three"])
        await a.flush()
        out = await a.release()
        tail = b"\0\0\0\x05ab"
        if kind == "tcp":
            out.stream[1].write(tail)
        else:
            await out.stream.send(tail)
        assert await b.recv() == b"one"
        await asyncio.sleep(0.02)
        back = await b.release()
        if kind == "tcp":
            reader, writer = back.stream
            rest = b"" if back.unused else await reader.read(100)
            again: Any = aiotun.Framed((reader, writer), LengthPrefixed(4))
            out.stream[1].write(b"cde")
        else:
            rest = b"" if back.unused else await back.stream.receive(100)
            again = aiotun.Framed(back.stream, LengthPrefixed(4))
            await out.stream.send(b"cde")
        assert back.items == [b"two", b"three"]
        assert back.unused + rest == tail
        decoder = LengthPrefixed(4).decoder()
        decoder.feed(back.unused + rest)
        with pytest.raises(aiotun.ClosedError):
            await b.recv()
        raw = again._source
        assert decoder.feed(await raw._receive()) == [b"abcde"]
        await again.aclose()
        await aiotun.Framed(out.stream, RawStream()).aclose()


async def test_items_before_a_broken_frame_are_received_and_then_its_error() -> None:
    async with link("tcp", LengthPrefixed(2, max_frame=100)) as (a, b):
        back = await a.release()
        writer = back.stream[1]
        writer.write(b"\0\x01a\0\x01b\xff\xffrest")
        assert await b.recv_many() == [b"a", b"b"]
        for _ in range(2):  # it stays
            with pytest.raises(aiotun.CodecError) as caught:
                await b.recv()
            assert not caught.value.recoverable
        assert b.counters.broken == 2
        writer.close()


async def test_a_recoverable_error_costs_one_frame() -> None:
    async with link("tcp", SLIP()) as (a, b):
        back = await a.release()
        back.stream[1].write(b"ok\xc0bad\xdbbad\xc0fine\xc0")
        assert await b.recv() == b"ok"
        with pytest.raises(aiotun.CodecError):
            await b.recv()
        assert await b.recv() == b"fine"
        assert (b.counters.received, b.counters.broken) == (2, 1)
        back.stream[1].close()


@pytest.mark.parametrize(
    "wrong", ["text", b"bytes", None, ["text"], [b"head", None], [5]], ids=repr
)
async def test_an_item_that_a_codec_makes_no_bytes_of(wrong: Any) -> None:
    """It is told where that happens, and the connection goes on."""

    class Careless(RawStream):
        def encode(self, item: bytes) -> list[bytes]:
            if item == b"generated":
                generated: Any = (each for each in (b"head", bytearray(b"body")))
                return generated  # type: ignore[no-any-return]
            return wrong if item == b"wrong" else [item]

    async with link("tcp", Careless()) as (a, b):
        with pytest.raises(TypeError, match=r"Careless.* makes no bytes of it: "):
            await a.send_all([b"first", b"wrong", b"never"])
        with pytest.raises(TypeError, match=r"Careless.* makes no bytes of it: "):
            await a.send(b"wrong")
        await a.send(b"generated")
        await a.send_eof()
        assert b"".join([item async for item in b]) == b"firstheadbody"
        assert a.counters.sent == 2


class NoPreamble(RawStream):
    @property
    def preamble(self) -> list[bytes]:
        return b"preamble"  # type: ignore[return-value]


class NoDecoder(RawStream):
    def decoder(self) -> StreamDecoder[bytes]:
        return None  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("codec", "words"),
    [
        (NoPreamble(), r"NoPreamble\(\) makes no bytes of it: .*not int"),
        (NoDecoder(), r"NoDecoder\(\)\.decoder\(\) returns has to be StreamDecoder, not NoneType"),
    ],
    ids=repr,
)
async def test_a_codec_that_begins_wrong(no_leaks: None, codec: RawStream, words: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        with pytest.raises(TypeError, match=words):
            await aiotun.open_framed_connection(codec, *server.getsockname())
        connection, _ = server.accept()
        reader, writer = await asyncio.open_connection(sock=connection)
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows' loops wait for sockets alone")
async def test_descriptors_stay_with_who_gave_them_to_a_codec_that_begins_wrong() -> None:
    fds = os.pipe()
    try:
        with pytest.raises(TypeError, match="StreamDecoder"):
            await aiotun.open_framed_fd(NoDecoder(), fds[0], writing=fds[1])
        assert [os.get_blocking(fd) for fd in fds] == [True, True]
    finally:
        for fd in fds:
            os.close(fd)


@pytest.mark.parametrize("wrong", [None, b"bytes", (b"item",), "text"])
async def test_a_decoder_that_returns_no_items(wrong: Any) -> None:
    class Decoder(StreamDecoder[bytes]):
        unused = b""

        def feed(self, data: bytes) -> list[bytes]:
            return wrong if data else []

        def eof(self) -> None:
            pass

    class Careless(RawStream):
        def decoder(self) -> StreamDecoder[bytes]:
            return Decoder()

    async with link("tcp", Careless()) as (a, b):
        await a.send(b"item")
        await a.flush()
        with pytest.raises(TypeError, match=r"Decoder.*\.feed\(\) returns has to be list"):
            await b.recv()


@pytest.mark.parametrize("size", [0, -1])
async def test_a_read_of_nothing(size: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        reader, writer = await asyncio.open_connection(sock=ours)
        with pytest.raises(aiotun.ConfigError, match="read_size is at least 1"):
            aiotun.Framed((reader, writer), RawStream(), read_size=size)
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("kind", ["tcp", "anyio"])
async def test_a_frame_cut_off_by_the_end_is_an_error(kind: str) -> None:
    async with link(kind) as (a, b):
        back = await a.release()
        stream = back.stream
        if kind == "tcp":
            stream[1].write(b"\0\0\0\x05abc")
            stream[1].close()
        else:
            await stream.send(b"\0\0\0\x05abc")
            await stream.aclose()
        with pytest.raises(aiotun.CodecError):
            await b.recv()
        with pytest.raises(aiotun.ClosedError):
            await b.recv()


async def test_small_items_leave_together() -> None:
    """The frames of one tick are one send."""

    class Sends:
        def __init__(self) -> None:
            self.sent: list[bytes] = []

        async def receive(self, max_bytes: int) -> bytes:
            return b""

        async def send(self, item: bytes) -> None:
            self.sent.append(item)

        async def send_eof(self) -> None:
            raise NotImplementedError

        async def aclose(self) -> None:
            pass

    stream = Sends()
    async with aiotun.Framed(stream, LengthPrefixed(1)) as framed:
        for n in range(10):
            await framed.send(bytes([n]))
        assert stream.sent == []
        await framed.flush()
        assert stream.sent == [b"".join(bytes([1, n]) for n in range(10))]
        assert framed.get_extra_info("socket", "none") == "none"
        with pytest.raises(aiotun.ClosedError):
            await framed.recv()


async def test_anyios_closed_stream() -> None:
    async with link("anyio") as (a, _):
        stream: Any = (await a.release()).stream
        framed = aiotun.Framed(stream, RawStream())
        await stream.aclose()
        with pytest.raises(aiotun.ClosedError):
            await framed.recv()
        await framed.send(b"item")
        with pytest.raises(aiotun.ClosedError):
            await framed.flush()


class EndOfStream(Exception):
    """One of the user's own, by the name of one of anyio's."""


class LinkReset(anyio.BrokenResourceError):
    """One of anyio's, by a name of the user's own."""


class Failing:
    """A stream of bytes whose every call fails."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def receive(self, max_bytes: int) -> bytes:
        raise self.error

    async def send(self, item: bytes) -> None:
        raise self.error

    async def send_eof(self) -> None:
        raise self.error

    async def aclose(self) -> None:
        pass


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (EndOfStream("mine"), EndOfStream),
        (LookupError("mine"), LookupError),
        (LinkReset(), ConnectionResetError),
        (anyio.EndOfStream(), aiotun.ClosedError),
        (ssl.SSLZeroReturnError(), aiotun.ClosedError),
        (anyio.ClosedResourceError(), aiotun.ClosedError),
        (anyio.BrokenResourceError(), ConnectionResetError),
        (anyio.BusyResourceError("receiving"), aiotun.BusyError),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Exception) else "",
)
async def test_errors_of_anyio_are_told_from_others_of_their_names(
    error: Exception, told: type[Exception]
) -> None:
    framed = aiotun.Framed(Failing(error), RawStream())
    with pytest.raises(told):
        await framed.recv()
    with pytest.raises(told):
        await framed.send_eof()
    await framed.send(b"item")
    with pytest.raises(told):
        await framed.flush()


async def test_what_is_not_implemented_is_a_mistake_but_for_the_end() -> None:
    framed = aiotun.Framed(Failing(NotImplementedError("a bug")), RawStream())
    with pytest.raises(NotImplementedError):
        await framed.recv()
    with pytest.raises(aiotun.UnsupportedError, match="one direction alone"):
        await framed.send_eof()


def test_where_asyncio_does_not_run() -> None:
    """As on trio, whose coroutines asyncio knows nothing of."""
    with pytest.raises(aiotun.UnsupportedError, match='backend="asyncio"'):
        aiotun.Framed(Failing(LookupError()), RawStream())


async def test_anyios_broken_stream() -> None:
    async with link("anyio") as (a, b):
        stream: Any = (await b.release()).stream
        await a.send(b"never read")
        await a.flush()
        await stream.aclose()
        with pytest.raises(ConnectionResetError):
            await a.send_all(itertools.repeat(BIG))


async def test_a_memory_stream_of_anyio_is_a_stream_of_objects_not_bytes() -> None:
    sending, receiving = anyio.create_memory_object_stream[bytes](1)
    with pytest.raises(aiotun.ConfigError, match="does not fit"):
        aiotun.Framed(sending, LengthPrefixed(2))  # type: ignore[call-overload]
    sending.close()
    receiving.close()


async def test_a_codec_that_does_not_fit() -> None:
    reader = asyncio.StreamReader()
    with pytest.raises(aiotun.ConfigError, match="a packet codec goes over packets"):
        aiotun.Framed((reader, None), aiotun.codecs.Raw())  # type: ignore[call-overload]


def test_a_serial_line() -> None:
    """A pseudo-terminal in raw mode, on asyncio's own loop."""
    asyncio.run(asyncio.wait_for(over_a_serial_line(), 5))


async def over_a_serial_line() -> None:
    pty, tty = pytest.importorskip("pty"), pytest.importorskip("tty")
    master, slave = pty.openpty()
    tty.setraw(slave)
    ends = [aiotun.Framed(await terminal(fd), SLIP()) for fd in (master, slave)]
    await ends[0].send_all([b"\xc0\xdb", b"frame"])
    assert [await ends[1].recv() for _ in range(2)] == [b"\xc0\xdb", b"frame"]
    await ends[1].send(b"answer")
    assert await ends[0].recv() == b"answer"
    for end in reversed(ends):
        await end.aclose()


async def terminal(fd: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    reading, _ = await loop.connect_read_pipe(
        lambda: protocol, os.fdopen(os.dup(fd), "rb", buffering=0)
    )
    transport, _ = await loop.connect_write_pipe(
        lambda: _Closer(reading), os.fdopen(fd, "wb", buffering=0)
    )
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


class _Closer(asyncio.streams.FlowControlMixin):
    def __init__(self, reading: asyncio.BaseTransport) -> None:
        super().__init__()
        self.reading = reading

    def connection_lost(self, exc: Exception | None) -> None:
        self.reading.close()


class File:
    """The whole of what it takes to frame a file."""

    def __init__(self, path: Path, mode: str) -> None:
        self.file = path.open(mode)

    async def receive(self, max_bytes: int) -> bytes:
        return await asyncio.to_thread(self.file.read, max_bytes)

    async def send(self, item: bytes) -> None:
        await asyncio.to_thread(self.file.write, item)

    async def send_eof(self) -> None:
        raise NotImplementedError

    async def aclose(self) -> None:
        self.file.close()


async def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "frames"
    items = [bytes([n]) * n for n in range(200)]
    async with aiotun.Framed(File(path, "wb"), LengthPrefixed(2)) as writer:
        await writer.send_all(items)
    async with aiotun.Framed(File(path, "rb"), LengthPrefixed(2), read_size=100) as reader:
        assert [item async for item in reader] == items
