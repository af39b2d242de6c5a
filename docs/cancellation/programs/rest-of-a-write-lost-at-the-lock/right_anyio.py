# prints: on the wire: b'hello, world. second'
import anyio


async def write(wire, lock, data):
    sent = min(6, len(data))  # as socket.send does, take what there is room for
    wire.extend(data[:sent])
    with anyio.move_on_after(5, shield=True):  # if it passes: close the connection
        async with lock:
            wire.extend(data[sent:])


async def main():
    wire, lock = bytearray(), anyio.Lock()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await write(wire, lock, b"hello, world. ")
    await write(wire, lock, b"second")
    print("on the wire:", bytes(wire))


anyio.run(main)
