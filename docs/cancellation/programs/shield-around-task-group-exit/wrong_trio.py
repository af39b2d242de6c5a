# prints: Cancel scope stack corrupted
import trio


class Connection:
    async def __aenter__(self):
        self._tasks = trio.open_nursery()
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *error):
        with trio.CancelScope(shield=True):  # opened after the group, closed after it too
            await self._tasks.__aexit__(*error)


async def main():
    try:
        async with Connection():
            print("connected")
    except RuntimeError as error:
        print("RuntimeError:", error)


trio.run(main)
