# prints: the sender still waits
import asyncio


class Connection(asyncio.Protocol):
    def __init__(self):
        self.has_data, self.has_room = asyncio.Event(), asyncio.Event()

    def connection_lost(self, exc):
        self.error = exc
        self.has_data.set()  # wakes the receiver, and forgets the sender


async def main():
    connection = Connection()
    connection.connection_lost(OSError("connection closed"))
    try:
        await asyncio.wait_for(connection.has_room.wait(), timeout=0.5)
        print("the sender was told:", connection.error)
    except TimeoutError:
        print("the sender still waits")


asyncio.run(main())
