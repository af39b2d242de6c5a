# prints: Attempted to exit a cancel scope that isn't the current tasks's current cancel scope
import anyio


class Connection:
    async def __aenter__(self):
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *error):
        with anyio.CancelScope(shield=True):  # opened after the group, closed after it too
            await self._tasks.__aexit__(*error)


async def main():
    try:
        async with Connection():
            print("connected")
    except RuntimeError as error:
        print("RuntimeError:", error)


anyio.run(main)
