"""Simon Willison's `llm`, with an entry for the model as its users write it."""

import gc
import json
import os
from pathlib import Path
from typing import Any

import llm

from tests.sdks.programs.session import Ask, Report, serve


def _complete(ask: Ask, report: Report) -> None:
    entry = {
        "model_id": "relay",
        "model_name": ask.model,
        "api_base": ask.base_url,
        "supports_tools": True,
    }
    models = Path(os.environ["LLM_USER_PATH"], "extra-openai-models.yaml")
    models.write_text(json.dumps([entry]), encoding="utf-8")
    rest = ask.rest
    tools: list[Any] = [_tool(tool["function"]) for tool in rest.pop("tools", ())]
    model: Any = llm.get_model("relay")
    response = model.prompt(ask.prompt, stream=ask.streams, tools=tools, options=rest)
    for piece in response:
        report.text(piece)
    for index, call in enumerate(response.tool_calls()):
        report.call(index, call.name, json.dumps(call.arguments))
    usage = response.usage()
    report.note(usage=[usage.input, usage.output] if usage.input else None)
    report.end()


def _as_its_command(ask: Ask, report: Report) -> None:
    """End as the command `llm` does with Ctrl-C, when the system closes what it had open.

    A program that goes on keeps the connection until its garbage is collected.
    """
    try:
        _complete(ask, report)
    except KeyboardInterrupt as interruption:
        interruption.with_traceback(None).__context__ = None
        gc.collect()
        raise


def _tool(function: dict[str, Any]) -> llm.Tool:
    return llm.Tool(function["name"], function.get("description"), function["parameters"])


if __name__ == "__main__":
    serve(_as_its_command)
