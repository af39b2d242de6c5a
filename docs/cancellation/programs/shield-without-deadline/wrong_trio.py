# prints: the shutdown still waits
import trio


async def write(stream):
    with trio.CancelScope(shield=True):
        await stream.send_all(bytes(10_000_000))


async def main():
    ours, peer = trio.socket.socketpair()  # the peer reads nothing
    async with trio.open_nursery() as server:
        server.start_soon(write, trio.SocketStream(ours))
        server.start_soon(end_this_program, peer)
        server.cancel_scope.cancel()  # the shutdown


async def end_this_program(peer):
    with trio.CancelScope(shield=True):
        await trio.sleep(0.5)
        print("the shutdown still waits")
        peer.close()


trio.run(main)
