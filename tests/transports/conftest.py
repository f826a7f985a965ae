"""What tests of transports have in common."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from far import Far, use
from implementations import IMPLEMENTATIONS


@pytest.fixture(params=IMPLEMENTATIONS)
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Far]:
    use(request.param, monkeypatch)
    with contextlib.closing(Far()) as far:
        yield far
