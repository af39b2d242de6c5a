# prints: the call ended as CANCELLED
import time

import trio


async def server(reset):
    time.sleep(0.7)  # the loop is busy: when it goes on, the deadline has passed as well
    reset.set()


async def main():
    reset, deadline = trio.Event(), trio.current_time() + 0.5
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server, reset)
        with trio.move_on_at(deadline) as scope:
            await reset.wait()
        is_late = scope.cancelled_caught
    print("the call ended as", "DEADLINE_EXCEEDED" if is_late else "CANCELLED")


trio.run(main)
