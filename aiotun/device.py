"""Device: a TUN or TAP device without an event loop, and all that one can change on it."""

from __future__ import annotations

import errno
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, TypedDict

from . import platforms
from .config import Address, AddressLike, DeviceConfig, Layer, check_mtu
from .errors import BusyError, ClosedError, ConfigError
from .packetio import Counters, PacketReader, PacketWriter, check_packet
from .platforms.base import Interface, InterfaceStatistics, Queue

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

__all__ = ["Device", "DeviceSettings"]


class DeviceSettings(TypedDict, total=False):
    """The fields of `DeviceConfig` as keywords."""

    name: str | None
    layer: Layer
    addresses: AddressLike | Iterable[AddressLike]
    mtu: int | None
    offload: bool
    up: bool


class Device:
    """An open TUN or TAP device.

    >>> with Device(addresses=["10.9.0.1/24"]) as device:
    ...     packet = device.recv(timeout=1.0)

    Takes the fields of `DeviceConfig` as keywords, or one whole as `config`.
    Raises a `ConfigError` for values that no device can have, and another
    `TunError` when the system refuses; nothing is left open then.

    Packets are whole: an IP packet (TUN) or Ethernet frame (TAP) each, with
    complete checksums and nothing in front. Super-packets that the kernel hands
    out are split, and what `send_many` gets is coalesced.

    Several threads may send; one at a time may receive, another gets a `BusyError`.

    `interface` and `queue` are the two parts a device is made of, see
    `platforms.base`.
    """

    def __init__(
        self, *, config: DeviceConfig | None = None, **settings: Unpack[DeviceSettings]
    ) -> None:
        config = make_config(config, settings)
        self._assemble(*platforms.open_device(config))

    @classmethod
    def from_parts(cls, interface: Interface, queue: Queue) -> Self:
        """A device of parts that stand already, and that it owns from now on."""
        self = cls.__new__(cls)
        self._assemble(interface, queue)
        return self

    def _assemble(self, interface: Interface, queue: Queue) -> None:
        self.interface = interface
        self.queue = queue
        self.counters = Counters()
        """What passed between this program and the device."""
        self._closed = False
        self._taken = False
        self._read_errors: list[Exception] = []
        self._write_errors: list[Exception] = []
        self._reader = PacketReader(queue, self.counters, self._read_errors.append)
        self._writer = PacketWriter(queue, self.counters, self._write_errors.append)
        self._pending: list[bytes] = []  # packets already split, the next one last
        self._receiving = threading.Lock()
        self._sending = threading.Lock()

    # What it is.

    @property
    def name(self) -> str:
        """The interface's name as it is now."""
        return self.interface.name

    @property
    def index(self) -> int:
        """The interface index, which stays while names change."""
        return self.interface.index

    @property
    def layer(self) -> Layer:
        return self.queue.layer

    @property
    def offload(self) -> bool:
        """Whether super-packets are exchanged with the kernel."""
        return self.queue.vnet_hdr

    @property
    def tcp_offload(self) -> bool:
        """Whether that holds for TCP."""
        return self.queue.tcp_offload

    @property
    def udp_offload(self) -> bool:
        """Whether that holds for UDP (on Linux: 6.2 and later)."""
        return self.queue.udp_offload

    @property
    def mtu(self) -> int:
        """Bytes of IP packet, or of Ethernet payload. Set it to change it.

        Setting raises `MTUError` for a value that the device cannot have.
        """
        return self.interface.mtu

    @mtu.setter
    def mtu(self, mtu: int) -> None:
        check_mtu(mtu, self.layer)
        self.interface.set_mtu(mtu)

    @property
    def is_up(self) -> bool:
        """Whether the interface is set up (administratively)."""
        return self.interface.is_up

    def up(self) -> None:
        """Set the interface up."""
        self.interface.set_up(True)

    def down(self) -> None:
        """Set the interface down: the kernel drops its packets and refuses ours."""
        self.interface.set_up(False)

    def addresses(self) -> list[Address]:
        """All IPv4 and IPv6 addresses, those that the system gave included."""
        return self.interface.addresses()

    def add_address(self, address: AddressLike) -> None:
        """Raises `AddressError` when it is malformed or there already."""
        self.interface.add_address(Address.parse(address))

    def remove_address(self, address: AddressLike) -> None:
        """Raises `AddressError` when it is malformed or not there."""
        self.interface.remove_address(Address.parse(address))

    def statistics(self) -> InterfaceStatistics:
        """The kernel's counters; its drops are what `counters` cannot know of."""
        return self.interface.statistics()

    def fileno(self) -> int:
        """The queue's descriptor; `UnsupportedError` where there is none.

        It being readable is not the whole truth about `recv`: packets already
        split may be pending.
        """
        return self.queue.fileno()

    # Packets.

    def recv(self, timeout: float | None = None) -> bytes:
        """The next packet.

        Waits for `timeout` seconds at most, without end if it is None. Raises
        `TimeoutError`, `InterfaceGoneError`, `ClosedError`, `BusyError`, and
        `OffloadError` for a malformed frame, which is dropped.
        """
        with self._only_reader():
            if not self._pending:
                self._pending = self._receive(timeout)[::-1]
            return self._pending.pop()

    def recv_many(self, timeout: float | None = None) -> list[bytes]:
        """All packets that wait, at least one; waits and raises as `recv` does."""
        with self._only_reader():
            return self.take_pending() or self._receive(timeout)

    def send(self, packet: bytes) -> None:
        """Write one packet. Waits and raises as `send_many` does."""
        self.send_many([packet])

    def send_many(self, packets: Iterable[bytes]) -> None:
        """Write packets, coalesced where the device can take that, in order within a flow.

        Waits where the system pushes back. Raises `PacketError` before anything
        is written for what cannot be a packet. What the system refuses does not
        keep back the rest: the first such error is raised at the end
        (`InterfaceDownError`, `PacketError`, or an `OSError` with its errno).
        `InterfaceGoneError` and `ClosedError` are raised at once.
        """
        batch = [bytes(packet) for packet in packets]
        for packet in batch:
            check_packet(packet, self.layer)
        with self._sending:
            self._check_usable()
            self._writer.write(batch)
            while self._writer.backlog:
                self.queue.wait_writable(None)
                self._writer.resume()
            _raise_first(self._write_errors)

    def __iter__(self) -> Iterator[bytes]:
        """Packets as they come, until the device is closed."""
        while not self._closed:
            yield self.recv()

    def _receive(self, timeout: float | None) -> list[bytes]:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            packets = self._reader.read()
            if packets:
                return packets
            _raise_first(self._read_errors)
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not self.queue.wait_readable(left):
                raise TimeoutError(errno.ETIMEDOUT, f"no packet came within {timeout} s")

    @contextmanager
    def _only_reader(self) -> Iterator[None]:
        self._check_usable()
        if not self._receiving.acquire(blocking=False):
            raise BusyError(errno.EBUSY, "another thread is receiving from this device")
        try:
            yield
        finally:
            self._receiving.release()

    def _check_usable(self) -> None:
        if self._closed:
            raise ClosedError
        if self._taken:
            raise BusyError(errno.EBUSY, "the device belongs to a transport: use that")

    # Its life.

    def take_over(self) -> None:
        """For who hands the device to a transport, which alone may use it from now on.

        Raises `BusyError` when another transport has it, and `ClosedError`.
        """
        self._check_usable()
        self._taken = True

    def take_pending(self) -> list[bytes]:
        """For the transport that took the device over: packets that were read, not received."""
        packets, self._pending = self._pending[::-1], []
        return packets

    def close(self) -> None:
        """Give the device back; the interface is gone then. Blocks for some 20 ms. Idempotent.

        Raises `BusyError` when a transport owns the device.
        """
        if self._taken and not self._closed:
            raise BusyError(errno.EBUSY, "the device belongs to a transport: close that")
        self.release()

    def release(self) -> None:
        """For the transport that took the device over: close it."""
        if not self._closed:
            self._closed = True
            self.queue.close()
            self.interface.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._taken:
            self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            warnings.warn(f"unclosed device {self!r}", ResourceWarning, stacklevel=2, source=self)
            self.release()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.layer} {'closed' if self._closed else 'open'}>"


def make_config(config: DeviceConfig | None, settings: DeviceSettings) -> DeviceConfig:
    """The one of the two ways to say what a device should be that was used."""
    if config is None:
        return DeviceConfig(**settings)
    if settings:
        raise ConfigError(
            f"config= and {', '.join(settings)} were both given: "
            "use dataclasses.replace(config, ...) to change single values"
        )
    return config


def _raise_first(errors: list[Exception]) -> None:
    if errors:
        first = errors[0]
        errors.clear()
        raise first
