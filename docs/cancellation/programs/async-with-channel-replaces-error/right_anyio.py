# prints: logged: bug in the model
import anyio


class Upstream:
    def __enter__(self):
        return self

    def __exit__(self, *_error):
        print("a reset is queued")  # a plain call


async def main():
    with anyio.CancelScope() as scope:
        scope.cancel()  # for example, the browser has left
        try:
            with Upstream():
                raise ValueError("bug in the model")
        except ValueError as error:
            print("logged:", error)
    print("the error is lost:", scope.cancelled_caught)


anyio.run(main)
