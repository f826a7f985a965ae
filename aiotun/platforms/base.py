"""The contract between an operating system and the rest of aiotun.

A device is two things. A `Queue` moves frames: one read, one frame; one write,
one frame; never blocking. An `Interface` is what an administrator sees: name,
addresses, MTU, up or down, events. A platform module offers one function,
`open_device(config) -> (Interface, Queue)`.

A frame is the same everywhere: a packet (IP for TUN, Ethernet for TAP), behind
a 10-byte virtio_net_hdr if and only if `Queue.vnet_hdr` says so. What else a
system puts in front of a packet (the address family of utun and the BSDs'
tun) is added and removed by that system's queue.
"""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal, TypeVar

from ..errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from ipaddress import IPv4Address

    from ..addresses import Address, Route
    from ..config import DeviceConfig, Layer
    from ..interfaces import Event, InterfaceDetails, InterfaceStatistics
    from ..interrupt import Interrupt

__all__ = [
    "CallingEvents",
    "CallingQueue",
    "EventSource",
    "Framing",
    "Interface",
    "Queue",
    "nothing",
]

T = TypeVar("T")

Framing = Literal["none", "vnet", "pi", "family"]
"""What stands in front of a packet: nothing; a virtio_net_hdr; Linux' packet information
(struct tun_pi, linux/if_tun.h); the address family, as in macOS' utun and the BSDs' tun."""


class Queue(ABC):
    """One way in and out of a device. Many queues may belong to one interface."""

    layer: Layer
    vnet_hdr: bool
    """Whether every frame starts with a virtio_net_hdr."""
    tcp_offload: bool
    """Whether the kernel may hand out TCP super-packets."""
    udp_offload: bool
    """Whether the kernel may hand out UDP super-packets."""
    direct: int | None = None
    """How many bytes stand in front of a packet in `channel`: none, 4 for a family, 10 for a
    virtio_net_hdr. Native code then reads and writes there itself, many frames at once, and
    leaves errors to `read` and `write`. None: it may not."""
    framing: Framing | None = None
    """What has to be said with the descriptor when it is handed on: None where the system
    tells it. Raises `UnsupportedError` where no framing says it."""
    polled: bool = False
    """Whether poll(2) of the descriptor tells when a frame waits. Native code that reads there
    waits for one in the same call, then."""
    families: tuple[int, int] | None = None
    """Of a queue with 4 bytes in front: those of an IPv4 packet and those of an IPv6 packet, as
    numbers in network order."""
    recvmsg_x: int = 0
    """The address of macOS' function of that name, by which native code reads many frames in a
    call; 0 where each read has one."""
    retry_after: float | None = None
    """Of a queue that refuses frames for now and has nothing that tells when it takes them again:
    seconds after which to try."""
    holds_frames: bool = False
    """Whether frames were read from the system that `read` has not returned yet. Of these
    `fileno` tells nothing."""

    @abstractmethod
    def read(self) -> bytes:
        """The next frame.

        Raises `BlockingIOError` when none is waiting, `InterfaceGoneError` when
        the interface was deleted.
        """

    @abstractmethod
    def write(self, frame: bytes) -> None:
        """Hand one frame to the kernel, whole or not at all.

        Raises `BlockingIOError` when the kernel takes no more for now,
        `InterfaceDownError`, `InterfaceGoneError`, and `OSError` with the
        kernel's errno (EINVAL above all) for a frame that it refused.
        """

    @abstractmethod
    def wait_readable(self, timeout: float | None, *interrupts: Interrupt) -> bool:
        """Block the calling thread until a frame waits or one of the interrupts is set.

        False after `timeout` seconds in which neither came about.
        """

    @abstractmethod
    def wait_writable(self, timeout: float | None, *interrupts: Interrupt) -> bool:
        """Wait as `wait_readable` does, until the kernel takes frames."""

    @abstractmethod
    def close(self) -> None:
        """Give the queue back to the system. May block for some 20 ms. Idempotent."""

    def fileno(self) -> int:
        """The descriptor whose readiness says that `read` has something; -1 once closed.

        Raises `UnsupportedError` where frames come through a ring and an event.
        """
        raise UnsupportedError(errno.EOPNOTSUPP, "this queue has no file descriptor")

    def channel(self) -> int:
        """What native code reads and writes: the descriptor, or the ring (native/src/system)."""
        return self.fileno()

    def detach(self) -> int:
        """Give the descriptor away: the queue is closed then, the interface is not."""
        raise UnsupportedError(errno.EOPNOTSUPP, "this queue has no file descriptor")


def nothing() -> None:
    """The callback while nobody wants to be called."""


class CallingQueue(Queue):
    """A queue without a descriptor: it calls back."""

    on_readable: Callable[[], None]
    """Called, in whatever thread, when frames came. What waits already is not told of."""


class EventSource(ABC):
    """Changes of one interface, to be had without reading its packets."""

    def fileno(self) -> int:
        """A descriptor that is readable when `read` has something; -1 once closed.

        Raises `UnsupportedError` where the system calls back instead.
        """
        raise UnsupportedError(errno.EOPNOTSUPP, "these events have no file descriptor")

    @abstractmethod
    def read(self) -> list[Event]:
        """What happened since the last call, oldest first; empty if nothing. Never blocks.

        When the system lost events on the way (ENOBUFS), the present state is
        reported as if it had just come about, so that a reader never misses the
        last change of a value or the deletion.
        """

    @abstractmethod
    def close(self) -> None:
        """Idempotent."""


class CallingEvents(EventSource):
    """Events without a descriptor: they call back."""

    on_event: Callable[[], None]
    """Called, in whatever thread, when `read` has something."""


