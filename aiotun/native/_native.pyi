"""The native module: in C, what is done for every packet.

`checksum`, `gso_split`, `GROTable`, `are_packets`, `batches`, `locate` and `Rewrite` do what
their Python versions do. The other functions read and write a channel: a descriptor of which each
read(2) gives one frame and each write(2) takes one, or the address of a ring of Windows
(src/system/ring.h). They end at the first error of any kind, and return what was done until then.
The caller does the rest in Python, which raises or reports the error.
"""

from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sized
from mmap import mmap
from typing import Any

from ..config import Layer
from ..errors import CodecError
from ..framed import sinks, sources
from ..framed.base import FramedCounters
from ..packetio import Batch, Counters, Wait
from ..streams import MessageProtocol
from ..transports import fastpath
from ..transports.flushing import Tick
from ..udp.base import Posted
from ..udp.messages import Message
from ..udp.protocol import Datagram, DatagramTrain, SocketAddress, UdpCounters
from ..udp.selector import SelectorUdpTransport

class Counts:
    """What `Counters` is made of: its fields, which a `Port` adds to."""

class UdpCounts:
    """What `UdpCounters` is made of: its fields, which a `UdpPort` adds to."""

class UdpPort:
    """Moves trains between a socket and its transport's protocol, as long as all is plain (Linux).

    All else it leaves to the transport, whose attributes it reads and sets by name.
    """

    def __init__(
        self,
        transport: SelectorUdpTransport,
        socket: Any,
        fd: int,
        family: int,
        backlog: list[Message],
        tick: Tick,
        counters: UdpCounters,
        train: type[DatagramTrain],
        limit: int,
        /,
    ) -> None:
        """`limit`: datagrams after which one wake-up reads no further message."""

    uses: int
    """See `transports.base.Uses`."""

    def read_ready(self) -> None: ...
    def post(self, outgoing: Posted, /) -> Posted: ...

class ItemCounts:
    """What `FramedCounters` is made of: its fields, which sources and sinks add to."""

class Messages:
    """What `MessageProtocol` is made of: the attributes that sources and sinks look at."""

class ItemSource:
    """What `NativeTransportSource` has in C: a call of `recv` or `__anext__` is over at once
    where an item waits, and else goes on as the twin's coroutine."""

    closed: bool
    def _bind(
        self,
        twin: type[sources.TransportSource[Any]],
        protocol: MessageProtocol,
        decode: Callable[[bytes], Any] | None,
        counters: FramedCounters,
        errors: deque[CodecError],
        codec_error: type[CodecError],
        /,
    ) -> None:
        """To be called once. Without `decode` each packet is its own item."""

    def recv(self) -> Coroutine[Any, Any, Any]: ...
    def __anext__(self) -> Coroutine[Any, Any, Any]: ...

class ItemSink:
    """What `NativeTransportSink` has in C: `put`, and a call of `send`, which is over at once where
    there is room, and else goes on as the twin's coroutine."""

    closed: bool
    def _bind(
        self,
        twin: type[sinks.TransportSink[Any]],
        protocol: MessageProtocol,
        encode: Callable[[Any], bytes] | None,
        counters: FramedCounters,
        port: Port,
        /,
    ) -> None:
        """To be called once. Without `encode` each item is its own packet."""

    def send(self, item: Any, /) -> Coroutine[Any, Any, None]: ...
    def put(self, items: Iterable[Any], /) -> int: ...

class Port:
    """What `NativePort` has in C: the attributes of `fastpath.Port` that change with each packet,
    and its methods as long as all is plain. All else they leave to the twin's functions."""

    def _bind(
        self,
        twin: type[fastpath.Port],
        channel: int,
        layer: Layer,
        vnet_hdr: bool,
        families: tuple[int, int] | None,
        table: Any,
        waiting: Sized,
        counters: Counters,
        read_limit: int,
        limit: int,
        size_max: int,
        recvmsg_x: int = 0,
        /,
    ) -> None:
        """To be called once, when the twin has set its attributes.

        The channel is used until `closed` is set, and `uses` is 0. `table` is a `GROTable` of this
        module. What is written is left to the twin while frames wait in `waiting`, so
        that nothing overtakes them.
        """

    def _set_channel(self, channel: int) -> None:
        """What is read and written from now on; -1: nothing, and the twin does it all."""

