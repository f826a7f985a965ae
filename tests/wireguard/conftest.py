"""What the tests of WireGuard's programs share."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

if sys.platform == "linux":
    from machine import Machine

    @pytest.fixture
    def machine(no_leaks: None) -> Iterator[Machine]:
        with Machine() as machine:
            yield machine
