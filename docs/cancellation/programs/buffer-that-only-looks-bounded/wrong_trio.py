# prints: the buffer of 4 holds 20
import trio

items, changed = [], trio.lowlevel.ParkingLot()


async def produce():
    for number in range(20):
        if len(items) >= 4:
            await changed.park()  # woken by any change: is there room?
        items.append(number)


async def main():
    async with trio.open_nursery() as tasks:
        tasks.start_soon(produce)
        for _ in range(100):  # the sender looks, and takes nothing: the peer's window is shut
            await trio.sleep(0)
            changed.unpark_all()
        tasks.cancel_scope.cancel()
    print("the buffer of 4 holds", len(items))


trio.run(main)
