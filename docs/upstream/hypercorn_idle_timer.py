"""hypercorn's trio worker never closes an idle connection whose request's task was cancelled."""

import trio
from hypercorn.config import Config
from hypercorn.trio import serve


async def app(scope, receive, send):
    """Ends as soon as it is told that the response is complete; so does each app of Quart-Trio."""
    assert scope["type"] == "http"  # no lifespan

    async def cancel_on_disconnect():
        while (await receive())["type"] != "http.disconnect":
            pass
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel_on_disconnect)
        headers = [(b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


async def is_closed(address, request):
    """Say whether the server closes the connection when it idles."""
    async with await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(request)
        with trio.move_on_after(2):
            async for _ in stream:
                pass
            return True
    return False


async def main():
    config = Config()
    config.bind, config.errorlog, config.keep_alive_timeout = ["127.0.0.1:0"], None, 0.5
    async with trio.open_nursery() as nursery:
        (url,) = await nursery.start(serve, app, config)
        address = "127.0.0.1", int(url.rpartition(":")[2])
        without = await is_closed(address, b"")
        after = await is_closed(address, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        nursery.cancel_scope.cancel()
    print(
        "FAULT: 2 s after its request, with a keep-alive timeout of 0.5 s, a connection is open"
        if without and not after
        else "NO FAULT: an idle connection is closed after its request, too"
    )


trio.run(main)
