"""anyio's task group on asyncio drops a cancellation when a task fails as it is cancelled."""

import anyio


async def fail_when_cancelled():
    try:
        await anyio.sleep_forever()
    finally:
        raise ValueError


async def left_by():
    """Return the names of the errors that leave a task group whose parent is cancelled."""
    names = []
    with anyio.CancelScope() as parent:
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(fail_when_cancelled)
                await anyio.wait_all_tasks_blocked()
                parent.cancel()
                await anyio.sleep_forever()
        except BaseExceptionGroup as group:
            names = sorted(type(error).__name__ for error in group.exceptions)
    return names


on_trio, on_asyncio = (anyio.run(left_by, backend=backend) for backend in ("trio", "asyncio"))
print(
    f"FAULT: on trio {' and '.join(on_trio)} leave the task group, on asyncio only"
    f" {' and '.join(on_asyncio)}"
    if len(on_asyncio) < len(on_trio)
    else f"NO FAULT: on trio {on_trio} leave the task group, on asyncio {on_asyncio}"
)
