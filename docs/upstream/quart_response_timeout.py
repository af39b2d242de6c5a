"""Quart gives a response up at its RESPONSE_TIMEOUT and tells nobody."""

import asyncio
import logging

from quart import Quart

app = Quart(__name__)
app.config["RESPONSE_TIMEOUT"] = 0.3
happened = []
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
        happened.append("logged")


@app.get("/")
async def ticks():
    async def answer():
        while True:
            yield b"tick"
            await asyncio.sleep(0.1)

    return answer(), {"content-type": "text/plain"}


async def main():
    async def send(message):
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            happened.append("ended")

    await app(SCOPE, asyncio.Event().wait, send)


logging.getLogger().addHandler(Logged())
app.logger.addHandler(Logged())
try:
    asyncio.run(main())
except Exception as error:
    happened.append(f"raised {error!r}")
print(
    f"NO FAULT: {' and '.join(happened)}"
    if happened
    else "FAULT: the application returns in the middle of its response; nothing is logged or raised"
)
