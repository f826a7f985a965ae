"""What cancelling waits for."""

from __future__ import annotations

import asyncio

import pytest

from aiotun import cancelling


async def test_a_task_that_forgets_a_cancellation_is_cancelled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As `asyncio.wait_for` before Python 3.12 makes it do now and then."""
    monkeypatch.setattr(cancelling, "CANCEL_AGAIN", 0.01)
    forgotten = 0

    async def forgetful() -> None:
        nonlocal forgotten
        while forgotten < 3:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                forgotten += 1
        await asyncio.sleep(60)

    tasks = [asyncio.ensure_future(forgetful()), asyncio.ensure_future(asyncio.sleep(60))]
    await asyncio.sleep(0)
    await cancelling.end(tasks)
    assert forgotten == 3
    assert all(task.cancelled() for task in tasks)


async def test_nothing_to_end() -> None:
    await cancelling.end([])
