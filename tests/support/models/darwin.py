"""MODEL of macOS: utun (bsd/net/if_utun.c of xnu), feth (if_fake.c), BPF and AF_NDRV."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from aiotun.platforms.bsd.headers import common, darwin
from aiotun.platforms.darwin.system import Darwin

from .kernel import IP, Interface, ModelKernel, fail

CONTROL_ID = 7
BPF_DEVICES = 4
BPF_MAXBUFSIZE = 0x80000


class Bpf:
    """An open /dev/bpfN. What waits is handed out by one read, as far as the buffer goes."""

    def __init__(self) -> None:
        ours, self.stack = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.setblocking(False)
        self.stack.setblocking(False)
        self.fd = ours.detach()  # readable while frames wait
        self.size = 4096
        self.interface: Interface | None = None
        self.settings: dict[int, int] = {}
        """What BIOCIMMEDIATE, BIOCSSEESENT, BIOCSHDRCMPLT and BIOCPROMISC have set."""
        self.frames: deque[bytes] = deque()
        self.lock = threading.Lock()

    def gather(self, frame: bytes) -> None:
        with self.lock:
            self.frames.append(frame)
            if len(self.frames) == 1 and self.settings.get(common.BIOCIMMEDIATE):
                self.stack.send(b"!")  # otherwise once its buffer is full, or a second has passed

    def read(self, size: int) -> bytes:
        if size != self.size:
            raise fail(errno.EINVAL)
        data = b""
        with self.lock:
            while self.frames:
                record = self.record(self.frames[0])
                if len(data) + len(record) > size:
                    break
                data += record
                self.frames.popleft()
            if data and not self.frames:
                os.read(self.fd, 1)
        if not data:
            raise fail(errno.EAGAIN)
        return data

    def record(self, frame: bytes) -> bytes:
        """The header is 18 bytes where C's sizeof says 20: the frame's IP header is aligned."""
        head = darwin.bpf_hdr(bh_caplen=len(frame), bh_datalen=len(frame), bh_hdrlen=18)
        data = bytes(head)[:18] + frame
        return data + bytes(-len(data) % darwin.BPF_ALIGNMENT)

    def close(self) -> None:
        self.stack.close()


RECVMSG_X = ctypes.CFUNCTYPE(
    ctypes.c_ssize_t,
    ctypes.c_int,
    ctypes.POINTER(darwin.msghdr_x),
    ctypes.c_uint,
    ctypes.c_int,
    use_errno=True,
)


class RecvmsgX:
    """MODEL of recvmsg_x (bsd/kern/uipc_syscalls.c), as a function that C calls."""

    def __init__(self, twist: Callable[[Any, int], int] | None = None) -> None:
        """`twist` changes what came, and how many, before the caller sees it."""
        self.received: list[int] = []
        """How many datagrams each call gave."""
        self.errors: list[int] = []
        self.refusals: list[int] = []
        """Errnos that the next calls fail with."""
        self._twist = twist
        self._function = RECVMSG_X(self._call)
        self.address = ctypes.cast(self._function, ctypes.c_void_p).value or 0

    def _call(self, fd: int, messages: Any, count: int, flags: int) -> int:
        try:
            if self.refusals:
                raise fail(self.refusals.pop(0))
            received = self._receive(fd, messages, count)
        except OSError as exc:
            self.errors.append(exc.errno or 0)
            ctypes.set_errno(self.errors[-1])
            return -1
        self.received.append(received)
        return self._twist(messages, received) if self._twist else received

    def _receive(self, fd: int, messages: Any, count: int) -> int:
        for at in range(count):
            message = messages[at]
            if message.msg_flags:
                raise fail(errno.EINVAL)
            parts = (common.iovec * message.msg_iovlen).from_address(message.msg_iov)
            try:
                data = os.read(fd, sum(part.iov_len for part in parts))
            except BlockingIOError:
                if at:
                    return at
                raise
            message.msg_datalen = len(data)
            if not data:
                return at + 1
            for part in parts:
                ctypes.memmove(part.iov_base, data, min(len(data), part.iov_len))
                data = data[part.iov_len :]
        return count


class DarwinKernel(ModelKernel):
    system = Darwin
    route_by_index = True

    def __init__(self) -> None:
        super().__init__()
        self.controls: set[int] = set()
        self.peers: dict[int, int] = {}
        self.bpfs: dict[str, Bpf] = {}
        self.senders: dict[int, Interface | None] = {}
        self.max_mtu = 2048
        """sysctl net.link.fake.max_mtu"""
        self.pending = 1
        """Packets that a utun's socket takes before the rest waits in the interface's queue."""
        self.receive_buffer = 0
        self.wires: dict[int, socket.socket] = {}
        """Where to put frames that come out of an interface, by its index."""
        self.ioctls[darwin.SIOCIFCREATE] = self.create
        self.ioctls[darwin.SIOCSDRVSPEC] = self.join
        self.ioctls[darwin.SIOCGDRVSPEC] = self.tell_peer
        self.ioctls[darwin.SIOCSIFLLADDR] = self.set_mac

    # utun.

    def socket(self, family: int, kind: int, protocol: int = 0) -> int:
        if (family, kind, protocol) == (darwin.AF_SYSTEM, 2, darwin.SYSPROTO_CONTROL):
            fd = os.open(os.devnull, os.O_RDWR)
            self.controls.add(fd)
            return fd
        if (family, kind) == (darwin.AF_NDRV, common.SOCK_RAW):
            if not self.privileged:
                raise fail(errno.EPERM)
            fd = os.open(os.devnull, os.O_RDWR)
            self.senders[fd] = None
            return fd
        return super().socket(family, kind, protocol)

    def connect(self, fd: int, address: ctypes.Structure) -> None:
        if fd in self.senders:
            assert self.senders[fd] is self.find(address.snd_name), "bind it first"
            return
        assert fd in self.controls
        if not self.privileged:
            raise fail(errno.EPERM)
        head = (address.sc_len, address.sc_family, address.ss_sysaddr, address.sc_id)
        assert head == (32, darwin.AF_SYSTEM, darwin.AF_SYS_CONTROL, CONTROL_ID)
        name = f"utun{address.sc_unit - 1}" if address.sc_unit else self.free_unit("utun")
        if any(each.name == name for each in self.interfaces.values()):
            raise fail(errno.EBUSY)
        interface = self.make(name, "tun")
        interface.flags |= common.IFF_UP | common.IFF_RUNNING
        attached = self.attach(interface)
        os.dup2(attached, fd, inheritable=False)
        os.close(attached)
        interface.fd = fd

    def bind(self, fd: int, address: ctypes.Structure) -> None:
        assert (address.snd_len, address.snd_family) == (18, darwin.AF_NDRV)
        self.senders[fd] = self.find(address.snd_name)

    def getsockopt(self, fd: int, level: int, option: int, size: int) -> bytes:
        interface = self.of_fd(fd)
        assert interface is not None
        assert (level, option) == (2, darwin.UTUN_OPT_IFNAME)
        return interface.name.encode() + b"\0"

    def setsockopt(self, fd: int, level: int, option: int, value: int) -> None:
        if (level, option) == (2, darwin.UTUN_OPT_MAX_PENDING_PACKETS):
            if not value:
                raise fail(errno.EINVAL)
            self.pending = value
        elif (level, option) == (common.SOL_SOCKET, common.SO_RCVBUF):
            self.receive_buffer = value
        else:
            raise fail(errno.ENOPROTOOPT)

    def ioctl(self, fd: int, request: int, argument: Any = 0) -> None:
        if fd in self.controls and request == darwin.CTLIOCGINFO:
            if argument.ctl_name != darwin.UTUN_CONTROL_NAME:
                raise fail(errno.ENOENT)
            argument.ctl_id = CONTROL_ID
            return
        bpf = self.bpf_of(fd)
        if bpf is None:
            super().ioctl(fd, request, argument)
        else:
            self.ioctl_bpf(bpf, request, argument)

    def closed(self, interface: Interface) -> None:
        self.controls.discard(interface.fd or -1)
        self.remove(interface)

    def mtu_range(self, interface: Interface) -> tuple[int, int]:
        return 72, self.max_mtu if interface.layer == "tap" else 65535

    def check_ipv4(self, interface: Interface, other: IP | None) -> None:
        if interface.flags & common.IFF_POINTOPOINT and other is None:
            raise fail(errno.EDESTADDRREQ)

    def check_flags(self, flags: int) -> None:
        if flags not in (0, darwin.IN6_IFF_NODAD):
            raise fail(errno.EINVAL)

    def read_device(self, interface: Interface, size: int) -> bytes:
        assert interface.fd is not None
        return os.read(interface.fd, size)

    # feth.

    def create(self, request: Any) -> None:
        name = request.ifr_name.decode()
        if name == "feth":
            name = self.free_unit("feth")
        elif not name.startswith("feth"):
            raise fail(errno.EINVAL)
        elif any(each.name == name for each in self.interfaces.values()):
            raise fail(errno.EEXIST)
        self.make(name, "tap")
        request.ifr_name = name.encode()

    def join(self, request: Any) -> None:
        if (request.ifd_cmd, request.ifd_len) != (1, ctypes.sizeof(darwin.if_fake_request)):
            raise fail(errno.EINVAL)
        near = self.find(request.ifd_name)
        asked = darwin.if_fake_request.from_address(request.ifd_data)
        if any(asked.iffr_reserved):
            raise fail(errno.EINVAL)
        far = self.find(asked.iffr_peer_name)
        if near.index in self.peers or far.index in self.peers:
            raise fail(errno.EBUSY)
        self.peers |= {near.index: far.index, far.index: near.index}
        near.stack, self.wires[near.index] = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET
        )
        near.stack.setblocking(False)

    def tell_peer(self, request: Any) -> None:
        near = self.find(request.ifd_name)
        answer = darwin.if_fake_request.from_address(request.ifd_data)
        if near.index in self.peers:
            answer.iffr_peer_name = self.name(self.peers[near.index]).encode()

    def set_mac(self, request: Any) -> None:
        from .bsds import set_mac

        set_mac(self.find(request.ifr_name), request)
        self.announce_link(self.find(request.ifr_name))

    def remove(self, interface: Interface) -> None:
        other = self.peers.pop(interface.index, None)
        if other is not None:
            self.peers.pop(other, None)
        if interface.index in self.wires:
            self.wires.pop(interface.index).close()
        for bpf in self.bpfs.values():
            if bpf.interface is interface:
                bpf.stack.close()
        super().remove(interface)

    # BPF and AF_NDRV.

    def open_path(self, path: str) -> int:
        number = path.removeprefix("/dev/bpf")
        if int(number) >= BPF_DEVICES:
            raise fail(errno.ENOENT)
        if path in self.bpfs:
            raise fail(errno.EBUSY)
        self.bpfs[path] = Bpf()
        return self.bpfs[path].fd

    def bpf_of(self, fd: int) -> Bpf | None:
        return next((each for each in self.bpfs.values() if each.fd == fd), None)

    def ioctl_bpf(self, bpf: Bpf, request: int, argument: Any) -> None:
        if request == common.BIOCSBLEN:
            if bpf.interface is not None:
                raise fail(errno.EINVAL)
            bpf.size = argument.value = min(argument.value, BPF_MAXBUFSIZE)
        elif request == darwin.BIOCSETIF:
            bpf.interface = self.find(argument.ifr_name)
        elif request in (common.BIOCIMMEDIATE, darwin.BIOCSSEESENT, common.BIOCSHDRCMPLT):
            bpf.settings[request] = argument.value
        elif request == common.BIOCPROMISC:
            if bpf.interface is None:
                raise fail(errno.EINVAL)
            bpf.settings[request] = 1
        else:
            raise fail(errno.ENOTTY)

    def close(self, fd: int) -> None:
        self.controls.discard(fd)
        self.senders.pop(fd, None)
        for path, bpf in list(self.bpfs.items()):
            if bpf.fd == fd:
                bpf.close()
                del self.bpfs[path]
        super().close(fd)

    def read(self, fd: int, size: int) -> bytes:
        bpf = self.bpf_of(fd)
        if bpf is None:
            return super().read(fd, size)
        if bpf.interface is not None and bpf.interface.gone:
            raise fail(errno.ENXIO)
        return bpf.read(size)

    def write(self, fd: int, data: bytes) -> int:
        if fd not in self.senders:
            return super().write(fd, data)
        far = self.senders[fd]
        assert far is not None
        if far.gone:
            raise fail(errno.ENXIO)
        if self.refusals["write"]:
            raise fail(self.refusals["write"].pop(0))
        if not far.flags & common.IFF_UP:
            raise fail(errno.ENETDOWN)
        if len(data) > far.mtu + 14:
            raise fail(errno.EMSGSIZE)
        self.wires[self.peers[far.index]].send(data)
        for bpf in self.bpfs.values():
            if bpf.interface is far and bpf.settings.get(darwin.BIOCSSEESENT, 1):
                bpf.gather(data)
        return len(data)

    def emit(self, name: str, packet: bytes) -> bool:
        near = self.find(name)
        if near.layer == "tun":
            return super().emit(name, packet)
        if not near.flags & common.IFF_UP:
            return False
        near.count("ifi_opackets", "ifi_obytes", len(packet))
        for bpf in self.bpfs.values():
            if bpf.interface is not None and bpf.interface.index == self.peers[near.index]:
                bpf.gather(packet)
        return True
