"""LiteLLM as a client: `litellm_client sync` or `litellm_client async`."""

import sys
from contextlib import aclosing
from typing import Any

import litellm

from tests.sdks.programs.session import Ask, Report, serve, serve_on_asyncio


def _arguments(ask: Ask) -> dict[str, Any]:
    return {
        **ask.body,
        "model": f"openai/{ask.model}",
        "api_base": ask.base_url,
        "api_key": "unused",
        **ask.only_if_given("max_retries"),
    }


def _complete(ask: Ask, report: Report) -> None:
    answer: Any = litellm.completion(**_arguments(ask))
    if ask.streams:
        with answer:  # it closes the stream; otherwise the garbage collector does
            for chunk in answer:
                report.chunk(chunk)
    else:
        report.completion(answer)
    report.end()


async def _acomplete(ask: Ask, report: Report) -> None:
    answer: Any = await litellm.acompletion(**_arguments(ask))
    if ask.streams:
        async with aclosing(answer):
            async for chunk in answer:
                report.chunk(chunk)
    else:
        report.completion(answer)
    report.end()


if __name__ == "__main__":
    if sys.argv[1] == "async":
        serve_on_asyncio(_acomplete)
    else:
        serve(_complete)
