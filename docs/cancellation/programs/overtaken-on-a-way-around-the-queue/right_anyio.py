# prints: the tokens are in order
import anyio


async def body(receive, written, waits):
    while True:
        if receive.statistics().current_buffer_used == 0:
            waits.append(True)
        written.append(await receive.receive())
        waits.clear()


async def main():
    send, receive = anyio.create_memory_object_stream(100)
    written, waits = [], []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(body, receive, written, waits)
        for number in range(100):  # what the body waits for is written without the channel
            (written.append if waits else send.send_nowait)(number)
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    print("the tokens are", "in order" if written == sorted(written) else "out of order")


anyio.run(main)
