"""The command `curl`, and as little around it as reads what it prints."""

import json
import subprocess
from collections.abc import Iterable, Iterator
from signal import SIGINT
from typing import Any

from tests.sdks.programs.session import Ask, Report, serve


class _Object(dict[str, Any]):
    """A JSON object whose fields are attributes; None, if they are missing."""

    def __getattr__(self, name: str) -> Any:
        return self.get(name)


class _RefusedError(Exception):
    """The response is an error, or has one in it."""

    def __init__(self, status: int, headers: dict[str, str], error: Any) -> None:
        super().__init__(error.message)
        self.code, self.param = error.code, error.param
        self.status_code, self.headers = status, headers

    @property
    def response(self) -> "_RefusedError":
        return self


def complete(ask: Ask, report: Report) -> None:
    """Run curl; a terminal would send SIGINT to it as well."""
    url, body = f"{ask.base_url}/chat/completions", json.dumps(ask.body)
    command = ["curl", "--silent", "--no-buffer", "--include", "--json", body, url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as curl:
        assert curl.stdout is not None
        try:
            _read(iter(curl.stdout), report)
        except KeyboardInterrupt:
            curl.send_signal(SIGINT)
            raise


def _read(lines: Iterator[str], report: Report) -> None:
    status = int(next(lines).split()[1])
    fields = (line.lower().partition(":") for line in iter(lambda: next(lines).strip(), ""))
    headers = {name: value.strip() for name, _, value in fields}
    is_stream = headers["content-type"].startswith("text/event-stream")
    for payload in _payloads(lines) if is_stream else ["".join(lines)]:
        given = json.loads(payload, object_hook=_Object)
        if given.error:
            raise _RefusedError(status, headers, given.error)
        (report.chunk if is_stream else report.completion)(given)
    report.end()


def _payloads(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        if line.startswith("data: ") and line != "data: [DONE]\n":
            yield line.removeprefix("data: ")


if __name__ == "__main__":
    serve(complete)
