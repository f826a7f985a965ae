"""The request socket: answers that come late, torn, or never, and many threads at once."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import errno
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from aiotun.errors import TunError
from aiotun.platforms.linux import netlink as module
from aiotun.platforms.linux.netlink import NetlinkSocket
from aiotun.platforms.linux.rtnetlink.addresses import RTM_GETADDR, encode_address_dump
from aiotun.platforms.linux.rtnetlink.links import RTM_GETLINK, decode_link, encode_link
from aiotun.platforms.linux.rtnetlink.messages import NLM_F_DUMP, encode_message

NEWADDR, ERROR, DONE = 20, 2, 3
DUMP_INTR, CAPPED, TLVS = 0x10, 0x100, 0x200


@pytest.fixture
def netlink() -> Any:
    sock = NetlinkSocket()
    yield sock
    sock.close()


class Kernel:
    """Stands in for the socket: a script of answers, (sequence offset, kind, flags, body) each."""

    def __init__(self, *datagrams: list[tuple[int, int, int, bytes]]) -> None:
        self.datagrams = list(datagrams)
        self.requests: list[bytes] = []

    def send(self, request: bytes) -> None:
        self.requests.append(request)

    def recv(self, size: int) -> bytes:
        (sequence,) = struct.unpack_from("=I", self.requests[-1], 8)
        return b"".join(
            encode_message(kind, flags, sequence + offset, body)
            for offset, kind, flags, body in self.datagrams.pop(0)
        )

    def close(self) -> None:
        pass


def scripted(*datagrams: list[tuple[int, int, int, bytes]]) -> tuple[NetlinkSocket, Kernel]:
    sock, kernel = NetlinkSocket(), Kernel(*datagrams)
    sock.close()
    sock._socket = kernel  # type: ignore[assignment]
    return sock, kernel


END = (0, DONE, 0, bytes(4))
ACKNOWLEDGED = (0, ERROR, CAPPED, bytes(20))


def test_request() -> None:
    sock, kernel = scripted([(0, NEWADDR, 0, b"abcd")], [ACKNOWLEDGED])
    assert sock.request(RTM_GETLINK, b"body", 0x400) == [b"abcd"]
    (request,) = kernel.requests
    assert request == struct.pack("=IHHII", 20, RTM_GETLINK, 0x405, 1, 0) + b"body"


def test_a_late_answer_is_not_taken_for_this_one() -> None:
    sock, _ = scripted(
        [(-1, NEWADDR, 0, b"late"), (-1, ERROR, CAPPED, struct.pack("=i16x", -19))],
        [(0, NEWADDR, 0, b"this"), ACKNOWLEDGED],
    )
    assert sock.request(RTM_GETLINK, b"") == [b"this"]


def test_a_list_over_several_datagrams() -> None:
    sock, _ = scripted([(0, NEWADDR, 2, b"1111"), (0, NEWADDR, 2, b"2222")], [END])
    assert sock.request(RTM_GETADDR, b"", NLM_F_DUMP) == [b"1111", b"2222"]


@pytest.mark.parametrize("where", [0, 1])
def test_an_interrupted_list_is_asked_for_again(where: int) -> None:
    torn = [(0, NEWADDR, DUMP_INTR * (where == 0), b"old1"), (0, DONE, DUMP_INTR * where, bytes(4))]
    sock, kernel = scripted(torn, torn, [(0, NEWADDR, 0, b"new1"), (0, NEWADDR, 0, b"new2"), END])
    assert sock.request(RTM_GETADDR, b"", NLM_F_DUMP) == [b"new1", b"new2"]
    assert len(kernel.requests) == 3


def test_a_list_that_is_always_interrupted() -> None:
    sock, _ = scripted(*[[(0, DONE, DUMP_INTR, bytes(4))]] * module.DUMP_ATTEMPTS)
    with pytest.raises(TunError, match="change too fast") as caught:
        sock.request(RTM_GETADDR, b"", NLM_F_DUMP)
    assert caught.value.errno == errno.EAGAIN


def test_a_list_that_fails() -> None:
    sock, _ = scripted([(0, NEWADDR, 2, b"1111"), (0, DONE, 2, struct.pack("=i", -19))])
    with pytest.raises(OSError, match="No such device") as caught:
        sock.request(RTM_GETADDR, b"", NLM_F_DUMP)
    assert caught.value.errno == errno.ENODEV


def test_the_kernels_own_words(netlink: NetlinkSocket) -> None:
    """Linux before 6.6 has none."""
    address = struct.pack("=HH4s", 8, 2, b"\x0a\0\0\1")
    with pytest.raises(OSError, match=r"ipv4: Device not found|No such device") as caught:
        netlink.request(20, struct.pack("=BBBBI", 2, 32, 0, 0, 99999) + address)
    assert caught.value.errno == errno.ENODEV


def test_no_answer(netlink: NetlinkSocket, monkeypatch: pytest.MonkeyPatch) -> None:
    netlink._socket.settimeout(0.01)
    # Kind 1 is NLMSG_NOOP, which the kernel takes and does not answer.
    monkeypatch.setattr(module, "encode_message", lambda *fields: encode_message(1, 0, 1, b""))
    with pytest.raises(TimeoutError):
        netlink.request(RTM_GETLINK, encode_link(1))


def test_closed(netlink: NetlinkSocket) -> None:
    netlink.close()
    netlink.close()
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        netlink.request(RTM_GETLINK, encode_link(1))
    assert caught.value.errno == errno.EBADF


def test_many_threads(netlink: NetlinkSocket) -> None:
    """Every thread gets its own answers, whatever the others ask."""

    def ask(number: int) -> bool:
        if number % 3 == 0:
            return bool(netlink.request(RTM_GETADDR, encode_address_dump(1), NLM_F_DUMP))
        if number % 3 == 1:
            with pytest.raises(OSError, match="No such device"):
                netlink.request(RTM_GETLINK, encode_link(99999))
            return True
        (body,) = netlink.request(RTM_GETLINK, encode_link(1))
        link = decode_link(body)
        return link is not None and link.name == "lo"

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(400)))
