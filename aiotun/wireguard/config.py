"""What a WireGuard interface and its peers should be, and the files of wg(8) and wg-quick(8)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from ipaddress import (
    IPv4Interface,
    IPv4Network,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import Any, Literal, NamedTuple

from .keys import decode_key, encode_key

__all__ = [
    "ConfigFileError",
    "InterfaceConfig",
    "PeerConfig",
    "format_config",
    "format_endpoint",
    "format_peer",
    "parse_config",
    "parse_endpoint",
]


@dataclass(frozen=True)
class PeerConfig:
    """One peer, as configured."""

    public_key: bytes
    """32 bytes."""
    preshared_key: bytes = field(default=bytes(32), repr=False)
    """32 bytes; all zero: none."""
    endpoint: tuple[str, int] | None = None
    """Where it is: a host name or an address, and a UDP port; None: it has to come to us."""
    allowed_ips: tuple[IPv4Network | IPv6Network, ...] = ()
    """What it may send from, and what is sent to it."""
    persistent_keepalive: int = 0
    """Seconds; 0: off."""


@dataclass(frozen=True)
class InterfaceConfig:
    """One interface with its peers, as configured."""

    private_key: bytes = field(repr=False)
    """32 bytes."""
    listen_port: int = 0
    """UDP; 0: the system's choice."""
    fwmark: int = 0
    """SO_MARK of what is sent to peers; 0: none."""
    addresses: tuple[IPv4Interface | IPv6Interface, ...] = ()
    mtu: int = 1420
    """Bytes; 1500 less the 80 that IPv6, UDP and WireGuard take."""
    dns: tuple[str, ...] = ()
    """Name servers and search domains: told to whoever asks, not set."""
    table: int | Literal["auto", "off"] = "auto"
    """Where the routes to the peers' allowed IPs go, see `routes`."""
    pre_up: tuple[str, ...] = ()
    """Shell commands to run before the interface is made; "%i" is its name."""
    post_up: tuple[str, ...] = ()
    pre_down: tuple[str, ...] = ()
    post_down: tuple[str, ...] = ()
    save_config: bool = False
    """Whether to write the file anew at the end, as things are then."""
    peers: tuple[PeerConfig, ...] = ()


class ConfigFileError(ValueError):
    """A file that cannot be used; names it, the line, and what to do."""


def parse_config(
    text: str, source: str = "configuration", *, allow_commands: bool = False
) -> InterfaceConfig:
    """Read what wg-quick reads. Raises `ConfigFileError`.

    Sections and keys in any case; `Address`, `DNS`, `AllowedIPs` and the commands add up
    when they stand several times, of others the last counts. Commands (`PreUp` and its kin)
    are refused unless they are allowed: who writes the file would be root.
    """
    interface: dict[str, Any] = {}
    peers: list[dict[str, Any]] = []
    places: list[int] = []  # the line of each peer
    section: dict[str, Any] | None = None
    keys: dict[str, _Key] = {}
    number = 0

    def fail(message: str, line: int) -> ConfigFileError:
        return ConfigFileError(f"{source}, line {line}: {message}")

    for number, line in enumerate(text.split("\n"), 1):
        line = line.partition("#")[0].strip()
        if not line:
            continue
        if line.startswith("["):
            if line.lower() == "[interface]":
                section, keys = interface, INTERFACE
            elif line.lower() == "[peer]":
                section, keys = {}, PEER
                peers.append(section)
                places.append(number)
            else:
                raise fail(f"{line} is neither [Interface] nor [Peer]", number)
            continue
        if section is None:
            raise fail("this stands before any section: begin with [Interface]", number)
        name, equals, value = (part.strip() for part in line.partition("="))
        key = keys.get(name.lower())
        if not equals or key is None:
            where = "an [Interface]" if section is interface else "a [Peer]"
            known = ", ".join(key.name for key in keys.values())
            raise fail(f"{name!r} is not known in {where}; these are: {known}", number)
        if key.field in COMMANDS and not allow_commands:
            raise fail(
                f"{key.name} runs a command with this program's rights: allow it with "
                "--allow-commands, or take the line out",
                number,
            )
        try:
            parsed = key.parse(value)
        except ValueError as exc:
            raise fail(f"{key.name}: {exc}", number) from exc
        section[key.field] = section.get(key.field, ()) + parsed if key.adds_up else parsed

    if "private_key" not in interface:
        raise fail("[Interface] has no PrivateKey: `wg genkey` makes one", number)
    known_peers: dict[bytes, int] = {}
    for peer, place in zip(peers, places, strict=True):
        if "public_key" not in peer:
            raise fail("this [Peer] has no PublicKey", place)
        first = known_peers.setdefault(peer["public_key"], place)
        if first != place:
            raise fail(f"this [Peer] stands at line {first} already: make one of them", place)
    return InterfaceConfig(**interface, peers=tuple(PeerConfig(**peer) for peer in peers))


