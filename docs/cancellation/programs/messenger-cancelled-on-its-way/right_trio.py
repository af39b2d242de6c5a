# prints: the application knows that the browser has left
import trio
from trio.testing import wait_all_tasks_blocked


async def read(scope, application_ends, disconnected):
    with scope:
        await application_ends.wait()
    disconnected.set()  # a plain call, after the scope


async def main():
    scope, disconnected = trio.CancelScope(), trio.Event()
    with trio.move_on_after(2):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, scope, trio.Event(), disconnected)
            await wait_all_tasks_blocked()
            scope.cancel()  # a write has failed: there is nothing more to read
            await disconnected.wait()
    knows = disconnected.is_set()
    print("the application", "knows that the browser has left" if knows else "still waits")


trio.run(main)
