"""hypercorn's buffer of an HTTP/2 stream grows although its client's window is zero."""

import trio
from h2.connection import H2Connection
from h2.settings import SettingCodes
from hypercorn.config import Config
from hypercorn.trio import serve

CHUNK = bytes(64 * 1024)
LIMIT = 8 * 1024 * 1024  # the buffer is to hold 32 KiB
REQUEST = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "x")]


async def main():
    sent, too_much = 0, trio.Event()

    async def app(scope, receive, send):
        nonlocal sent
        assert scope["type"] == "http"  # no lifespan
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while sent < LIMIT:
            await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
            sent += len(CHUNK)
        too_much.set()
        await trio.sleep_forever()

    config = Config()
    config.bind, config.errorlog = ["127.0.0.1:0"], None
    client = H2Connection()
    client.initiate_connection()
    client.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
    client.send_headers(1, REQUEST, end_stream=True)
    async with trio.open_nursery() as nursery:
        (url,) = await nursery.start(serve, app, config)
        async with await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2])) as stream:
            await stream.send_all(client.data_to_send())
            with trio.move_on_after(5):
                await too_much.wait()
        nursery.cancel_scope.cancel()
    mebibytes = sent // 2**20
    print(
        f"FAULT: the server took {mebibytes} MiB for a client that permits none"
        if too_much.is_set()
        else f"NO FAULT: the application waits after {sent // 1024} KiB"
    )


trio.run(main)
