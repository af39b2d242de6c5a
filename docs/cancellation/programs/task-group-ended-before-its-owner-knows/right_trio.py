# prints: the connection says good-bye
import trio


async def reader(requests, handlers, stopping):
    async for request in requests:
        if not stopping.is_set():
            handlers.start_soon(trio.sleep, request)


async def main():
    send, requests = trio.open_memory_channel(1)
    try:
        async with trio.open_nursery() as connection, send:
            async with trio.open_nursery() as handlers:
                stopping = trio.Event()
                connection.start_soon(reader, requests, handlers, stopping)
                stopping.set()  # before the group ends
            send.send_nowait(0.1)  # a request that comes before the connection is closed
        print("the connection says good-bye")
    except* RuntimeError as errors:
        print(*errors.exceptions)


trio.run(main)
