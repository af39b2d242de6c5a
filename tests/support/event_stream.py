"""A parser of event streams, step by step as WHATWG HTML § 9.2.6 has it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

BYTE_ORDER_MARK = "\ufeff"
LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True)
class Event:
    """What a page's listener is given."""

    data: str
    type: str = "message"
    last_event_id: str = ""


DONE = Event("[DONE]", "done")


class Parser:
    """Interprets one stream, in pieces of any size; an event without its blank line is dropped."""

    def __init__(self) -> None:
        self.comments: list[str] = []
        self.reconnection_time: int | None = None
        self._unread = b""
        self._is_start = True
        self._data = ""
        self._type = ""
        self._id = ""

    @property
    def is_torn(self) -> bool:
        """Whether what came so far ends within an event."""
        return bool(self._unread or self._data or self._type)

    def feed(self, body: bytes) -> list[Event]:
        """Take bytes, and give the events that they complete."""
        self._unread += body
        return [event for line in self._lines() for event in self._interpret(line)]

    def _lines(self) -> Iterator[str]:
        # Both line ends are ASCII, and a CR may yet become a CRLF: it is kept until more comes.
        while match := re.search(rb"\r\n|\n|\r(?!\Z)", self._unread):
            line = self._unread[: match.start()].decode("utf-8", "replace")
            self._unread = self._unread[match.end() :]
            yield line.removeprefix(BYTE_ORDER_MARK) if self._is_start else line
            self._is_start = False

    def _interpret(self, line: str) -> Iterator[Event]:
        if not line:
            yield from self._dispatch()
        elif line.startswith(":"):
            self.comments.append(line[1:])
        else:
            name, _, value = line.partition(":")
            self._process(name, value.removeprefix(" "))

    def _process(self, name: str, value: str) -> None:
        if name == "event":
            self._type = value
        elif name == "data":
            self._data += value + "\n"
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.reconnection_time = int(value)

    def _dispatch(self) -> Iterator[Event]:
        data, event_type = self._data, self._type
        self._data = self._type = ""
        if data:
            yield Event(data.removesuffix("\n"), event_type or "message", self._id)


def parse(body: bytes) -> list[Event]:
    """Give the events of a whole stream."""
    return Parser().feed(body)


def comments(body: bytes) -> list[str]:
    """Give the comments of a whole stream."""
    parser = Parser()
    parser.feed(body)
    return parser.comments


def texts(body: bytes) -> list[str]:
    """Give the tokens of a whole stream that is complete."""
    *tokens, last = parse(body)
    assert last == DONE
    assert {event.type for event in tokens} <= {"message"}
    return [event.data for event in tokens]


def normalized(text: str) -> str:
    """Give a text as a page gets it: with LF for CRLF and for CR."""
    return LINE_END.sub("\n", text)
