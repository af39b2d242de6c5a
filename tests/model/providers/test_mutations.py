"""Recorded answers, damaged at random: what a provider's library gives as text, a backend gives.

Each damaged answer is read by the backend and by the library. The library may fail where the
backend goes on, and the backend may say that an answer without an end was cut short. Nothing else
differs.
"""

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from random import Random
from typing import Any, cast

import anthropic
import httpx  # noqa: ASYNC127 - the ollama library makes its requests with it
import httpx2
import ollama
import openai
import pytest
from grpclib.const import Status

from relay_model.backends.protocol import Backend
from relay_model.backends.providers import anthropic as anthropic_backend
from relay_model.backends.providers import ollama as ollama_backend
from relay_model.backends.providers import openai as openai_backend
from relay_model.backends.providers import provider
from relay_model.backends.providers.http_client import client_options
from relay_model.backends.registry import open_backend
from relay_model.conversation import Conversation
from relay_model.errors import BackendError
from tests.support.answers import PROMPT
from tests.support.provider_backend import settings_for
from tests.support.provider_wires import ANTHROPIC, OLLAMA, OPENAI, Wire

pytestmark = pytest.mark.trio

SEEDS = 400
WORDS = ("Once ", "upon ", "\U0001f680 ", "a\u2028b\u0085c", "time.")
#: What a value is replaced by.
ODD: tuple[Any, ...] = (None, "", "odd", 0, 7, True, [], {}, [{"type": "text", "text": "odd"}])


@dataclass(frozen=True)
class Read:
    """What a library makes of an answer."""

    text: str
    ends: bool
    """Whether the answer says that it is complete."""


class UnreadableError(Exception):
    """The library fails, or gives what nobody can show as text."""


# -- damage ----------------------------------------------------------------------------------------

