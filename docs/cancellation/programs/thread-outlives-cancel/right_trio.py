# prints: the thread stopped
import time

import trio


def export():
    for _part in range(100):
        try:
            trio.from_thread.check_cancelled()  # raises Cancelled in the thread
        except trio.Cancelled:
            print("the thread stopped")
            raise
        time.sleep(0.05)  # one part of the work


async def main():
    with trio.move_on_after(0.1):
        await trio.to_thread.run_sync(export)


trio.run(main)
