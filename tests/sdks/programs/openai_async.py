"""OpenAI's library for Python, its async client: `openai_async asyncio` or `openai_async trio`.

On trio SIGINT cancels a scope.
"""

import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import trio
from openai import AsyncOpenAI

from tests.sdks.programs.session import Ask, Report, serve, serve_on_asyncio


async def _complete(ask: Ask, report: Report) -> None:
    retries = ask.only_if_given("max_retries")
    async with AsyncOpenAI(base_url=ask.base_url, api_key="unused", **retries) as client:
        create: Any = client.chat.completions.create
        if ask.streams:
            async with await create(**ask.body) as stream:
                async for chunk in stream:
                    report.chunk(chunk)
        else:
            report.completion(await create(**ask.body))
    report.end()


def _on_trio(ask: Ask, report: Report) -> None:
    if trio.run(_is_cancelled, ask, report):
        raise KeyboardInterrupt


async def _is_cancelled(ask: Ask, report: Report) -> bool:
    scope = trio.CancelScope()
    with trio.open_signal_receiver(signal.SIGINT) as signals:
        async with trio.open_nursery(strict_exception_groups=False) as nursery:
            nursery.start_soon(_cancel, scope, signals)
            with scope:
                await _complete(ask, report)
            nursery.cancel_scope.cancel()
    return scope.cancelled_caught


async def _cancel(scope: trio.CancelScope, signals: AsyncIterator[int]) -> None:
    async for _ in signals:
        scope.cancel()


if __name__ == "__main__":
    if sys.argv[1] == "asyncio":
        serve_on_asyncio(_complete)
    else:
        serve(_on_trio)
