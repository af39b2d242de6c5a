# prints: the socket is closed
import asyncio
import socket
from contextlib import aclosing


async def lines(sock):
    with sock:
        yield "a line"


async def events(sock):
    async with aclosing(lines(sock)) as inner:
        async for line in inner:
            yield line


async def main():
    sock = socket.socket()
    async with aclosing(events(sock)) as stream:
        await anext(stream)
    print("the socket is", "closed" if sock.fileno() == -1 else "open")


asyncio.run(main())
