# prints: on the wire: b'hello, world. second'
import trio

wire = bytearray()
lock = trio.Lock()


async def write(data):
    sent = min(6, len(data))  # as socket.send does, take what there is room for
    wire.extend(data[:sent])
    with trio.move_on_after(5, shield=True):  # if it passes: close the connection
        async with lock:
            wire.extend(data[sent:])


async def main():
    with trio.CancelScope() as scope:
        scope.cancel()
        await write(b"hello, world. ")
    await write(b"second")
    print("on the wire:", bytes(wire))


trio.run(main)
