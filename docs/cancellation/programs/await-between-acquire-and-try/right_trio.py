# prints: free slots: 1
import trio


async def connect():
    await trio.sleep_forever()  # the server does not answer


async def request(slots):
    async with slots:  # nothing is awaited between the slot and the block that gives it back
        await connect()
        print("connected")


async def main():
    slots = trio.Semaphore(1)
    with trio.move_on_after(0.1):
        await request(slots)
    print("free slots:", slots.value)


trio.run(main)
