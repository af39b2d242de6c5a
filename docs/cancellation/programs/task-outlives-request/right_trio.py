# prints: readers that still wait: 0
import trio


async def read_model(send):
    while True:
        await send.send("token")  # waits for somebody to receive it


async def handle_request(_server):
    send, receive = trio.open_memory_channel(0)
    async with trio.open_nursery() as request:
        request.start_soon(read_model, send)
        await receive.receive()  # and then the browser leaves
        request.cancel_scope.cancel()


async def main():
    async with trio.open_nursery() as server:
        for _ in range(3):
            await handle_request(server)
        print("readers that still wait:", len(server.child_tasks))


trio.run(main)
