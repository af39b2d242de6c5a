# prints: the deadline passed
import time

import trio
from trio.testing import MockClock


async def main():
    deadline = time.monotonic() + 5
    with trio.move_on_after(deadline - time.monotonic()):  # seconds are the same on all clocks
        await trio.sleep(6)
        print("still waiting after 6 seconds")
        return
    print("the deadline passed")


trio.run(main, clock=MockClock(autojump_threshold=0))
