# prints: ROLLBACK on a closed connection
import trio


async def handle(database):
    try:
        await trio.sleep_forever()
    finally:
        with trio.move_on_after(5, shield=True):
            await trio.sleep(0.1)
            state = "a closed" if database.fileno() == -1 else "an open"
            print("ROLLBACK on", state, "connection")


async def main():
    with trio.move_on_after(0.5):
        async with trio.open_nursery() as nursery:
            with trio.socket.socket() as database:  # closed first, and then the tasks end
                nursery.start_soon(handle, database)
                await trio.sleep_forever()


trio.run(main)
