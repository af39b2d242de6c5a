"""One HTTP/2 request with an odd path ends hypercorn's trio worker, with all its connections."""

import trio
from h2.config import H2Configuration
from h2.connection import H2Connection
from hypercorn.config import Config
from hypercorn.trio import serve

ODD_PATH = b"/caf\xc3\xa9"  # UTF-8 that is not percent-encoded
REQUEST = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", ODD_PATH), (b":authority", b"x")]


async def app(scope, receive, send):
    assert scope["type"] == "http"  # no lifespan
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def main():
    config = Config()
    config.bind, config.errorlog = ["127.0.0.1:0"], None
    client = H2Connection(H2Configuration(validate_outbound_headers=False))
    client.initiate_connection()
    client.send_headers(1, REQUEST, end_stream=True)
    seen = False
    try:
        async with trio.open_nursery() as nursery:
            (url,) = await nursery.start(serve, app, config)
            address = "127.0.0.1", int(url.rpartition(":")[2])
            async with await trio.open_tcp_stream(*address) as stream:
                await stream.send_all(client.data_to_send())
                await trio.sleep(3)
            nursery.cancel_scope.cancel()
    except* UnicodeDecodeError:
        seen = True
    print(
        "FAULT: serve() ended with UnicodeDecodeError"
        if seen
        else "NO FAULT: the server goes on serving"
    )


trio.run(main)
