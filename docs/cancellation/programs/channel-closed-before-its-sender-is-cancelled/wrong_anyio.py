# prints: logged as a bug: BrokenResourceError()
import anyio


async def read_model(send):
    with send:
        try:
            while True:
                await send.send("token")
        except anyio.BrokenResourceError as error:
            print("logged as a bug:", repr(error))


async def main():
    send, receive = anyio.create_memory_object_stream(0)
    async with anyio.create_task_group() as tasks:
        with receive:  # closed before the task is cancelled
            tasks.start_soon(read_model, send)
            await receive.receive()
            await anyio.wait_all_tasks_blocked()  # the consumer is slow, and then it leaves
        tasks.cancel_scope.cancel()
    print("the request ends")


anyio.run(main)
