# prints: the answer was never saved
import trio


class Call:
    async def __aenter__(self):
        self._scope = trio.move_on_after(0.1)
        self._scope.__enter__()
        return self

    async def __aexit__(self, *error):
        return self._scope.__exit__(*error)


async def main():
    saved = False
    async with Call() as _call:
        # ... the answer is here in time, and what follows is the caller's own work:
        await trio.sleep(0.5)
        saved = True
    print("the answer was saved" if saved else "the answer was never saved")


trio.run(main)
