"""Outbox: what is gathered, and what goes to the transport."""

from __future__ import annotations

import gc
import weakref

import pytest
from implementations import Implementation


class Named(bytes):
    pass


@pytest.mark.parametrize(
    ("data", "gathered"),
    [
        pytest.param(b"a", True, id="the smallest"),
        pytest.param(b"abcd", True, id="the largest"),
        pytest.param(b"", False, id="empty"),
        pytest.param(b"abcde", False, id="too large"),
        pytest.param(bytearray(b"a"), False, id="bytearray"),
        pytest.param(memoryview(b"a"), False, id="memoryview"),
        pytest.param(Named(b"a"), False, id="a subclass of bytes"),
        pytest.param(1, False, id="no bytes"),
    ],
)
def test_what_is_gathered(offload_impl: Implementation, data: object, gathered: bool) -> None:
    rest: list[object] = []
    outbox = offload_impl.Outbox(rest.append, 4, 3)
    outbox.write(data)
    assert (outbox.packets, rest) == ([], [data])
    outbox.open = True
    outbox.write(data)
    assert (outbox.packets, rest[1:]) == (([data], []) if gathered else ([], [data]))


def test_the_one_that_reaches_the_limit_goes_to_the_transport(
    offload_impl: Implementation,
) -> None:
    rest: list[object] = []
    outbox = offload_impl.Outbox(rest.append, 4, 3)
    outbox.open = True
    for data in (b"1", b"2", b"3", b"4"):
        outbox.write(data)
    assert (outbox.packets, rest) == ([b"1", b"2"], [b"3", b"4"])


def test_what_the_transport_raises(offload_impl: Implementation) -> None:
    def fail(data: object) -> None:
        raise TypeError(data)

    with pytest.raises(TypeError, match="seven"):
        offload_impl.Outbox(fail, 4, 3).write("seven")


def test_it_is_collected_with_its_transport(offload_impl: Implementation) -> None:
    class Transport:
        def __init__(self) -> None:
            self.outbox = offload_impl.Outbox(self.write, 4, 3)

        def write(self, data: object) -> None: ...

    transport = weakref.ref(Transport())
    gc.collect()
    assert transport() is None
