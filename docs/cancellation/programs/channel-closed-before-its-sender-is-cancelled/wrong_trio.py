# prints: logged as a bug: BrokenResourceError()
import trio
from trio.testing import wait_all_tasks_blocked


async def read_model(send):
    try:
        while True:
            await send.send("token")
    except trio.BrokenResourceError as error:
        print("logged as a bug:", repr(error))


async def main():
    send, receive = trio.open_memory_channel(0)
    async with trio.open_nursery() as nursery:
        with receive:  # closed before the task is cancelled
            nursery.start_soon(read_model, send)
            await receive.receive()
            await wait_all_tasks_blocked()  # the consumer is slow, and then it leaves
        nursery.cancel_scope.cancel()
    print("the request ends")


trio.run(main)
