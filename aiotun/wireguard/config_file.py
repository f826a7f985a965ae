"""The files of wg(8) and wg-quick(8)."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_interface
from typing import Any, NamedTuple

from ..config import MTU_MIN_IPV6
from .config import InterfaceConfig, PeerConfig
from .keys import decode_key, encode_key
from .values import (
    format_endpoint,
    parse_dns,
    parse_endpoint,
    parse_network,
    parse_number,
    parse_port,
    quote,
    split_words,
)

__all__ = ["ConfigFileError", "format_config", "format_peer", "parse_config"]

logger = logging.getLogger("aiotun.wireguard")


class ConfigFileError(ValueError):
    """A file that cannot be used; names it, the line, and what to do."""


def parse_config(
    text: str, source: str = "configuration", *, allow_commands: bool = False
) -> InterfaceConfig:
    """Read what wg-quick reads. Raises `ConfigFileError`, which never quotes a key.

    Sections and keys in any case; `Address`, `DNS`, `AllowedIPs` and the commands add up
    when they stand several times, of others the last counts. Commands (`PreUp` and its kin)
    are refused unless they are allowed: whoever writes the file would be root. A private key is
    not asked for where a command may set it.
    """
    interface: dict[str, Any] = {}
    peers: list[dict[str, Any]] = []
    places: list[int] = []  # the line of each peer
    section: dict[str, Any] | None = None
    keys: dict[str, _Key] = {}
    number = mtu_place = 0

    def fail(message: str, line: int) -> ConfigFileError:
        return ConfigFileError(f"{source}, line {line}: {message}")

    for number, line in enumerate(text.split("\n"), 1):
        words = _without_spaces(line)
        if not words:
            continue
        if words.startswith("["):
            if words.lower() == "[interface]":
                section, keys = interface, INTERFACE
            elif words.lower() == "[peer]":
                section, keys = {}, PEER
                peers.append(section)
                places.append(number)
            else:
                raise fail(f"{quote(words)} is neither [Interface] nor [Peer]", number)
            continue
        if section is None:
            raise fail("this stands before any section: begin with [Interface]", number)
        name, equals, _ = words.partition("=")
        key = keys.get(name.lower())
        if not equals or key is None:
            where = "an [Interface]" if section is interface else "a [Peer]"
            known = ", ".join(key.name for key in keys.values())
            raise fail(
                f"{quote(name)} is no key of {where}; 'key = value' takes these: {known}", number
            )
        if key.field in COMMANDS and not allow_commands:
            raise fail(
                f"{key.name} runs a command with this program's rights: allow it with "
                "--allow-commands, or take the line out",
                number,
            )
        try:
            parsed = key.parse(line.partition("=")[2])
            section[key.field] = key.join(section.get(key.field, ()), parsed)
        except ValueError as exc:
            raise fail(f"{key.name}: {exc}", number) from None
        if key.field == "mtu":
            mtu_place = number

    if interface.get("mtu", MTU_MIN_IPV6) < MTU_MIN_IPV6 and any(
        address.version == 6 for address in interface.get("addresses", ())
    ):
        raise fail(
            f"MTU: IPv6 takes {MTU_MIN_IPV6} or more: raise it, or take IPv6 addresses out",
            mtu_place,
        )
    if "private_key" not in interface and not (interface.keys() & COMMANDS_THAT_SET_A_KEY):
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


def _without_spaces(text: str) -> str:
    """What `wg` reads of a line: no comment and no spaces, wherever they stand."""
    return "".join(text.partition("#")[0].split())


def _seconds(text: str) -> int:
    return 0 if text.lower() == "off" else parse_number(text, 0, 65535)


def _unsigned(text: str, low: int) -> int:
    """32 bits; hexadecimal with 0x."""
    if re.fullmatch(r"0[xX][0-9a-fA-F]+", text):
        text = str(int(text, 16))
    return parse_number(text, low, 2**32 - 1)


def _mark(text: str) -> int:
    return 0 if text.lower() == "off" else _unsigned(text, 0)


def _mtu(text: str) -> int:
    return parse_number(text, 68, 65535) if text else InterfaceConfig.mtu  # RFC 791: 68


def _table(text: str) -> int | str:
    word = text.lower() or "auto"
    if re.fullmatch(r"0[0-9]+", word):
        raise ValueError(f"{quote(word)} is octal to ip(8): write it without the zero")
    return word if word in ("auto", "off") else TABLES.get(word) or _unsigned(word, 1)


TABLES = {"default": 253, "main": 254, "local": 255}  # linux/rtnetlink.h


def _yes_or_no(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(f"{quote(text)} is neither true nor false")
    return text.lower() == "true"


def _addresses(text: str) -> tuple[Any, ...]:
    return tuple(map(_address, split_words(text)))


def _address(word: str) -> IPv4Interface | IPv6Interface:
    """As ip(8) takes it, with a netmask too, but not with its inverse."""
    try:
        address = ip_interface(word)
        mask = word.partition("/")[2]
        if "%" not in word and ("." not in mask or mask == str(address.netmask)):
            return address
    except ValueError:
        pass
    raise ValueError(
        f"{quote(word)} is not an address without a zone, with the length of its prefix, "
        "such as 10.9.0.1/24"
    )


def _allowed_ips(text: str) -> list[tuple[IPv4Network | IPv6Network, bool]]:
    """Each network, and whether it is added (with or without "+") or taken away ("-")."""
    changes = []
    words = _without_spaces(text)
    for word in words.split(",") if words else []:
        plain = word[1:] if word[:1] in ("+", "-") else word
        network = parse_network(plain)
        if network.network_address != ip_interface(plain).ip:
            logger.warning("AllowedIPs: %s has bits behind its prefix: it means %s", word, network)
        changes.append((network, word[0] != "-"))
    return changes


def _list(values: Iterable[Any]) -> str:
    return ", ".join(map(str, values))


def _last(before: object, value: Any) -> Any:
    return value


def _add(before: tuple[Any, ...], value: tuple[Any, ...]) -> tuple[Any, ...]:
    return before + value


def _add_addresses(before: tuple[Any, ...], addresses: tuple[Any, ...]) -> tuple[Any, ...]:
    known = set(before)
    for address in addresses:
        if address in known:
            raise ValueError(f"{address} stands twice: take one of them out")
        known.add(address)
    return before + addresses


def _change(before: tuple[Any, ...], changes: Iterable[tuple[Any, bool]]) -> tuple[Any, ...]:
    """As a peer's allowed IPs are changed, one after the other."""
    networks = dict.fromkeys(before)
    for network, added in changes:
        if added:
            networks[network] = None
        else:
            networks.pop(network, None)
    return tuple(networks)


