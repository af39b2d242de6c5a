# prints: good-bye said: True
import anyio


class Connection:
    async def __aenter__(self):
        self._manager = anyio.create_task_group()
        self._tasks = await self._manager.__aenter__()
        self._tasks.start_soon(anyio.sleep, 0.1)  # says good-bye

    async def __aexit__(self, *_error):
        scope = self._tasks.cancel_scope  # the group's own scope, which is open already
        scope.shield, scope.deadline = True, anyio.current_time() + 5
        await self._manager.__aexit__(None, None, None)
        print("good-bye said:", not scope.cancelled_caught)


async def main():
    with anyio.CancelScope() as scope:
        async with Connection():
            scope.cancel()


anyio.run(main)
