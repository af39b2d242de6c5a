# prints: the next call waits for the window
import trio


async def call(window, busy):
    for _ in range(4):  # the peer sends four messages
        await window.acquire()
    await trio.sleep(busy)  # cancelled here, the messages are unread, and count
    for _ in range(4):  # each message that is read makes room
        window.release()


async def main():
    window = trio.Semaphore(4)  # how many messages may be on their way, to all calls
    with trio.move_on_after(1):
        await call(window, busy=60)
    with trio.move_on_after(2) as limit:
        await call(window, busy=0)
    print("the next call", "waits for the window" if limit.cancelled_caught else "goes on")


trio.run(main)
