"""What is tried once in a process."""

from __future__ import annotations

import errno

import pytest

import aiotun
from aiotun.trials import trial


@pytest.mark.parametrize("works", [True, False])
def test_it_is_tried_once(works: bool) -> None:
    tried: list[object] = []

    @trial
    def attempt() -> list[object]:
        tried.append(None)
        if not works:
            raise aiotun.UnsupportedError(errno.EOPNOTSUPP, "not here")
        return tried

    for _ in range(2):
        if works:
            assert attempt() is tried
        else:
            with pytest.raises(aiotun.UnsupportedError, match="not here"):
                attempt()
    assert len(tried) == 1
