# prints: the answer was saved
import trio


class Call:
    def __init__(self):
        self._deadline = trio.current_time() + 0.5

    async def receive(self):
        with trio.fail_at(self._deadline):  # only around the call's own wait
            await trio.sleep(0)
            return "answer"


async def main():
    call = Call()
    await call.receive()
    await trio.sleep(0.7)  # the caller's own work
    print("the answer was saved")


trio.run(main)