class _Key(NamedTuple):
    """One key of a section: how what stands behind "=" is read and written."""

    name: str
    field: str
    parse: Callable[[str], Any]
    format: Callable[[Any], str] = str
    join: Callable[[Any, Any], Any] = _last
    """What was there before, and what a further line says."""


def _one(
    name: str, field: str, parse: Callable[[str], Any], format: Callable[[Any], str] = str
) -> _Key:
    """A key with one value, from which spaces are taken away."""
    return _Key(name, field, lambda text: parse(_without_spaces(text)), format)


def _commands(name: str, field: str) -> _Key:
    """A line of bash(1), which knows itself what a comment is."""
    return _Key(name, field, lambda text: (text.strip(),) if text.strip() else (), str, _add)


def _by_name(*keys: _Key) -> dict[str, _Key]:
    return {key.name.lower(): key for key in keys}


INTERFACE = _by_name(
    _one("PrivateKey", "private_key", decode_key, encode_key),
    _one("ListenPort", "listen_port", parse_port),
    _one("FwMark", "fwmark", _mark, hex),
    _Key("Address", "addresses", _addresses, _list, _add_addresses),
    _one("MTU", "mtu", _mtu),
    _Key("DNS", "dns", parse_dns, _list, _add),
    _one("Table", "table", _table),
    _commands("PreUp", "pre_up"),
    _commands("PostUp", "post_up"),
    _commands("PreDown", "pre_down"),
    _commands("PostDown", "post_down"),
    _one("SaveConfig", "save_config", _yes_or_no, lambda value: str(value).lower()),
)

PEER = _by_name(
    _one("PublicKey", "public_key", decode_key, encode_key),
    _one("PresharedKey", "preshared_key", decode_key, encode_key),
    _Key("AllowedIPs", "allowed_ips", _allowed_ips, _list, _change),
    _one("Endpoint", "endpoint", parse_endpoint, format_endpoint),
    _one("PersistentKeepalive", "persistent_keepalive", _seconds),
)

COMMANDS = ("pre_up", "post_up", "pre_down", "post_down")

COMMANDS_THAT_SET_A_KEY = {"pre_up", "post_up"}


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
