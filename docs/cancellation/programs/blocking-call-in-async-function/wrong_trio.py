# prints: stopped at the deadline: False
import time

import trio


async def main():
    with trio.move_on_after(0.1) as scope:
        time.sleep(0.5)  # for example, requests.get() or a query of a synchronous driver
    print("stopped at the deadline:", scope.cancelled_caught)


trio.run(main)