Frame = dict[str, Any]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Give each place of a value: what it is in, and its key there."""
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = list(cast("dict[str, Any]", value).items())
    elif isinstance(value, list):
        items = list(enumerate(value))  # pyright: ignore[reportUnknownArgumentType]
    for key, inner in items:
        yield value, key
        yield from places(inner)


def drop_key(random: Random, frames: list[Frame]) -> None:
    where, key = random.choice([*places(random.choice(frames))] or [({0: 0}, 0)])
    del where[key]


def replace_value(random: Random, frames: list[Frame]) -> None:
    where, key = random.choice([*places(random.choice(frames))] or [({0: 0}, 0)])
    where[key] = copy.deepcopy(random.choice(ODD))


def add_key(random: Random, frames: list[Frame]) -> None:
    frame = random.choice(frames)
    inner = [frame, *(where[key] for where, key in places(frame) if isinstance(where[key], dict))]
    random.choice(inner)[random.choice(("odd", "text", "obfuscation"))] = random.choice(ODD)


def drop_frame(random: Random, frames: list[Frame]) -> None:
    del frames[random.randrange(len(frames))]


def repeat_frame(random: Random, frames: list[Frame]) -> None:
    frames.insert(random.randrange(len(frames) + 1), copy.deepcopy(random.choice(frames)))


def swap_frames(random: Random, frames: list[Frame]) -> None:
    one, other = random.randrange(len(frames)), random.randrange(len(frames))
    frames[one], frames[other] = frames[other], frames[one]


def move_value(random: Random, frames: list[Frame]) -> None:
    """Put a value of one frame where another has one, for example a reason to end."""
    (from_, key), (to, other) = (
        random.choice([*places(random.choice(frames))] or [({0: 0}, 0)]) for _ in range(2)
    )
    to[other] = copy.deepcopy(from_[key])


DAMAGE: tuple[Callable[[Random, list[Frame]], None], ...] = (
    drop_key,
    replace_value,
    add_key,
    drop_frame,
    repeat_frame,
    swap_frames,
    move_value,
)


def frames_of(wire: Wire) -> list[Frame]:
    """Return the JSON of a whole answer."""
    lines = wire.answer(*WORDS).decode().split("\n")
    texts = [line.removeprefix("data: ") for line in lines]
    return [json.loads(text) for text in texts if text.startswith("{")]


def body_of(wire: Wire, frames: list[Frame]) -> bytes:
    """Return the answer as it is sent."""
    if wire is OLLAMA:
        return b"".join(json.dumps(frame).encode() + b"\n" for frame in frames)
    written = (
        (f"event: {frame.get('type', 'odd')}\n" if wire is ANTHROPIC else "")
        + f"data: {json.dumps(frame, ensure_ascii=False)}\n\n"
        for frame in frames
    )
    return ("".join(written) + ("data: [DONE]\n\n" if wire is OPENAI else "")).encode()


def damaged(wire: Wire, seed: int) -> bytes:
    random = Random(seed)  # noqa: S311 - repeats a test, guards nothing
    frames = frames_of(wire)
    for _ in range(random.randint(1, 3)):
        if frames:
            random.choice(DAMAGE)(random, frames)
    return body_of(wire, frames)


# -- the libraries ---------------------------------------------------------------------------------


def _shown(text: object) -> str:
    if not isinstance(text, str):
        raise UnreadableError
    return text


def openais(body: bytes) -> Read:
    def answer(_request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers=OPENAI.headers, content=body)

    text, reasons = "", False
    with (
        openai.OpenAI(
            base_url="http://x", http_client=httpx2.Client(transport=httpx2.MockTransport(answer))
        ) as client,
        client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": PROMPT}], stream=True
        ) as stream,
    ):
        for chunk in stream:
            for choice in (chunk.choices or ())[:1]:
                text += _shown(choice.delta.content or "")
                reasons = reasons or bool(choice.finish_reason)
    return Read(text, reasons)


def anthropics(body: bytes) -> Read:
    def answer(_request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers=ANTHROPIC.headers, content=body)

    with (
        anthropic.Anthropic(
            base_url="http://x", http_client=httpx2.Client(transport=httpx2.MockTransport(answer))
        ) as client,
        client.messages.stream(
            model="m", max_tokens=9, messages=[{"role": "user", "content": PROMPT}]
        ) as stream,
    ):
        ends = False
        for event in stream:
            ends = ends or event.type == "message_stop"
        final = stream.get_final_message()
    return Read("".join(_shown(each.text) for each in final.content if each.type == "text"), ends)


def ollamas(body: bytes) -> Read:
    def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers=OLLAMA.headers, content=body)

    text, ends = "", False
    client: Any = ollama.Client("http://x", transport=httpx.MockTransport(answer))
    for each in client.chat(model="m", messages=[], stream=True):
        text += each.message.content or ""
        ends = ends or bool(each.done)
    return Read(text, ends)


LIBRARIES: dict[str, tuple[Callable[[bytes], Read], Any, Any]] = {
    "openai": (openais, openai_backend, httpx2),
    "anthropic": (anthropics, anthropic_backend, httpx2),
    "ollama": (ollamas, ollama_backend, httpx),
}


def by_library(wire: Wire, body: bytes) -> Read | None:
    """Return what the library makes of an answer; None if it cannot read it."""
    try:
        return LIBRARIES[wire.name][0](body)
    except Exception:  # noqa: BLE001 - a library may fail in any way
        return None


# -- the backend -----------------------------------------------------------------------------------


def without_network(
    wire: Wire, bodies: Iterator[bytes], monkeypatch: pytest.MonkeyPatch
) -> AbstractAsyncContextManager[Backend]:
    """Open a backend whose requests are answered with these bodies, one after the other."""
    _, module, library = LIBRARIES[wire.name]

    def answer(_request: Any) -> Any:
        return library.Response(200, headers=wire.headers, content=next(bodies))

    def options(client: Any, settings: Any) -> dict[str, Any]:
        return {**client_options(client, settings), "transport": client.MockTransport(answer)}

    monkeypatch.setattr(module, "client_options", options)
    return open_backend(settings_for(wire, "http://x"))


@dataclass
class Answered:
    """What the backend makes of an answer."""

    text: str = ""
    failure: BackendError | None = None


async def answered(backend: Backend) -> Answered:
    read = Answered()
    try:
        async with backend.stream(Conversation.of(PROMPT)) as pieces:
            async for piece in pieces:
                read.text += piece if isinstance(piece, str) else ""
            assert pieces.outcome is not None
    except BackendError as error:
        read.failure = error
    return read


def has_lost_text(wire: Wire, theirs: str, ours: str) -> bool:
    """Say whether the library gives less: Anthropic's forgets what it has no place for."""
    left = iter(ours)
    is_part = all(character in left for character in theirs)
    return wire is ANTHROPIC and is_part and len(theirs) < len(ours)


@pytest.fixture(autouse=True)
def _no_trailer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider, "_TRAILER_SECONDS", 0)


async def test_what_the_library_gives_is_given(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = [body_of(wire, frames_of(wire)), *(damaged(wire, seed) for seed in range(SEEDS))]
    whole = failed = 0
    async with without_network(wire, iter(bodies), monkeypatch) as backend:
        for seed, body in enumerate(bodies):
            ours, theirs = await answered(backend), by_library(wire, body)
            seen = (seed - 1, ours, theirs, body)
            if theirs is None:
                failed += 1
            elif has_lost_text(wire, theirs.text, ours.text):
                continue
            elif theirs.ends:
                whole += 1
                assert (ours.failure, ours.text) == (None, theirs.text), seen
            else:
                assert ours.failure is not None, seen
                assert ours.failure.status is Status.UNAVAILABLE, seen
    assert whole > SEEDS / 4
    assert failed < SEEDS / 2