def checksum(data: bytes | bytearray | memoryview, initial: int = 0) -> int: ...
def gso_split(frame: bytes, layer: Layer = "tun") -> list[bytes]: ...

class GROTable:
    @property
    def layer(self) -> Layer: ...
    tcp: bool
    udp: bool
    udp_zero_checksum: bool
    def __new__(
        cls,
        layer: Layer = "tun",
        tcp: bool = True,
        udp: bool = True,
        udp_zero_checksum: bool = False,
    ) -> GROTable: ...
    def coalesce(self, packets: Iterable[bytes], /) -> list[bytes]: ...

def are_packets(packets: list[Any], size_max: int, /) -> bool: ...
def read_packets(
    channel: int, limit: int, layer: Layer, wait: Wait | None = None, /
) -> Batch | None:
    """Read and split until there are `limit` packets or more.

    The packets; the bytes in them; how many frames they came in; how many of these
    were split; and the malformed frame at which reading ended, if one did. None where no
    frame waits.

    With `wait` it waits for the first frame (where the channel is a descriptor): so many seconds
    at most, None without end, or until an interrupt is set. It is None then too, and behind a
    signal, whose handler has run.
    """

def read_frames(
    channel: int,
    limit: int,
    families: tuple[int, int] | None,
    recvmsg_x: int = 0,
    wait: Wait | None = None,
    /,
) -> list[bytes] | None:
    """Read `limit` frames at most, 4 of them larger than half of the largest possible.

    With `families` each is behind 4 bytes, which are left out (see `platforms.base.Queue`):
    so the last one may be empty. `recvmsg_x` is the address of that function, by which such
    frames are read in one call, or 0. `wait`, and None, are as of `read_packets`.
    """

def write_packets(
    channel: int,
    packets: Iterable[bytes],
    layer: Layer,
    tcp: bool,
    udp: bool,
    udp_zero_checksum: bool,
    /,
) -> tuple[int, int, int, list[bytes]]:
    """Coalesce as a `GROTable` does, and write.

    The bytes in the packets; how many frames were written; how many of these are
    super-packets; and the frames that are left.
    """

def write_frames(channel: int, frames: Iterable[bytes], families: tuple[int, int] | None, /) -> int:
    """Write frames, and return how many were written. With `families` each is behind 4 bytes."""

def write_super(channel: int, frame: bytes, layer: Layer, tcp: bool, udp: bool, /) -> bool:
    """Write a frame, and return whether that was done.

    A frame is left if it is malformed, or if it is to be segmented and `tcp` or `udp`, whichever
    it is, is false.
    """

def locate(frame: bytes, /) -> tuple[int, int, bytes] | None: ...

class Rewrite:
    plain: bool
    used: bool
    def __init__(self, old: bytes, new: bytes) -> None: ...
    def apply(self, frame: bytes, transport: int, /) -> bytes | None: ...

def batches(datagrams: list[bytes], /) -> list[list[bytes]]: ...
def receive_datagrams(
    fd: int, limit: int, datagram: type[Datagram], /
) -> tuple[list[Datagram], int, int, int]:
    """Receive until there are `limit` datagrams or more (Linux).

    The datagrams; how many messages they came in; the bytes in them; and the errno at
    which receiving ended, 0 if at the limit.
    """

def receive_trains(
    fd: int, limit: int, train: type[DatagramTrain], /
) -> tuple[list[DatagramTrain], int, int, int]:
    """The same as they came in (Linux).

    The trains; how many datagrams are in them; the bytes; and the errno.
    """

def send_messages(
    fd: int,
    family: int,
    remote: SocketAddress | None,
    messages: list[Message],
    start: int,
    /,
) -> tuple[int, int]:
    """Send messages of a list, from one on (Linux).

    `family` is the socket's, `remote` where it is connected to. How many were sent; and the errno
    with which the next one was refused, or 0. A message that raises ends the call; when none
    was sent before it, it raises.
    """

def captured_packets(
    memory: mmap | bytearray, at: int, count: int, room: int, /
) -> tuple[bytes, int, int]:
    """`count` packets of a `PacketRing` (Linux), from a place in its memory on, as pcapng's blocks.

    At most `room` bytes. The blocks; how many there are; and the place of the next packet. It ends
    at the first packet that is malformed, or has a VLAN tag beside it.
    """
