# prints: free slots: 0
import trio


async def connect():
    await trio.sleep_forever()  # the server does not answer


async def request(slots):
    await slots.acquire()
    await connect()  # cancelled here, the slot is lost
    try:
        print("connected")
    finally:
        slots.release()


async def main():
    slots = trio.Semaphore(1)
    with trio.move_on_after(0.1):
        await request(slots)
    print("free slots:", slots.value)


trio.run(main)
