# prints: the sender was told: connection closed
import trio


class Connection:
    def __init__(self):
        self.has_data, self.has_room, self.error = trio.Event(), trio.Event(), None

    def close(self, error):
        self.error = error
        for event in (self.has_data, self.has_room):  # every wait that there is
            event.set()


async def main():
    connection = Connection()
    connection.close("connection closed")
    with trio.move_on_after(0.5) as patience:
        await connection.has_room.wait()
        print("the sender was told:", connection.error)
    if patience.cancelled_caught:
        print("the sender still waits")


trio.run(main)
