"""The gateway's peer under floods: Quart on hypercorn as they come, with trio.

It is its own model: a token is a word of the prompt, and the next comes 20 ms later. For example::

    hypercorn --worker-class trio --workers 0 --bind 127.0.0.1:8080 tests.soak.hypercorn_gateway:app
"""

from collections.abc import AsyncGenerator

import trio
from quart import Response, request
from quart_trio import QuartTrio

__all__ = ["app"]

_INTERVAL = 0.02

app = QuartTrio(__name__)


async def _events(prompt: str) -> AsyncGenerator[str]:  # noqa: ASYNC900 - Quart closes it
    for word in prompt.split():
        yield f"data: {word}\n\n"
        await trio.sleep(_INTERVAL)
    yield "event: done\ndata: [DONE]\n\n"


@app.route("/api/ai/stream", methods=["GET", "POST"])
async def stream() -> Response:
    """Answer a prompt with its words."""
    prompt = request.args.get("prompt") or (await request.get_json())["prompt"]
    return Response(_events(prompt), mimetype="text/event-stream")


@app.get("/healthz")
async def healthz() -> Response:
    """Say that the process answers."""
    return Response("ok")
