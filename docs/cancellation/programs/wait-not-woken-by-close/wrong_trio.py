# prints: the sender still waits
import trio


class Connection:
    def __init__(self):
        self.has_data, self.has_room, self.error = trio.Event(), trio.Event(), None

    def close(self, error):
        self.error = error
        self.has_data.set()  # wakes the receiver, and forgets the sender


async def main():
    connection = Connection()
    connection.close("connection closed")
    with trio.move_on_after(0.5) as patience:
        await connection.has_room.wait()
        print("the sender was told:", connection.error)
    if patience.cancelled_caught:
        print("the sender still waits")


trio.run(main)
