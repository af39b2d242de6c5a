# prints: logged: bug in the model
import trio


async def answer(send):
    with send:  # closes it without a checkpoint
        raise ValueError("bug in the model")


async def main():
    send, _receive = trio.open_memory_channel(0)
    with trio.CancelScope() as scope:
        scope.cancel()  # for example, the browser has left
        try:
            await answer(send)
        except ValueError as error:
            print("logged:", error)
    print("the error is lost:", scope.cancelled_caught)


trio.run(main)
