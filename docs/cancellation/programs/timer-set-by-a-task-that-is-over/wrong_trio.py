# prints: still open after an hour
import trio
from trio.testing import MockClock


async def restart(idle):
    await trio.lowlevel.checkpoint()  # for example, a lock
    idle.deadline = trio.current_time() + 5


async def request(idle):
    with trio.CancelScope() as scope:
        scope.cancel()  # the answer is complete, so the framework ends this task
        await restart(idle)


async def main():
    with trio.move_on_after(3600), trio.CancelScope() as idle:
        await request(idle)
        await trio.sleep_forever()  # until the next request
    closed = idle.cancelled_caught
    print("closed after 5 idle seconds" if closed else "still open after an hour")


trio.run(main, clock=MockClock(autojump_threshold=0))
