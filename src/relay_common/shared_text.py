"""What a model or a provider wrote, without what it shares with the prompt: prompts are not logged.

For example, a provider that quotes what it does not understand::

    without_prompt('unknown field "my secret is 42"', request)     # 'unknown field "…"'

A run of eight letters or digits that the prompt has too is withheld. Spaces, quotes and capitals do
not count. The message is also read as JSON, Python, URLs and HTML escape text, and as such text
that was escaped again. A shorter text of the prompt is withheld where it is whole words.
"""

import base64
import dataclasses
import html
import json
import re
import sys
from collections import defaultdict, deque
from traceback import format_tb
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, cast
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["Asked", "prompt_texts", "traceback_without_prompt", "without_prompt", "without_shared"]

_LONGEST_MESSAGE = 1000
"""Characters of a message that are logged. They bound the work as well."""

_RUN = 8
"""Bytes of a shared run. It is one machine word, so that a prompt is searched by words."""

_MAX_READINGS = 16
_MAX_EXCEPTIONS = 8
_WITHHELD = "…"

_IGNORED = bytes(byte for byte in range(128) if not chr(byte).isalnum())

_Span: TypeAlias = tuple[int, int]
"""A part of the message, by the indexes of its characters."""
_Letter: TypeAlias = tuple[str, int, int]
"""A character of a reading, and the part of the message that it comes from."""
KeyT = TypeVar("KeyT")
_Found: TypeAlias = "defaultdict[KeyT, list[_Span]]"
"""Where something stands in the message."""


class Asked(Protocol):
    """A request of the contract, or a conversation: what has the texts of a prompt."""

    @property
    def prompt(self) -> str:
        """What one user says."""
        ...

    @property
    def messages(self) -> Any:
        """What is said instead, with all parts."""
        ...

    @property
    def tools(self) -> Any:
        """What the model may call."""
        ...

    @property
    def response_format(self) -> Any:
        """What the answer looks like."""
        ...

    @property
    def parameters(self) -> Any:
        """How the model answers."""
        ...


def without_prompt(message: str, asked: Asked) -> str:
    """Return a message for the log, without what it shares with the prompt."""
    return without_shared(message, prompt_texts(asked))


def traceback_without_prompt(error: BaseException, asked: Asked) -> str:
    """Return a traceback for the log: of its exceptions' messages, what is not the prompt's."""
    texts = list(prompt_texts(asked))
    parts = [_explain(each, texts) for each in _chain(error)]
    return "\n\n".join(reversed(parts))


def _explain(error: BaseException, texts: "list[str]") -> str:
    message = without_shared(_message_of(error), texts)
    where = "".join(format_tb(error.__traceback__))
    return f"Traceback (most recent call last):\n{where}{type(error).__qualname__}: {message}"


def _message_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a backend's class, with whatever __str__ it has
        return "(it has no message)"


