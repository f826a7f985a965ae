"""A WireGuard interface in a network namespace of its own, by one of the implementations.

All are set up alike: the program is started, `set=1` over its UAPI socket
(https://www.wireguard.com/xplatform/) configures it, `ip` gives the addresses.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory

from aiotun.cancelling import Closing
from aiotun.testing import Namespace
from aiotun.wireguard.keys import encode_key, generate_private_key, public_key_of

from ..processes import MeasurementError, Process
from .programs import IMPLEMENTATIONS

__all__ = [
    "INSIDE",
    "INTERFACE",
    "MTU",
    "OUTSIDE",
    "PORT",
    "Node",
    "address_of",
    "connect",
    "give_address",
    "hosts",
    "pair",
]

INTERFACE = "wg0"
PORT = 51820
MTU = 1420

OUTSIDE = {4: ("192.0.2.1/24", "192.0.2.2/24"), 6: ("2001:db8::1/64", "2001:db8::2/64")}
INSIDE = (("10.7.0.1/24", "fd07::1/64"), ("10.7.0.2/24", "fd07::2/64"))
"""The addresses of the two nodes of a `pair`."""

OWN_RUN = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs /run && exec "$@"', "sh")
"""Gives a program a /run of its own: the UAPI socket is named after the interface only,
and network namespaces do not separate it."""

START = 20.0
"""Seconds that a program may take to come up."""


class Node(Closing):
    """One interface, `wg0`, and what it was told of itself and its peers.

    The namespace lives as long as the node; the program may be stopped and
    started in between, and is then given the same settings again.
    """

    def __init__(self, implementation: str, *addresses: str) -> None:
        """The addresses are those of wg0, with prefix lengths."""
        self.implementation = implementation
        self.command = IMPLEMENTATIONS[implementation].command
        self.addresses = addresses
        self.private_key = generate_private_key()
        self.public_key = public_key_of(self.private_key)
        self.namespace = Namespace()
        self.process: Process
        self.peer_settings: list[str] = []
        """Lines of `set=1` that tell of all peers."""
        self._running = ExitStack()

    def close(self) -> None:
        """Stop it, and let go of its namespace."""
        self.stop()
        self.namespace.close()

    def add_peer(
        self,
        public_key: bytes,
        *allowed_ips: str,
        endpoint: str | None = None,
        preshared_key: bytes | None = None,
        keepalive: int = 0,
    ) -> None:
        """Know a peer, from the next start on. The endpoint is an address; its port is `PORT`."""
        self.peer_settings.append(f"public_key={public_key.hex()}")
        if preshared_key is not None:
            self.peer_settings.append(f"preshared_key={preshared_key.hex()}")
        if endpoint is not None:
            host = f"[{endpoint}]" if ":" in endpoint else endpoint
            self.peer_settings.append(f"endpoint={host}:{PORT}")
        if keepalive:
            self.peer_settings.append(f"persistent_keepalive_interval={keepalive}")
        self.peer_settings += [f"allowed_ip={network}" for network in allowed_ips]

    def start(self) -> None:
        """Raises `MeasurementError` when the program does not come up."""
        self.process = self._running.enter_context(
            Process(self.namespace, *OWN_RUN, *self.command, self._what_to_serve())
        )
        self._wait_for_socket()
        own = (f"private_key={self.private_key.hex()}", f"listen_port={PORT}")
        self.set(*own, *self.peer_settings)
        self._address()

    def _address(self) -> None:
        for address in self.addresses:
            give_address(self.namespace, INTERFACE, address)
        self.namespace.command("ip", "link", "set", INTERFACE, "mtu", str(MTU), "up")

    def stop(self) -> None:
        self._running.close()

    def _what_to_serve(self) -> str:
        if self.implementation != "aiotun":
            return INTERFACE
        folder = self._running.enter_context(TemporaryDirectory(prefix="aiotun-wireguard-"))
        file = Path(folder, f"{INTERFACE}.conf")
        file.touch(0o600)
        file.write_text(f"[Interface]\nPrivateKey = {encode_key(self.private_key)}\n")
        return str(file)

    def _wait_for_socket(self) -> None:
        deadline = time.monotonic() + START
        while True:
            self.process.check()
            try:
                self.ask("get=1")
            except OSError:
                if time.monotonic() > deadline:
                    raise MeasurementError(f"{self.implementation} has no UAPI socket") from None
                time.sleep(0.01)
            else:
                return

    def set(self, *lines: str) -> None:
        """Change settings of the running program: the lines of `set=1`."""
        self.ask("set=1", *lines)

    def peers(self) -> dict[str, dict[str, str]]:
        """What it says of its peers, by public key in hexadecimal; of allowed IPs only the last."""
        found: dict[str, dict[str, str]] = {}
        for line in self.ask("get=1"):
            key, _, value = line.partition("=")
            if key == "public_key":
                peer = found[value] = {}
            elif found:
                peer[key] = value
        return found

    def ask(self, *lines: str) -> list[str]:
        """The lines of the answer to a request; raises `OSError` with what `errno=` says."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(20)
            control.connect(f"/proc/{self.process.pid}/root/run/wireguard/{INTERFACE}.sock")
            control.sendall("".join(f"{line}\n" for line in (*lines, "")).encode())
            answer = b""
            while not answer.endswith(b"\n\n"):
                data = control.recv(1 << 16)
                if not data:
                    break
                answer += data
        *values, result = answer.decode().split()
        number = abs(int(result.removeprefix("errno=")))  # the sign is not the same everywhere
        if number:
            raise OSError(number, f"{self.implementation}: {lines[0]}: {os.strerror(number)}")
        return values


