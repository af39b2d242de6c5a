# prints: the tokens are in order
import trio


async def body(receive, written, waits):
    while True:
        if receive.statistics().current_buffer_used == 0:
            waits.append(True)
        written.append(await receive.receive())
        waits.clear()


async def main():
    send, receive = trio.open_memory_channel(100)
    written, waits = [], []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(body, receive, written, waits)
        for number in range(100):  # what the body waits for is written without the channel
            (written.append if waits else send.send_nowait)(number)
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    print("the tokens are", "in order" if written == sorted(written) else "out of order")


trio.run(main)
