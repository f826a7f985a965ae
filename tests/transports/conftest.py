"""Tests of transports run on a device in memory and on a real one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from rigs import Rig, open_rig

from aiotun.testing.pytest_plugin import require


@pytest.fixture(params=["memory", "tun"])
def make_rig(request: pytest.FixtureRequest) -> Callable[..., AbstractContextManager[Rig]]:
    """Makes a device of either kind; for tests that set it up in their own way."""
    if request.param == "tun":
        require("tun", "netns")
    return functools.partial(open_rig, request.param)


@pytest.fixture
def rig(make_rig: Callable[..., AbstractContextManager[Rig]], no_leaks: None) -> Iterator[Rig]:
    with make_rig() as rig:
        yield rig
