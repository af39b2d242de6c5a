# prints: without an error, the request ends
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
    with receive:  # closed when the task is over
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read_model, send)
            await receive.receive()
            await anyio.wait_all_tasks_blocked()  # the consumer is slow, and then it leaves
            tasks.cancel_scope.cancel()
    print("without an error, the request ends")


anyio.run(main)
