# prints: stalled after 14 messages
import trio


class Credit:
    held = 0

    def add(self, window):
        self.held = (self.held + 1) % 8
        for _ in range(0 if self.held else 8):  # eight at a time: each update is a frame
            window.release()


async def main():
    window = trio.Semaphore(14)
    ours, library = Credit(), Credit()  # each of them holds seven messages back
    with trio.move_on_after(2):
        for number in range(101):
            await window.acquire()
            (ours if number % 2 else library).add(window)
    print("all messages arrived" if number == 100 else f"stalled after {number} messages")


trio.run(main)
