# prints: stopped at the deadline: True
import time

import trio


async def main():
    with trio.move_on_after(0.1) as scope:
        await trio.to_thread.run_sync(time.sleep, 1, abandon_on_cancel=True)
    print("stopped at the deadline:", scope.cancelled_caught)


trio.run(main)
