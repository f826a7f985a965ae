"""Line: which task goes on, and when."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotun.line import Line


class Counter:
    """A desk with so many tickets, each of which lets one task go on."""

    def __init__(self, tickets: int = 0) -> None:
        self.tickets = tickets
        self.line = Line(lambda: self.tickets)
        self.served: list[str] = []

    async def come(self, name: str) -> None:
        await self.line.turn()
        self.tickets -= 1
        self.served.append(name)

    def add(self, tickets: int) -> None:
        self.tickets += tickets
        self.line.serve()


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_nobody_waits_for_what_is_ready() -> None:
    desk = Counter(1)
    coroutine = desk.come("a")
    with pytest.raises(StopIteration):
        coroutine.send(None)
    assert desk.served == ["a"]


async def test_a_newcomer_stands_behind_one_that_was_called() -> None:
    desk = Counter()
    waiting = asyncio.ensure_future(desk.come("waiting"))
    await turns()
    desk.add(1)  # it is called, and has not run yet
    newcomer = asyncio.ensure_future(desk.come("newcomer"))
    # A task that was made later would run later: this one is in the middle of a turn.
    coming = desk.come("also here")
    coming.send(None)
    await turns()
    assert desk.served == ["waiting"]
    coming.close()
    desk.add(1)
    await asyncio.gather(waiting, newcomer)
    assert desk.served == ["waiting", "newcomer"]
    assert not desk.line.waiting


async def test_who_was_called_in_vain_keeps_its_place() -> None:
    desk = Counter()
    tasks = [asyncio.ensure_future(desk.come(name)) for name in "ab"]
    await turns()
    desk.add(1)
    desk.tickets = 0  # before it ran
    await turns()
    assert desk.served == []
    desk.add(2)
    await asyncio.gather(*tasks)
    assert desk.served == ["a", "b"]


async def test_a_cancelled_task_passes_its_turn_on() -> None:
    desk = Counter()
    tasks = [asyncio.ensure_future(desk.come(name)) for name in "ab"]
    await turns()
    desk.add(1)
    tasks[0].cancel()  # it was called
    await asyncio.wait(tasks, timeout=5)
    assert desk.served == ["b"]
    assert desk.tickets == 0


@given(st.lists(st.sampled_from(["come", "cancel", "ticket", "turn", "two turns"]), max_size=40))
async def test_order_whatever_happens(script: list[str]) -> None:
    desk = Counter()
    tasks: list[asyncio.Task[None]] = []
    for step in script:
        if step == "come":
            tasks.append(asyncio.ensure_future(desk.come(f"{len(tasks):02}")))
        elif step == "cancel" and tasks:
            tasks[len(desk.served) // 2 % len(tasks)].cancel()
        elif step == "ticket":
            desk.add(1)
        else:
            await turns(step.count("t"))
    desk.add(len(tasks))
    await asyncio.gather(*tasks, return_exceptions=True)
    assert desk.served == sorted(desk.served)
    assert len(desk.served) == len(tasks) - sum(task.cancelled() for task in tasks)
    assert not desk.line.waiting


class Basket:
    """What a task takes as soon as it comes, unless it is told to leave it."""

    def __init__(self, things: list[int]) -> None:
        self.things = things
        self.line = Line(lambda: self.things)
        self.taken: list[int] = []
        self.leave = False

    def take(self) -> None:
        if not self.leave:
            self.taken += self.things
            self.things.clear()

    def fill(self, *things: int) -> None:
        self.things += things
        self.line.serve()


async def test_at_once_takes_what_is_there_and_waits_on() -> None:
    basket = Basket([1])
    task = asyncio.ensure_future(basket.line.turn(basket.take))
    await turns()
    basket.fill(2, 3)
    assert basket.taken == [1, 2, 3]
    await turns()
    assert not task.done()
    basket.leave = True
    basket.fill(4)
    await asyncio.wait_for(task, 5)
    assert basket.things == [4]


async def test_at_once_alternates_with_others() -> None:
    basket = Basket([])
    at_once = asyncio.ensure_future(basket.line.turn(basket.take))
    await turns()

    async def take_one() -> int:
        await basket.line.turn()
        return basket.things.pop(0)

    other = asyncio.ensure_future(take_one())
    await turns()
    basket.fill(1)
    assert basket.taken == [1]
    basket.fill(2, 3)
    assert basket.taken == [1]
    assert await other == 2
    await turns()
    assert basket.taken == [1, 3]
    at_once.cancel()


async def test_what_at_once_raises_reaches_its_task() -> None:
    def fail() -> None:
        raise LookupError

    basket = Basket([])
    task = asyncio.ensure_future(basket.line.turn(fail))
    await turns()
    basket.fill(1)
    with pytest.raises(LookupError):
        await task
    assert not basket.line.waiting


async def from_the_loop(act: Callable[[], object]) -> None:
    """As a delivery does: no task runs meanwhile."""
    done = asyncio.get_running_loop().create_future()

    def run() -> None:
        done.set_result(act())

    asyncio.get_running_loop().call_soon(run)
    await done


async def test_a_task_goes_on_within_a_delivery() -> None:
    desk = Counter()
    variable = contextvars.ContextVar[str]("variable")

    async def come(name: str) -> str:
        variable.set(name)
        await desk.come(name)
        return variable.get()

    task = asyncio.ensure_future(come("a"))
    await turns()

    def deliver() -> None:
        desk.tickets += 1
        desk.line.serve(now=True)
        assert desk.served == ["a"]

    await from_the_loop(deliver)
    assert await task == "a"


async def test_no_task_goes_on_within_another() -> None:
    desk = Counter()
    task = asyncio.ensure_future(desk.come("a"))
    await turns()
    desk.tickets += 1
    desk.line.serve(now=True)
    assert desk.served == []
    await task
    assert desk.served == ["a"]


async def test_a_task_whose_context_is_in_use_goes_on_later() -> None:
    desk = Counter()
    context = contextvars.copy_context()
    task = context.run(asyncio.ensure_future, desk.come("a"))
    await turns()
    place = desk.line.waiting[0].called
    assert place._waiting is not None

    def deliver() -> None:
        desk.tickets += 1
        desk.line.serve(now=True)
        assert desk.served == []

    await from_the_loop(lambda: place._waiting[0].run(deliver))  # type: ignore[index]
    await task
    assert desk.served == ["a"]


async def test_a_cancelled_task_does_not_go_on_within_a_delivery() -> None:
    desk = Counter()
    tasks = [asyncio.ensure_future(desk.come(name)) for name in "ab"]
    await turns()

    def deliver() -> None:
        tasks[0].cancel()
        desk.tickets += 1
        desk.line.serve(now=True)
        assert desk.served == []

    await from_the_loop(deliver)
    await asyncio.wait(tasks)
    assert tasks[0].cancelled()
    assert desk.served == ["b"]