def _chain(error: BaseException | None) -> "Iterator[BaseException]":
    """Give an exception and those that it comes from, the last first."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting and len(seen) < _MAX_EXCEPTIONS:
        error = waiting.pop()
        if error is None or error in seen:
            continue
        seen.append(error)
        yield error
        if isinstance(error, BaseExceptionGroup):
            waiting.extend(cast("BaseExceptionGroup[BaseException]", error).exceptions)
        waiting.append(
            error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        )


def prompt_texts(asked: Asked) -> "Iterator[str]":
    """Give all that its author wrote: every text at any depth, and images in base64."""
    waiting: list[Any] = [
        asked.parameters,
        asked.response_format,
        asked.tools,
        asked.messages,
        asked.prompt,
    ]
    while waiting:  # not recursive, because a JSON schema may be deep
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, bytes):
            yield base64.b64encode(value).decode()
        else:
            waiting.extend(reversed(_inside(value)))


def _inside(value: Any) -> "list[Any]":
    if isinstance(value, dict):
        return [*cast("dict[str, Any]", value).keys(), *cast("dict[str, Any]", value).values()]
    if isinstance(value, list | tuple):
        return list(cast("list[Any]", value))
    if dataclasses.is_dataclass(value):
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    return []


def without_shared(message: str, texts: "Iterable[str]") -> str:
    """Return the beginning of a message, with ``…`` for each part that some text has too.

    What is left of it has no eight bytes in a row of any text. Of ASCII, only letters and digits
    count as bytes here. The time is linear in the texts: about 30 ms for a MiB.
    """
    if len(message) > _LONGEST_MESSAGE:
        message = message[:_LONGEST_MESSAGE] + _WITHHELD
    runs: _Found[int] = defaultdict(list)
    words: _Found[bytes] = defaultdict(list)
    for letters in _readings(message):
        _index(letters, runs, words)
    folded = [_fold(text) for text in texts] if words or runs else []
    spans = [span for run in _in_common(b"".join(folded), runs) for span in runs[run]]
    spans += [span for word in words.keys() & set(folded) for span in words[word]]
    return _withhold(message, spans)


def _withhold(message: str, spans: "list[_Span]") -> str:
    """Replace parts of a message; parts that touch become one."""
    kept: list[str] = []
    end = 0
    for start, stop in sorted(spans):
        if start > end or not kept:
            kept += [message[end:start], _WITHHELD]
        end = max(end, stop)
    return "".join([*kept, message[end:]])


# -- what is compared ------------------------------------------------------------------------------


def _fold(text: str) -> bytes:
    return text.casefold().encode("utf-8", "surrogatepass").translate(None, _IGNORED)


def _index(letters: "list[_Letter]", runs: "_Found[int]", words: "_Found[bytes]") -> None:
    """Add the runs of a reading, and its words that are shorter than a run."""
    folded = bytearray()
    spans: list[_Span] = []
    edges: set[int] = {0}
    for letter, start, stop in letters:
        counted = _fold(letter)
        folded += counted
        spans += [(start, stop)] * len(counted)
        if not counted:
            edges.add(len(folded))
    edges.add(len(folded))
    for start in range(len(folded)):
        for stop in range(start + 1, min(start + _RUN, len(folded) + 1)):
            if start in edges and stop in edges:
                words[bytes(folded[start:stop])].append((spans[start][0], spans[stop - 1][1]))
        if start + _RUN <= len(folded):
            run = int.from_bytes(folded[start : start + _RUN], sys.byteorder)
            runs[run].append((spans[start][0], spans[start + _RUN - 1][1]))


def _in_common(folded: bytes, runs: "_Found[int]") -> "Iterator[int]":
    """Give the runs that stand anywhere in the texts."""
    wanted = set(runs)
    for offset in range(_RUN):
        end = offset + (len(folded) - offset) // _RUN * _RUN
        if end > offset:
            # No loop of Python's goes over the words of a prompt.
            yield from wanted.intersection(memoryview(folded)[offset:end].cast("Q"))


# -- how a message may spell the prompt ------------------------------------------------------------

_BACKSLASH = re.compile(
    r"(?:\\u[0-9a-fA-F]{4})+|\\U[0-9a-fA-F]{8}|\\x[0-9a-fA-F]{2}|\\.", re.DOTALL
)
_BYTES = re.compile(r"(?:\\x[0-9a-fA-F]{2}|\\[0-3][0-7]{2})+")
_PERCENT = re.compile(r"(?:%[0-9a-f]{2})+", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z]{2,8});", re.IGNORECASE)


def _unescaped(escape: str) -> str:
    """Read an escape of JSON or Python. Letters such as the ``n`` of a new line stand for none."""
    kind, code = escape[1], escape[2:]
    if not code:
        return " " if kind in "abfnrtv" else kind
    if kind == "u":
        return cast("str", json.loads(f'"{escape}"'))  # two of them may be one character
    number = int(code, 16)
    return chr(number) if number <= sys.maxunicode else ""


def _bytes_unescaped(escapes: str) -> str:
    numbers = re.findall(r"\\(?:x(..)|(...))", escapes, re.IGNORECASE)
    return bytes(int(hexa or octal, 16 if hexa else 8) for hexa, octal in numbers).decode(
        errors="replace"
    )


_SPELLINGS: "list[tuple[re.Pattern[str], Callable[[str], str]]]" = [
    (_BACKSLASH, _unescaped),
    (_PERCENT, unquote),
    (_ENTITY, html.unescape),
    (_BYTES, _bytes_unescaped),
]


def _readings(message: str) -> "Iterable[list[_Letter]]":
    """Return the message as it is, and read by each spelling, and again, the simplest first."""
    plain = [(letter, index, index + 1) for index, letter in enumerate(message)]
    readings = {message: plain}
    waiting = deque([message])
    while waiting and len(readings) < _MAX_READINGS:
        text = waiting.popleft()
        for pattern, read in _SPELLINGS:
            letters = list(_read(text, readings[text], pattern, read))
            other = "".join(letter for letter, _, _ in letters)
            if other not in readings:
                readings[other] = letters
                waiting.append(other)
    return readings.values()


def _read(
    text: str, letters: "list[_Letter]", pattern: "re.Pattern[str]", read: "Callable[[str], str]"
) -> "Iterator[_Letter]":
    end = 0
    for match in pattern.finditer(text):
        yield from letters[end : match.start()]
        end = match.end()
        start, stop = letters[match.start()][1], letters[end - 1][2]
        yield from ((letter, start, stop) for letter in read(match[0]))
    yield from letters[end:]
