# prints: still waiting after 6 seconds
import time

import trio
from trio.testing import MockClock


async def main():
    deadline = time.monotonic() + 5
    with trio.CancelScope(deadline=deadline):  # on trio's clock this is another moment
        await trio.sleep(6)
        print("still waiting after 6 seconds")
        return
    print("the deadline passed")


trio.run(main, clock=MockClock(autojump_threshold=0))