class KernelNode(Node):
    """The kernel's own; it takes no changes while it runs."""

    def start(self) -> None:
        """Raises `CalledProcessError` where the kernel has none."""
        command = self.namespace.command
        command("ip", "link", "add", INTERFACE, "type", "wireguard")
        self._running.callback(command, "ip", "link", "delete", INTERFACE)
        with NamedTemporaryFile("w", prefix="aiotun-wireguard-") as file:
            file.write("".join(f"{line}\n" for line in self._settings()))
            file.flush()
            command("wg", "setconf", INTERFACE, file.name)
        self._address()

    def _settings(self) -> Iterator[str]:
        """As wg(8) has them."""
        yield from ("[Interface]", f"PrivateKey = {encode_key(self.private_key)}")
        yield f"ListenPort = {PORT}"
        for line in self.peer_settings:
            key, _, value = line.partition("=")
            if key == "public_key":
                yield "[Peer]"
            if key in ("public_key", "preshared_key"):
                value = encode_key(bytes.fromhex(value))
            yield f"{KERNEL_NAMES[key]} = {value}"


KERNEL_NAMES = {
    "public_key": "PublicKey",
    "preshared_key": "PresharedKey",
    "endpoint": "Endpoint",
    "allowed_ip": "AllowedIPs",
    "persistent_keepalive_interval": "PersistentKeepalive",
}


def give_address(namespace: Namespace, interface: str, address: str) -> None:
    """The address comes with its prefix length; an IPv6 one can be used at once."""
    flags = ("nodad",) if ":" in address else ()
    namespace.command("ip", "address", "add", address, "dev", interface, *flags)


def connect(a: Namespace, b: Namespace, interfaces: tuple[str, str] = ("eth0", "eth0")) -> None:
    """Join two namespaces by a pair of Ethernet interfaces, without addresses yet."""
    other = f"/proc/{os.getpid()}/fd/{b.fileno()}"
    ends = (interfaces[0], "type", "veth", "peer", "name", interfaces[1], "netns", other)
    a.command("ip", "link", "add", *ends)
    for namespace, interface in zip((a, b), interfaces, strict=True):
        namespace.command("ip", "link", "set", interface, "up")


def address_of(interface: str) -> str:
    """The address alone, without the prefix length."""
    return interface.partition("/")[0]


@contextmanager
def pair(
    first: str,
    second: str,
    *,
    outside: int = 4,
    preshared_keys: tuple[bytes | None, bytes | None] = (None, None),
) -> Iterator[tuple[Node, Node]]:
    """Two nodes joined by Ethernet that know each other, not started yet.

    The first one is told where the second is. `outside` is the version of IP between them.
    """
    kinds = (KernelNode if name == "linux" else Node for name in (first, second))
    with next(kinds)(first, *INSIDE[0]) as a, next(kinds)(second, *INSIDE[1]) as b:
        connect(a.namespace, b.namespace)
        for node, address in zip((a, b), OUTSIDE[outside], strict=True):
            give_address(node.namespace, "eth0", address)
        endpoint = address_of(OUTSIDE[outside][1])
        a.add_peer(b.public_key, *hosts(b), endpoint=endpoint, preshared_key=preshared_keys[0])
        b.add_peer(a.public_key, *hosts(a), preshared_key=preshared_keys[1])
        yield a, b


def hosts(node: Node) -> list[str]:
    """Its addresses inside, as networks of one address each."""
    return [str(ipaddress.ip_network(address_of(address))) for address in node.addresses]
