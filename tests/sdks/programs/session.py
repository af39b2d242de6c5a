"""What the programs of all clients share: they read commands and tell what their library gives.

A command is a JSON object on a line of standard input, see :class:`Ask`. The program answers with
lines that have the command's `run` and an `event`: `text` for a piece of an answer; then `end`, for
the whole of it, `failed`, for what the library raised, or `aborted`, when SIGINT came; and `over`.
For example, what a library's program has to be::

    def complete(ask: Ask, report: Report) -> None:
        for piece in library.stream(ask.base_url, **ask.body):
            report.text(piece)
        report.end()

    if __name__ == "__main__":
        serve(complete)
"""

import asyncio
import json
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Ask", "Report", "serve", "serve_on_asyncio"]


@dataclass(frozen=True)
class Ask:
    """A command."""

    run: int
    base_url: str
    #: As OpenAI's API has it: `messages`, `model`, `stream` and so on.
    body: dict[str, Any]
    #: How often the library may repeat a request; None for its own default.
    retries: int | None = 0

    @property
    def model(self) -> str:
        name: str = self.body["model"]
        return name

    @property
    def prompt(self) -> str:
        text: str = self.body["messages"][-1]["content"]
        return text

    @property
    def streams(self) -> bool:
        return bool(self.body.get("stream"))

    @property
    def rest(self) -> dict[str, Any]:
        """What a library takes elsewhere than the model, the messages and how it streams."""
        known = {"model", "messages", "stream", "stream_options"}
        return {name: value for name, value in self.body.items() if name not in known}

    def only_if_given(self, name: str) -> dict[str, Any]:
        """Give the number of retries under a library's name for it, unless it is to choose."""
        return {} if self.retries is None else {name: self.retries}


@dataclass
class Report:
    """What is told of one run."""

    run: int
    _text: list[str] = field(default_factory=list[str])
    _calls: dict[int, dict[str, str]] = field(default_factory=dict[int, dict[str, str]])
    _rest: dict[str, Any] = field(default_factory=dict[str, Any])

    def text(self, text: str | None) -> None:
        """Tell a piece of an answer; nothing if there is no text in it."""
        if text:
            self._text.append(text)
            self.tell("text", text=text)

    def call(self, index: int, name: str | None, arguments: str | None) -> None:
        """Note a call of a tool, or a piece of one."""
        call = self._calls.setdefault(index, {"name": "", "arguments": ""})
        call["name"] += name or ""
        call["arguments"] += arguments or ""

    def note(self, **fields: Any) -> None:
        """Note what there is to know of an answer: `finish_reason`, `usage`."""
        self._rest.update((name, value) for name, value in fields.items() if value is not None)

    def end(self) -> None:
        """Tell the whole of an answer."""
        calls = [
            {"name": call["name"], "arguments": json.loads(call["arguments"])}
            for _, call in sorted(self._calls.items())
        ]
        self.tell("end", text="".join(self._text), calls=calls, **self._rest)

    def failed(self, error: BaseException) -> None:
        """Tell what a library raised, with what it knows of the response."""
        known = next(filter(_has_status, _chain(error)), error)
        headers: Mapping[str, str] = getattr(getattr(known, "response", None), "headers", {})
        self.tell(
            "failed",
            raised=type(error).__name__,
            message=str(error),
            status=getattr(known, "status_code", None),
            code=getattr(known, "code", None),
            param=getattr(known, "param", None),
            retry_after=headers.get("retry-after"),
        )

    def tell(self, event: str, **fields: Any) -> None:
        """Print a line."""
        sys.stdout.write(json.dumps({"run": self.run, "event": event, **fields}) + "\n")
        sys.stdout.flush()

    # -- what OpenAI's library gives, and those that are built on it -----------------------------

    def chunk(self, chunk: Any) -> None:
        """Take a chunk of a stream."""
        for choice in chunk.choices:
            self.note(finish_reason=choice.finish_reason)
            self.text(choice.delta.content)
            for call in choice.delta.tool_calls or ():
                self.call(call.index, call.function.name, call.function.arguments)
        self._usage(getattr(chunk, "usage", None))

    def completion(self, completion: Any) -> None:
        """Take a whole answer."""
        (choice,) = completion.choices
        self.note(finish_reason=choice.finish_reason)
        self.text(choice.message.content)
        for index, call in enumerate(choice.message.tool_calls or ()):
            self.call(index, call.function.name, call.function.arguments)
        self._usage(completion.usage)

    def _usage(self, usage: Any) -> None:
        if usage:
            self.note(usage=[usage.prompt_tokens, usage.completion_tokens])


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _has_status(error: BaseException) -> bool:
    return getattr(error, "status_code", None) is not None


def serve(complete: Callable[[Ask, Report], None]) -> None:
    """Carry commands out, one after the other, until there are no more."""
    _tell_ready()
    for line in sys.stdin:
        ask, report = _read(line)
        try:
            complete(ask, report)
        except KeyboardInterrupt:
            report.tell("aborted")
        except Exception as error:  # noqa: BLE001 - told to the test, whatever it is
            report.failed(error)
        report.tell("over")


def serve_on_asyncio(complete: Callable[[Ask, Report], Coroutine[Any, Any, None]]) -> None:
    """Carry commands out in one event loop, which goes on; SIGINT cancels the command's task.

    It has to go on because LangChain, when it is cancelled, leaves its generators to the loop.
    """
    asyncio.run(_serve(complete))


async def _serve(complete: Callable[[Ask, Report], Coroutine[Any, Any, None]]) -> None:
    loop = asyncio.get_running_loop()
    _tell_ready()
    while line := await asyncio.to_thread(sys.stdin.readline):
        ask, report = _read(line)
        task = asyncio.create_task(complete(ask, report))
        loop.add_signal_handler(signal.SIGINT, task.cancel)
        await asyncio.wait([task])
        if task.cancelled():
            report.tell("aborted")
        elif error := task.exception():
            report.failed(error)
        report.tell("over")


def _tell_ready() -> None:
    sys.stdout.write('{"event": "ready"}\n')
    sys.stdout.flush()


def _read(line: str) -> tuple[Ask, Report]:
    ask = Ask(**json.loads(line))
    return ask, Report(ask.run)
