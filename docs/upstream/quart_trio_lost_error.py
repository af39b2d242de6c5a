"""Quart-Trio drops an error that a handler raises as it is cancelled; nothing is logged."""

import logging

import trio
from quart_trio import QuartTrio

app = QuartTrio(__name__)
messages = []
SCOPE = {
    "type": "http",
    "asgi": {},
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": "/",
    "query_string": b"",
    "headers": [],
}


class Logged(logging.Handler):
    def emit(self, record):
        messages.append(record.getMessage())


@app.get("/")
async def handler():
    async def fail_in_clean_up():
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("a bug")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail_in_clean_up)
        await trio.sleep_forever()


async def main():
    async def receive():
        await trio.sleep(0.2)
        return {"type": "http.disconnect"}

    async def send(message):
        pass

    await app(SCOPE, receive, send)


logging.getLogger().addHandler(Logged())
app.logger.addHandler(Logged())
try:
    trio.run(main)
except* ValueError:
    messages.append("raised")
print(
    "NO FAULT: the error was logged or raised"
    if messages
    else "FAULT: the ValueError is neither logged nor raised"
)
