"""The stand-in for Wintun and iphlpapi, for each test a fresh one."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

from collections.abc import Iterator

import pytest
from standin import StandIn, open_standin


@pytest.fixture
def standin() -> Iterator[StandIn]:
    with open_standin() as library:
        yield library
