"""hypercorn leaves an HTTP/2 stream open when the application fails in the middle of its answer."""

import trio
from h2.connection import H2Connection
from h2.events import DataReceived, StreamEnded, StreamReset
from hypercorn.config import Config
from hypercorn.trio import serve

REQUEST = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "x")]


async def app(scope, receive, send):
    assert scope["type"] == "http"  # no lifespan
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"half an ", "more_body": True})
    raise RuntimeError


async def main():
    config = Config()
    config.bind, config.errorlog, config.keep_alive_timeout = ["127.0.0.1:0"], None, 60
    client = H2Connection()
    client.initiate_connection()
    client.send_headers(1, REQUEST, end_stream=True)
    begun = ended = False
    async with trio.open_nursery() as nursery:
        (url,) = await nursery.start(serve, app, config)
        async with await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2])) as stream:
            await stream.send_all(client.data_to_send())
            with trio.move_on_after(1.5):
                async for data in stream:
                    for event in client.receive_data(data):
                        begun = begun or isinstance(event, DataReceived)
                        ended = ended or isinstance(event, StreamEnded | StreamReset)
                    if ended:
                        break
        nursery.cancel_scope.cancel()
    print(
        "FAULT: 1.5 s after the application failed, its stream is neither ended nor reset"
        if begun and not ended
        else "NO FAULT: the stream was ended or reset"
    )


trio.run(main)
