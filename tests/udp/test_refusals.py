"""Kernels and routes that refuse what others take: not to be had here, they stand in Python."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from typing import Any

import pytest
from rigs import until
from udp_rigs import NARROW, endpoint, udp_socket

from aiotun.testing.namespace import Namespace
from aiotun.udp.cmsg import UDP_SEGMENT

pytestmark = [pytest.mark.requires("netns", "ip"), pytest.mark.usefixtures("python_sends")]


class Refusing(socket.socket):
    """Refuses segments as a route without checksum offload does: here none could be had."""

    number = errno.EIO

    def sendmsg(self, buffers: Any, ancillary: Any = (), *args: Any) -> int:
        if any(kind == UDP_SEGMENT for _, kind, _ in ancillary):
            raise OSError(self.number, "of the test")
        return super().sendmsg(buffers, ancillary, *args)


@pytest.mark.parametrize("number", [errno.EIO, errno.EINVAL])
async def test_refused_segments_are_sent_one_by_one_from_then_on(
    number: int, caplog: pytest.LogCaptureFixture
) -> None:
    near = udp_socket("127.0.0.1", Refusing)
    near.number = number
    async with endpoint() as server, endpoint(sock=near) as client:
        sent = [bytes([n]) * 100 for n in range(100)]
        with caplog.at_level(logging.WARNING, "aiotun"):
            client.transport.sendto_many(sent, server.addr)
            client.transport.flush()
            client.transport.sendto_many(sent, server.addr)
        await until(lambda: len(server.data) == 200)
        assert server.data == sent * 2
        assert not client.transport.get_extra_info("gso")
        assert client.transport.counters.messages_sent == 200
        assert client.errors == []
        assert [record.args for record in caplog.records] == [(os.strerror(number),)]  # once


async def test_an_old_kernel_says_einval_for_a_narrow_path(narrow: Namespace) -> None:
    """As others do for a route without the offload; not a reason to do without segmentation."""
    far, near = narrow.run(udp_socket, "127.0.0.1"), narrow.run(udp_socket, "127.0.0.1", Refusing)
    near.number = errno.EINVAL
    async with endpoint(sock=far) as server, endpoint(sock=near) as client:
        client.transport.sendto_many([bytes(1400)] * 3, server.addr)
        await until(lambda: len(server.data) == 3)
        assert [error.mtu for error in client.errors] == [NARROW]
        assert client.transport.get_extra_info("gso")


class Old(socket.socket):
    """As before Linux 4.18, which had neither."""

    def getsockopt(self, level: int, option: int, *args: Any) -> Any:
        self._refuse(level)
        return super().getsockopt(level, option, *args)

    def setsockopt(self, level: int, option: int, *args: Any) -> None:
        self._refuse(level)
        super().setsockopt(level, option, *args)

    @staticmethod
    def _refuse(level: int) -> None:
        if level == socket.IPPROTO_UDP:
            raise OSError(errno.ENOPROTOOPT, "of the test")


async def test_a_kernel_without_segmentation() -> None:
    near = udp_socket("127.0.0.1", Old)
    async with endpoint() as server, endpoint(sock=near) as client:
        info = client.transport.get_extra_info
        assert not info("gso")
        assert not info("gro")
        client.transport.sendto_many([b"1", b"2"], server.addr)
        await until(lambda: len(server.data) == 2)
        assert client.transport.counters.messages_sent == 2
        server.transport.sendto_many([b"1", b"2"], client.addr)
        await until(lambda: client.data == [b"1", b"2"])


class Stopping(socket.socket):
    """Refuses segments, and takes so many datagrams."""

    room = 0

    def sendmsg(self, buffers: Any, *args: Any) -> int:
        if len(buffers) > 1:
            raise OSError(errno.EIO, "of the test")
        if not self.room:
            raise BlockingIOError(errno.EAGAIN, "of the test")
        self.room -= 1
        return super().sendmsg(buffers, *args)


@pytest.mark.parametrize("room", [0, 3])
async def test_refused_segments_wait_where_they_were_stopped(room: int) -> None:
    """A socket that takes but some of the datagrams one by one, or none."""
    near = udp_socket("127.0.0.1", Stopping)
    async with endpoint() as server, endpoint(sock=near) as client:
        near.room = room
        client.transport.sendto_many([bytes([n]) for n in range(10)], server.addr)
        client.transport.flush()
        assert client.transport.get_write_buffer_size() == 10 - room
        await asyncio.sleep(0.01)
        near.room = 100
        await until(lambda: len(server.data) == 10)
        assert server.data == [bytes([n]) for n in range(10)]
