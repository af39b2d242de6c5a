# prints: the connection is over
import trio


async def reader(stream):
    while await stream.receive_some():
        await trio.sleep_forever()  # until the answer is complete: it sees no end of file


async def main():
    server, client = map(trio.SocketStream, trio.socket.socketpair())
    await client.send_all(b"two requests")
    with trio.move_on_after(2) as limit:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader, server)
            await client.aclose()
            try:
                await server.send_all(b"a part of the first answer")
            except trio.BrokenResourceError:
                nursery.cancel_scope.cancel()
    print("the connection is", "kept" if limit.cancelled_caught else "over")


trio.run(main)
