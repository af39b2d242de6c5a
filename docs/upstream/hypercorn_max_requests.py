"""hypercorn cuts open HTTP/2 streams off at `keep_alive_max_requests`, and tells nobody."""

import trio
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived
from hypercorn.config import Config
from hypercorn.trio import serve


def request(path):
    return [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "x")]


async def main():
    ticks = 0

    async def app(scope, receive, send):
        nonlocal ticks
        assert scope["type"] == "http"  # no lifespan
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while scope["path"] == "/ticks":
            await send({"type": "http.response.body", "body": b"tick", "more_body": True})
            ticks += 1
            await trio.sleep(0.1)
        await send({"type": "http.response.body", "body": b"done"})

    config = Config()
    config.bind, config.errorlog, config.keep_alive_max_requests = ["127.0.0.1:0"], None, 3
    client = H2Connection()
    client.initiate_connection()
    client.send_headers(1, request("/ticks"), end_stream=True)
    goaway, bytes_after, ticks_then = None, 0, 0
    async with trio.open_nursery() as nursery:
        (url,) = await nursery.start(serve, app, config)
        async with await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2])) as stream:
            await stream.send_all(client.data_to_send())
            with trio.move_on_after(5) as patience:
                async for data in stream:
                    if goaway is not None:
                        bytes_after += len(data)
                        continue
                    for event in client.receive_data(data):
                        if isinstance(event, DataReceived) and event.stream_id == 1:
                            number = client.get_next_available_stream_id()
                            client.send_headers(number, request("/"), end_stream=True)
                        elif isinstance(event, ConnectionTerminated):
                            goaway, ticks_then = event, ticks
                            patience.deadline = trio.current_time() + 1
                    await stream.send_all(client.data_to_send())
            lost = ticks - ticks_then
        nursery.cancel_scope.cancel()
    print(
        f"FAULT: GOAWAY says {goaway.error_code!r} with last stream {goaway.last_stream_id}; on"
        f" stream 1 the application then sent {lost} chunks with no error, and no byte came"
        if goaway is not None and goaway.last_stream_id >= 1 and lost > 1 and not bytes_after
        else "NO FAULT: stream 1 goes on, or its end is told"
    )


trio.run(main)
