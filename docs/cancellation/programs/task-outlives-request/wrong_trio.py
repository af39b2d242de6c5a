# prints: readers that still wait: 3
import trio


async def read_model(send):
    while True:
        await send.send("token")  # waits for somebody to receive it


async def handle_request(server):
    send, receive = trio.open_memory_channel(0)
    server.start_soon(read_model, send)  # a task of the server, not of the request
    await receive.receive()  # and then the browser leaves


async def main():
    async with trio.open_nursery() as server:
        for _ in range(3):
            await handle_request(server)
        print("readers that still wait:", len(server.child_tasks))
        server.cancel_scope.cancel()


trio.run(main)
