# prints: the socket is open
from contextlib import aclosing

import trio


async def lines(sock):
    with sock:
        yield "a line"


async def events(sock):
    async for line in lines(sock):  # not closed when events() is
        yield line


async def main():
    sock = trio.socket.socket()
    async with aclosing(events(sock)) as stream:
        await anext(stream)
    print("the socket is", "closed" if sock.fileno() == -1 else "open")


trio.run(main)
