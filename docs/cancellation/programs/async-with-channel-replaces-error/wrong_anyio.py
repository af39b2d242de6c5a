# prints: the error is lost: True
import anyio


class Upstream(anyio.abc.AsyncResource):
    async def aclose(self):
        await anyio.sleep(0)  # says good-bye


async def answer(upstream):
    async with upstream:  # its exit is a checkpoint
        raise ValueError("bug in the model")


async def main():
    with anyio.CancelScope() as scope:
        scope.cancel()  # for example, the browser has left
        try:
            await answer(Upstream())
        except ValueError as error:
            print("logged:", error)
    print("the error is lost:", scope.cancelled_caught)


anyio.run(main)
