# prints: the deadline did not stop the write
import os
import threading

import trio


async def main():
    read_end, write_end = os.pipe()  # what reads it has stopped, and goes on after a second
    threading.Timer(1, os.read, [read_end, 1_000_000]).start()
    with trio.move_on_after(0.1) as limit:
        os.write(write_end, bytes(100_000))  # nothing else runs meanwhile
    print("the deadline", "stopped" if limit.cancelled_caught else "did not stop", "the write")


trio.run(main)