class Interface(ABC):
    """The administrator's side of a device. Calls block for some microseconds.

    Every method raises `InterfaceGoneError` once the interface was deleted,
    `NotPermittedError` when the process may not, and `ClosedError` after `close`.
    """

    config: DeviceConfig
    """What it was asked to be. Some of that goes on counting, see `KeptSettings`."""
    takes_once: ClassVar[tuple[int, ...]] = (4, 6)
    """The IP versions of which the system takes an address once, whatever its prefix and peer."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The name as it is now: others may have renamed the interface."""

    @property
    @abstractmethod
    def index(self) -> int:
        """The interface index: it stays while names change."""

    @property
    @abstractmethod
    def mtu(self) -> int:
        """Bytes of IP packet (of Ethernet payload for TAP)."""

    @abstractmethod
    def set_mtu(self, mtu: int) -> None:
        """Raises `MTUError` when the system refuses the value."""

    @property
    @abstractmethod
    def is_up(self) -> bool:
        """Whether an administrator (or `set_up`) set the interface up."""

    @abstractmethod
    def set_up(self, up: bool) -> None: ...

    def call_beside(self, function: Callable[[], T]) -> T:
        """Call the function where the interface lives, such as in its network namespace."""
        return function()

    @abstractmethod
    def addresses(self) -> list[Address]: ...

    @abstractmethod
    def add_address(self, address: Address) -> None:
        """Raises `AddressError` when the interface has it already."""

    @abstractmethod
    def remove_address(self, address: Address) -> None:
        """Raises `AddressError` when the interface does not have it."""

    def set_addresses(self, addresses: Sequence[Address]) -> None:
        """Make these the addresses: add what is missing, then remove all others.

        One that only changes its prefix or peer is removed first where the system takes an
        address once. Link-local IPv6 addresses stay, the system makes them. Raises `AddressError`.
        """
        changed = {
            each.interface.ip for each in addresses if each.interface.version in self.takes_once
        }
        for address in self.addresses():
            if address.interface.ip in changed and address not in addresses:
                self.remove_address(address)
        self._add_missing(addresses)
        for address in self.addresses():
            link_local = address.interface.version == 6 and address.interface.ip.is_link_local
            # The kernel may have removed it with another: with the first IPv4 address of
            # a network go the others (Linux' sysctl promote_secondaries).
            if not (address in addresses or link_local) and address in self.addresses():
                self.remove_address(address)
        self._add_missing(addresses)

    def _add_missing(self, addresses: Sequence[Address]) -> None:
        present = self.addresses()
        for address in addresses:
            if address not in present:
                self.add_address(address)

    @abstractmethod
    def statistics(self) -> InterfaceStatistics: ...

    # What not every system has raises `UnsupportedError`.

    def set_name(self, name: str) -> None:
        """Raises `NameInUseError`, and `BusyError` where the interface must be down for it."""
        raise _unsupported("renaming an interface")

    def mtu_v6(self) -> int:
        """Bytes of an IPv6 packet, at most `mtu`."""
        raise _unsupported("an MTU for IPv6 alone")

    def set_mtu_v6(self, mtu: int) -> None:
        """Raises `MTUError` when the system refuses the value."""
        raise _unsupported("an MTU for IPv6 alone")

    def details(self) -> InterfaceDetails:
        raise _unsupported("asking for an interface's details")

    def set_mac(self, mac: str) -> None:
        """Raises `MACError` when the system refuses the address."""
        raise _unsupported("setting a MAC address")

    def set_tx_queue_len(self, length: int) -> None:
        raise _unsupported("setting the length of the queue")

    def set_carrier(self, carrier: bool) -> None:
        raise _unsupported("setting the carrier")

    def set_persistent(self, persistent: bool) -> None:
        raise _unsupported("keeping the interface")

    def set_owner(self, owner: int | str) -> None:
        """By id or name. Raises `ConfigError` for a user who is not there."""
        raise _unsupported("giving the interface to a user")

    def set_group(self, group: int | str) -> None:
        """By id or name. Raises `ConfigError` for a group that is not there."""
        raise _unsupported("giving the interface to a group")

    def broadcast(self) -> IPv4Address | None:
        """The broadcast address of the first IPv4 address that has one."""
        raise _unsupported("asking for a broadcast address")

    def set_broadcast(self, broadcast: IPv4Address | None) -> None:
        """Of the first IPv4 address; raises `AddressError` when there is none."""
        raise _unsupported("setting a broadcast address")

    def routes(self) -> list[Route]:
        """The routes to this interface in the main table, without the system's own."""
        raise _unsupported("asking for routes")

    def add_route(self, route: Route) -> None:
        """Raises `RouteError` when the system has it already or refuses it."""
        raise _unsupported("adding routes")

    def remove_route(self, route: Route) -> None:
        """Raises `RouteError` when it is not there."""
        raise _unsupported("removing routes")

    def open_queue(self) -> tuple[Interface, Queue]:
        """Another queue of the same interface, with means of its own to configure it.

        Raises `QueueLimitError`, and `UnsupportedError` unless the interface was
        made for several queues.
        """
        raise _unsupported("opening another queue")

    @abstractmethod
    def events(self) -> EventSource:
        """Where changes of this interface are read from; made with the device, one a device."""

    @abstractmethod
    def close(self) -> None:
        """Give up the means of configuring; the interface lives as its queues do. Idempotent."""


def _unsupported(what: str) -> UnsupportedError:
    return UnsupportedError(errno.EOPNOTSUPP, f"{what} is not possible with this kind of device")
