# prints: the drain ended in time
import trio


async def watch(draining):
    print("status: SERVING")
    await draining.wait()  # or the client leaves
    print("status: NOT_SERVING")


async def main():
    draining = trio.Event()
    with trio.move_on_after(2) as grace:
        async with trio.open_nursery() as calls:
            calls.start_soon(watch, draining)  # its client stays as long as it is answered
            calls.start_soon(trio.sleep, 0)  # a call that is nearly complete
            draining.set()  # no new calls, and wait for those in progress
    print("the drain ended", "by force" if grace.cancelled_caught else "in time")


trio.run(main)
