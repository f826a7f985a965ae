"""Every number, size and offset that is declared, against the systems' own headers."""

from __future__ import annotations

import ctypes
import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from headers import MASK, ask

from aiotun.platforms.bsd.headers import common, darwin, freebsd, netbsd, openbsd

MODULES = {"freebsd": freebsd, "netbsd": netbsd, "openbsd": openbsd, "darwin": darwin}

NAMELESS = {"message_head"}
"""Structs that C has no name for; their fields stand in all that have one."""


def declared(module: ModuleType) -> dict[str, int]:
    """All that a module declares, as expressions of C with what they must be."""
    found: dict[str, int] = {}
    for name, value in vars(module).items():
        if name.startswith("_") or name in NAMELESS:
            continue
        if isinstance(value, int):
            found[name] = value & MASK
        elif isinstance(value, bytes):
            found[f"sizeof({name})"] = len(value) + 1
            found |= {f"{name}[{at}]": byte for at, byte in enumerate(value)}
        elif inspect.isclass(value) and ctypes.Structure in value.__bases__:
            found |= of_struct(value)
    return found


def of_struct(struct: Any) -> dict[str, int]:
    kind = f"struct {struct.__name__}"
    found = {f"sizeof({kind})": ctypes.sizeof(struct)}
    for name in fields(struct):
        # in6_ifreq is where the address' own name has no macro
        member = "ifr_ifru" if (struct.__name__, name) == ("in6_ifreq", "ifr_addr") else name
        found[f"offsetof({kind}, {member})"] = getattr(struct, name).offset
        if member == name:
            found[f"sizeof((({kind} *)0)->{member})"] = getattr(struct, name).size
    return found


def fields(struct: Any) -> Iterator[str]:
    """The names that C knows, those of anonymous unions included."""
    anonymous = getattr(struct, "_anonymous_", ())
    for name, kind in struct._fields_:
        if name in anonymous:
            yield from fields(kind)
        elif not name.startswith("_"):
            yield name


@pytest.mark.interop
@pytest.mark.parametrize("system", MODULES)
def test_declared_as_in_the_headers(system: str) -> None:
    expected = declared(common) | declared(MODULES[system])
    answers = ask(system, list(expected))
    wrong = {
        expression: f"declared {value:#x}, the headers say {answers[expression]}"
        for expression, value in expected.items()
        if answers[expression] != value
    }
    assert not wrong


@pytest.mark.interop
def test_the_headers_know_what_is_wrong() -> None:
    assert ask("netbsd", ["SIOCSIFMTU", "NO_SUCH_THING", "sizeof(struct ifreq)", "0"]) == {
        "SIOCSIFMTU": 0x8090697F,
        "NO_SUCH_THING": None,
        "sizeof(struct ifreq)": 144,
        "0": 0,
    }


def test_what_is_declared_is_found() -> None:
    found = declared(freebsd)
    assert found["SIOCIFCREATE"] == 0xC020697A
    assert found["offsetof(struct ifreq, ifr_mtu)"] == 16
    assert found["sizeof(((struct ifreq *)0)->ifr_flags)"] == 2
    assert found["sizeof(struct rt_msghdr)"] == 152
    assert declared(darwin)["UTUN_CONTROL_NAME[0]"] == ord("c")
