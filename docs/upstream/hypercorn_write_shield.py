"""hypercorn's trio worker writes in a shield that has no time limit."""

import socket
from functools import partial

import trio
from hypercorn.config import Config
from hypercorn.trio import serve


async def main():
    expired = trio.Event()
    stop, stopped = trio.Event(), trio.Event()

    async def app(scope, receive, send):
        assert scope["type"] == "http"  # no lifespan
        await send({"type": "http.response.start", "status": 200, "headers": []})
        with trio.move_on_after(0.5):  # the application's own deadline
            while True:
                await send(
                    {"type": "http.response.body", "body": bytes(100_000), "more_body": True}
                )
        expired.set()

    async def run(task_status):
        start = partial(serve, app, config, shutdown_trigger=stop.wait)
        await start(task_status=task_status)
        stopped.set()

    config = Config()
    config.bind, config.errorlog, config.graceful_timeout = ["127.0.0.1:0"], None, 0.5
    async with trio.open_nursery() as nursery:
        (url,) = await nursery.start(run)
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as client:
            client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")  # and nothing is read
            with trio.move_on_after(1.5):
                await expired.wait()
            stop.set()
            with trio.move_on_after(1.5):
                await stopped.wait()
            seen = not expired.is_set() and not stopped.is_set()
    print(
        "FAULT: 1 s past its deadline the request goes on, and 1 s past its grace the server"
        if seen
        else "NO FAULT: the request or the server has ended"
    )


trio.run(main)
