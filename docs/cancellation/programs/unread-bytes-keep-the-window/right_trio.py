# prints: the next call goes on
import trio


async def call(window, busy):
    unread = 0
    try:
        for unread in range(1, 5):  # the peer sends four messages
            await window.acquire()
        await trio.sleep(busy)
    finally:
        for _ in range(unread):  # plain calls: a task that is cancelled can make them
            window.release()


async def main():
    window = trio.Semaphore(4)  # how many messages may be on their way, to all calls
    with trio.move_on_after(1):
        await call(window, busy=60)
    with trio.move_on_after(2) as limit:
        await call(window, busy=0)
    print("the next call", "waits for the window" if limit.cancelled_caught else "goes on")


trio.run(main)
