"""OpenAI's library for Python."""

from typing import Any

from openai import OpenAI

from tests.sdks.programs.session import Ask, Report, serve


def complete(ask: Ask, report: Report) -> None:
    retries = ask.only_if_given("max_retries")
    with OpenAI(base_url=ask.base_url, api_key="unused", **retries) as client:
        create: Any = client.chat.completions.create
        if ask.streams:
            with create(**ask.body) as stream:
                for chunk in stream:
                    report.chunk(chunk)
        else:
            report.completion(create(**ask.body))
    report.end()


if __name__ == "__main__":
    serve(complete)
