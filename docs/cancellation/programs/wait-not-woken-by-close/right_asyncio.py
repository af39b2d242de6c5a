# prints: the sender was told: connection closed
import asyncio


class Connection(asyncio.Protocol):
    def __init__(self):
        self.has_data, self.has_room = asyncio.Event(), asyncio.Event()

    def connection_lost(self, exc):
        self.error = exc
        for event in (self.has_data, self.has_room):  # every wait that there is
            event.set()


async def main():
    connection = Connection()
    connection.connection_lost(OSError("connection closed"))
    try:
        await asyncio.wait_for(connection.has_room.wait(), timeout=0.5)
        print("the sender was told:", connection.error)
    except TimeoutError:
        print("the sender still waits")


asyncio.run(main())
