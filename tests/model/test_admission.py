"""Admission: a limit, a bounded queue, first come first served."""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a scope may swallow what its body raises; a test would have failed.

from collections.abc import Iterable

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import TaskGroup
from grpclib.const import Status

from relay_model.admission import Admission
from relay_model.errors import BackendError

pytestmark = pytest.mark.anyio


class Callers:
    """Tasks that ask for admission, and leave when they are told to."""

    def __init__(self, admission: Admission) -> None:
        self.served: list[int] = []
        self._admission = admission
        self._go = [anyio.Event() for _ in range(10)]
        self.scopes = [anyio.CancelScope() for _ in range(10)]

    async def come(self, numbers: Iterable[int], tasks: TaskGroup) -> None:
        """Let them ask one after the other."""
        for number in numbers:
            tasks.start_soon(self.ask, number)
            await anyio.wait_all_tasks_blocked()

    async def ask(self, number: int) -> None:
        with self.scopes[number]:
            async with self._admission.admit():
                self.served.append(number)
                await self._go[number].wait()

    async def dismiss(self, number: int) -> None:
        self._go[number].set()
        await anyio.wait_all_tasks_blocked()


async def test_first_come_first_served() -> None:
    admission = Admission(max_concurrent=2, max_queued=8)
    callers = Callers(admission)
    async with anyio.create_task_group() as tasks:
        await callers.come(range(10), tasks)
        assert (admission.admitted, admission.queued) == (2, 8)
        for number in range(10):
            await callers.dismiss(number)
            assert admission.admitted == min(2, 9 - number)
    assert callers.served == list(range(10))
    assert (admission.admitted, admission.queued) == (0, 0)


async def test_a_full_queue_refuses_without_waiting() -> None:
    admission = Admission(max_concurrent=1, max_queued=0)
    async with admission.admit():
        with anyio.CancelScope() as scope:
            scope.cancel()  # whatever waits now is cancelled
            with pytest.raises(BackendError) as raised:
                async with admission.admit():
                    pass
    assert raised.value.status is Status.RESOURCE_EXHAUSTED
    assert not scope.cancelled_caught
    async with admission.admit():
        assert admission.admitted == 1


async def test_cancelled_it_leaves_the_queue_and_the_order_as_they_are() -> None:
    admission = Admission(max_concurrent=1, max_queued=3)
    callers = Callers(admission)
    async with anyio.create_task_group() as tasks:
        await callers.come(range(4), tasks)
        callers.scopes[1].cancel()
        await anyio.wait_all_tasks_blocked()
        assert (admission.admitted, admission.queued) == (1, 2)
        await callers.come([4], tasks)
        for number in (0, 2, 3, 4):
            await callers.dismiss(number)
    assert callers.served == [0, 2, 3, 4]


async def test_cancelled_as_it_is_admitted_it_admits_the_next() -> None:
    admission = Admission(max_concurrent=1, max_queued=2)
    callers = Callers(admission)
    async with anyio.create_task_group() as tasks:
        await callers.come(range(3), tasks)
        callers.scopes[0].cancel()  # which admits the next one
        await anyio.lowlevel.checkpoint()
        callers.scopes[1].cancel()
        await anyio.wait_all_tasks_blocked()
        assert callers.served[-1] == 2
        await callers.dismiss(2)
    assert admission.admitted == 0


async def test_a_failure_frees_its_place() -> None:
    admission = Admission(max_concurrent=1, max_queued=0)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            async with admission.admit():
                raise ZeroDivisionError
    assert admission.admitted == 0
