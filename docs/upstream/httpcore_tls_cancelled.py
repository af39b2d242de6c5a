"""httpcore leaves a socket open whose request is cancelled while TLS is being set up."""

import gc
from functools import partial

import httpx
import trio


async def main():
    closed = trio.Event()

    async def say_nothing(stream):
        async for _ in stream:
            pass
        closed.set()

    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, say_nothing, 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        port = listener.socket.getsockname()[1]
        async with httpx.AsyncClient(timeout=None) as client:
            with trio.move_on_after(0.5):
                await client.get(f"https://127.0.0.1:{port}/")
            with trio.move_on_after(1):
                await closed.wait()
        seen = not closed.is_set()
        nursery.cancel_scope.cancel()
    print(
        "FAULT: 1 s after the request was cancelled, with its client closed, its socket is open"
        if seen
        else "NO FAULT: the socket was closed with its request"
    )


gc.disable()  # it would close the socket some time later
trio.run(main)
