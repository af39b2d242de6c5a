"""hypercorn ends when a client gives a thousand streams a priority."""

from contextlib import suppress

import trio
from h2.connection import H2Connection
from hypercorn.config import Config
from hypercorn.trio import serve
from hyperframe.frame import PriorityFrame

STREAMS = 1_100


async def app(scope, receive, send):
    raise AssertionError(scope["type"])  # no lifespan, and no request


async def main():
    config = Config()
    config.bind, config.errorlog = ["127.0.0.1:0"], None
    client = H2Connection()
    client.initiate_connection()
    frames = (PriorityFrame(number, stream_weight=15) for number in range(1, 2 * STREAMS, 2))
    flood = client.data_to_send() + b"".join(frame.serialize() for frame in frames)
    goes_on = False
    with suppress(BaseExceptionGroup), trio.move_on_after(10):
        async with trio.open_nursery() as nursery:
            (url,) = await nursery.start(serve, app, config)
            address = "127.0.0.1", int(url.rpartition(":")[2])
            async with await trio.open_tcp_stream(*address) as stream:
                await stream.send_all(flood)
                await trio.sleep(1)
            goes_on = True
            nursery.cancel_scope.cancel()
    print(
        f"NO FAULT: the server goes on after {STREAMS} PRIORITY frames"
        if goes_on
        else f"FAULT: {STREAMS} PRIORITY frames of one client end the server"
    )


trio.run(main)