def format_config(config: InterfaceConfig) -> str:
    """The text that `parse_config` makes this of."""
    sections = [_format_section("Interface", config, INTERFACE)]
    return "\n".join(sections + [format_peer(peer) for peer in config.peers])


def format_peer(peer: PeerConfig) -> str:
    """The section of one peer."""
    return _format_section("Peer", peer, PEER)


def parse_endpoint(text: str) -> tuple[str, int]:
    """A host and a port from "host:51820", "192.0.2.1:51820" or "[2001:db8::1]:51820"."""
    match = ENDPOINT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not host:port or [IPv6 address]:port")
    if match[1]:
        ip_address(match[1])  # raises
    return match[1] or match[2], _number(match[3], 1, 65535)


ENDPOINT = re.compile(r"(?:\[([^\s\[\]]+)\]|([^\s:\[\]]{1,253})):([0-9]{1,5})")  # RFC 1035: 253


def format_endpoint(endpoint: tuple[Any, ...]) -> str:
    """What `parse_endpoint` reads; of a socket's address the host and the port."""
    host, port = endpoint[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _number(text: str, low: int, high: int) -> int:
    if not (re.fullmatch(r"[0-9]{1,10}", text) and low <= int(text) <= high):
        raise ValueError(f"{text!r} is not a number from {low} to {high}")
    return int(text)


def _number_or_off(text: str, high: int) -> int:
    """0 for "off"; hexadecimal too, with 0x."""
    if text.lower() == "off":
        return 0
    if re.fullmatch(r"0[xX][0-9a-fA-F]{1,8}", text):
        text = str(int(text, 16))
    return _number(text, 0, high)


def _table(text: str) -> int | str:
    """A routing table, of which 32 bits are its number."""
    word = text.lower()
    return word if word in ("auto", "off") else _number(text, 1, 2**32 - 1)


def _yes_or_no(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def _words(text: str) -> tuple[str, ...]:
    """Separated by commas, spaces, or both."""
    return tuple(text.replace(",", " ").split())


def _interfaces(text: str) -> tuple[Any, ...]:
    return tuple(ip_interface(word) for word in _words(text))


def _networks(text: str) -> tuple[Any, ...]:
    """Bits behind the prefix are taken away, as `wg` does it."""
    return tuple(ip_network(word, strict=False) for word in _words(text))


def _list(values: Iterable[Any]) -> str:
    return ", ".join(map(str, values))


class _Key(NamedTuple):
    """One key of a section: how its value is read and written."""

    name: str
    field: str
    parse: Callable[[str], Any]
    format: Callable[[Any], str] = str
    adds_up: bool = False


def _commands(name: str, field: str) -> _Key:
    return _Key(name, field, lambda text: (text,), str, adds_up=True)


def _by_name(*keys: _Key) -> dict[str, _Key]:
    return {key.name.lower(): key for key in keys}


INTERFACE = _by_name(
    _Key("PrivateKey", "private_key", decode_key, encode_key),
    _Key("ListenPort", "listen_port", partial(_number, low=0, high=65535)),
    _Key("FwMark", "fwmark", partial(_number_or_off, high=2**32 - 1), hex),
    _Key("Address", "addresses", _interfaces, _list, adds_up=True),
    _Key("MTU", "mtu", partial(_number, low=68, high=65535)),  # RFC 791
    _Key("DNS", "dns", _words, _list, adds_up=True),
    _Key("Table", "table", _table),
    _commands("PreUp", "pre_up"),
    _commands("PostUp", "post_up"),
    _commands("PreDown", "pre_down"),
    _commands("PostDown", "post_down"),
    _Key("SaveConfig", "save_config", _yes_or_no, lambda value: str(value).lower()),
)

PEER = _by_name(
    _Key("PublicKey", "public_key", decode_key, encode_key),
    _Key("PresharedKey", "preshared_key", decode_key, encode_key),
    _Key("AllowedIPs", "allowed_ips", _networks, _list, adds_up=True),
    _Key("Endpoint", "endpoint", parse_endpoint, format_endpoint),
    _Key("PersistentKeepalive", "persistent_keepalive", partial(_number_or_off, high=65535)),
)

COMMANDS = ("pre_up", "post_up", "pre_down", "post_down")


def _format_section(title: str, config: object, keys: dict[str, _Key]) -> str:
    """What is as it would be without a line gets none."""
    lines = [f"[{title}]"]
    for key in keys.values():
        value = getattr(config, key.field)
        if key.field in COMMANDS:
            lines += [f"{key.name} = {command}" for command in value]
        elif value != getattr(type(config), key.field, None):
            lines.append(f"{key.name} = {key.format(value)}")
    return "\n".join(lines) + "\n"
