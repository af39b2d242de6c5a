"""LangChain's `ChatOpenAI`: `langchain sync` or `langchain async`."""

import json
import sys
from typing import Any

from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from tests.sdks.programs.session import Ask, Report, serve, serve_on_asyncio


def _model(ask: Ask) -> Any:
    # Its time limit for a chunk is `asyncio.wait_for`, which on Python 3.11 forgets a cancellation
    # that comes together with the chunk. The limit of the openai library below it is enough.
    return ChatOpenAI(
        base_url=ask.base_url,
        api_key=SecretStr("unused"),
        model=ask.model,
        stream_chunk_timeout=0,
        stream_usage="stream_options" in ask.body,
        **ask.only_if_given("max_retries"),
    ).bind(**ask.rest)


def _complete(ask: Ask, report: Report) -> None:
    if ask.streams:
        whole: Any = None
        for chunk in _model(ask).stream(ask.prompt):
            report.text(chunk.text)
            whole = chunk if whole is None else whole + chunk
    else:
        whole = _model(ask).invoke(ask.prompt)
        report.text(whole.text)
    _end(whole, report)


async def _acomplete(ask: Ask, report: Report) -> None:
    if ask.streams:
        whole: Any = None
        async for chunk in _model(ask).astream(ask.prompt):
            report.text(chunk.text)
            whole = chunk if whole is None else whole + chunk
    else:
        whole = await _model(ask).ainvoke(ask.prompt)
        report.text(whole.text)
    _end(whole, report)


def _end(whole: AIMessage, report: Report) -> None:
    for index, call in enumerate(whole.tool_calls):
        report.call(index, call["name"], json.dumps(call["args"]))
    if usage := whole.usage_metadata:
        report.note(usage=[usage["input_tokens"], usage["output_tokens"]])
    report.note(finish_reason=whole.response_metadata.get("finish_reason"))
    report.end()


if __name__ == "__main__":
    if sys.argv[1] == "async":
        serve_on_asyncio(_acomplete)
    else:
        serve(_complete)
