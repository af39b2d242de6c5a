"""A model service for browser tests: answers as the prompt asks, and prints what it sees.

The first word of a prompt is looked up in `SCRIPTS`; any other prompt is answered with itself,
word by word. How the answer ends is looked up in `ENDINGS` in the same way. Each line of output is
a JSON object with an `event`: `listening` with the `port`;
`called` and `ended` with `prompt` and `session_id`, and `ended` also with the `outcome`, which is
`done`, `failed` or `abandoned`.
"""

import json
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing

import anyio
from grpclib import GRPCError, Status

from grpclib_anyio.server import Server
from relay_proto.ai import AiServiceBase, FinishReason, GenerateRequest, GenerateResponse, Usage

Tokens = AsyncGenerator[str, None]
Script = Callable[[], Tokens]

# Everything that Server-Sent Events treat in a way of their own, and HTML for good measure.
AWKWARD_TOKENS = (
    "first\nsecond",
    "\n\n",
    " leading",
    "",
    "one\r\ntwo\rthree",
    "\U0001f469\u200d\U0001f680",
    "data: x",
    "\n\nevent: done",
    "\ndata: [DONE]\n\n",
    ": ping",
    "\nid: 7\nretry: 1\n",
    "<img src=x onerror=alert(1)>&amp;",
    "\ttab  two spaces ",
)

# Long, tall, and with its line breaks within the tokens.
FLOOD_TOKENS = tuple(f"{number}\nline " for number in range(5_000))

LONG_WORD = "unbreakable" * 60

# Seconds between the tokens of an endless answer.
TOKEN_INTERVAL = 0.005


async def _endless() -> Tokens:  # noqa: ASYNC900 - closed by ScriptedModel
    number = 0
    while True:
        yield f"line {number}\n"
        number += 1
        await anyio.sleep(TOKEN_INTERVAL)


async def _silent() -> Tokens:  # noqa: ASYNC900 - as above
    await anyio.sleep_forever()
    yield ""


async def _failing() -> Tokens:  # noqa: ASYNC124, ASYNC900 - as above
    yield "Half an "
    yield "answer"
    raise GRPCError(Status.INTERNAL, "out of memory in layer 7")


def _end(reason: int, usage: Usage | None = None) -> GenerateResponse:
    last = GenerateResponse(done=True, finish_reason=FinishReason.try_value(reason))
    if usage is not None:
        last.usage = usage
    return last


def _fixed(*tokens: str) -> Script:
    async def script() -> Tokens:  # noqa: ASYNC124, ASYNC900 - as above
        for token in tokens:
            yield token

    return script


#: What follows the text of an answer, by the first word of its prompt.
ENDINGS: Mapping[str, GenerateResponse] = {
    "cut": _end(FinishReason.LENGTH, Usage(12, 3456)),
    "thoughts": _end(FinishReason.LENGTH, Usage(12, 400)),
    "withheld": _end(FinishReason.CONTENT_FILTER),
    "refused": _end(FinishReason.CONTENT_FILTER),
    "odd": _end(FinishReason.OTHER),
    "mute": _end(FinishReason.STOP, Usage(1, 0)),
}

SCRIPTS: Mapping[str, Script] = {
    "awkward": _fixed(*AWKWARD_TOKENS),
    "flood": _fixed(*FLOOD_TOKENS),
    "wide": _fixed(LONG_WORD, "\n", LONG_WORD),
    "endless": _endless,
    "silent": _silent,
    "failing": _failing,
    "thoughts": _fixed(),
    "refused": _fixed(),
    "mute": _fixed(),
}


def _script(prompt: str) -> Script:
    words = (f"{word} " for word in prompt.split(" "))
    return SCRIPTS.get(prompt.partition(" ")[0]) or _fixed(*words)


class ScriptedModel(AiServiceBase):
    """The service."""

    async def generate(  # noqa: ASYNC900 - the transport closes it
        self, generate_request: GenerateRequest
    ) -> AsyncIterator[GenerateResponse]:
        """Answer as the prompt asks."""
        prompt = generate_request.prompt
        call = {"prompt": prompt, "session_id": generate_request.session_id}
        outcome = "abandoned"
        _report("called", **call)
        try:
            async with aclosing(_script(prompt)()) as tokens:
                async for token in tokens:
                    yield GenerateResponse(token=token)  # noqa: ASYNC119 - as above
            yield ENDINGS.get(prompt.partition(" ")[0], GenerateResponse(done=True))
            outcome = "done"
        except GRPCError:
            outcome = "failed"
            raise
        finally:
            _report("ended", **call, outcome=outcome)


def _report(event: str, **fields: object) -> None:
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


async def _cancel_on_sigterm(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()


async def _serve() -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_cancel_on_sigterm, tasks.cancel_scope)
        addresses = await tasks.start(Server([ScriptedModel()]).serve, "127.0.0.1", 0)
        _report("listening", port=addresses[0][1])


if __name__ == "__main__":
    anyio.run(_serve, backend="trio")
