"""Of what a model wrote, nothing is logged that the prompt has too, however it is spelled."""

import html
import json
import string
import time
from collections.abc import Callable
from importlib import import_module
from itertools import pairwise
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay_common.shared_text import (
    prompt_texts,
    traceback_without_prompt,
    without_prompt,
    without_shared,
)
from relay_model.conversation import read_conversation
from relay_proto.ai import GenerateRequest

# For type checkers, the members of betterproto's enums are plain numbers.
ai: Any = import_module("relay_proto.ai")

RUN = 8
PROMPT = 'my secret is "4711"\nand élan, 日本語の文章 \\n %41 &amp; C:\\new 😀😀😀'


def as_json(text: str) -> str:
    return json.dumps(text)


SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "JSON": as_json,
    "JSON in UTF-8": lambda text: json.dumps(text, ensure_ascii=False),
    "JSON in JSON": lambda text: as_json(as_json(text)),
    "repr": repr,
    "ascii": ascii,
    "bytes": lambda text: repr(text.encode()),
    "percent": quote,
    "form": quote_plus,
    "JSON in a URL": lambda text: quote(as_json(text)),
    "HTML": html.escape,
    "upper case": str.upper,
    "other spaces": lambda text: text.replace(" ", "\t \n"),
    "spaced": " ".join,
}


def counted(text: str) -> str:
    """Return what is compared of a text: all but ASCII's spaces and punctuation."""
    return "".join(c for c in text.casefold() if ord(c) > 127 or c.isalnum())


def runs(text: str) -> set[str]:
    return {text[i : i + RUN] for i in range(len(text) - RUN + 1)}


def assert_nothing_shared(logged: str, prompt: str) -> None:
    """No eight letters or digits of the prompt, in any piece that was left."""
    for piece in logged.split("…"):
        assert not runs(counted(piece)) & runs(counted(prompt)), logged


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
def test_quoted_prompt_is_withheld_however_it_is_spelled(spell: Callable[[str], str]) -> None:
    logged = without_shared(f"HTTP 400: unknown field <{spell(PROMPT)}> in body", [PROMPT])
    assert logged.startswith("HTTP 400: unknown field <")
    assert logged.endswith("> in body")
    assert not set(counted(logged)) & set("7é日😀")


TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)


@settings(max_examples=200)
@given(TEXTS, TEXTS, TEXTS)
def test_no_eight_of_a_prompt_are_left_of_any_message(before: str, prompt: str, after: str) -> None:
    """Whatever stands around it: this is what the function promises, not only for quotes."""
    assert_nothing_shared(without_shared(f"{before}{prompt}{after}", [prompt]), prompt)


WORDS = st.lists(
    st.text(string.ascii_letters + "é日\U0001f600", min_size=1, max_size=9), min_size=1, max_size=9
)
EDGES = st.text(" '\"\n\t,:", min_size=1, max_size=3)


@settings(max_examples=50)
@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
@given(WORDS, EDGES)
def test_words_in_every_spelling(spell: Callable[[str], str], words: list[str], edge: str) -> None:
    """Nothing is left of the prompt where its spelling stood."""
    prompt = edge.join(words)
    logged = without_shared(f"<{spell(prompt)}>", [prompt])
    if len(counted(prompt)) >= RUN:
        # What is left may be the quotes, a prefix of Python's, or an escaped end of a line.
        assert not counted(logged.replace("…", "")).strip("bnt2"), logged


@settings(max_examples=50)
@given(st.text(string.ascii_lowercase + " ", min_size=40, max_size=200), st.data())
def test_pieces_of_a_prompt(prompt: str, data: st.DataObject) -> None:
    cuts = sorted({0, len(prompt), *data.draw(st.lists(st.integers(0, len(prompt)), max_size=4))})
    pieces = [prompt[start:end] for start, end in pairwise(cuts)]
    for spell in (str, as_json, quote):
        message = " | ".join(f"part {spell(piece)}" for piece in data.draw(st.permutations(pieces)))
        assert_nothing_shared(without_shared(message, [prompt]), prompt)


@pytest.mark.parametrize("start", range(16))
def test_eight_letters_are_found_wherever_they_stand(start: int) -> None:
    prompt = "0123456789abcdefghijklmnopqrstuvwxyz"
    assert without_shared(f"<{prompt[start : start + RUN]}>", [prompt]) == "<…>"
    assert without_shared(f"<{prompt[start : start + RUN - 1]}>", [prompt]).count("…") == 0


@pytest.mark.parametrize("length", range(950, 1010))
def test_quote_that_is_cut_off(length: int) -> None:
    logged = without_shared("x" * length + as_json(PROMPT), [PROMPT])
    assert_nothing_shared(logged, PROMPT)
    assert len(counted(logged.strip("x…"))) < RUN


def test_short_text_is_withheld_where_it_is_whole_words() -> None:
    message = "hunter2: no 'hi', hunter2! or HUNTER2, hunter22, shunter2, this"
    assert without_shared(message, ["hi", "zz", "hunter2"]) == (
        "…: no '…', …! or …, hunter22, shunter2, this"
    )
    assert without_shared("the PIN 47-11 is wrong", ["47 11"]) == "the PIN … is wrong"


@pytest.mark.parametrize("texts", [[], [""], ["!?" * 99], ["overload"[:7]], ["other words" * 99]])
def test_what_is_not_shared_stays(texts: list[str]) -> None:
    message = "HTTP 529: overloaded_error (request req_011CSHoEeqs5C35K2UUqR7Fy), élan \\u00e9 %20"
    assert without_shared(message, texts) == message
    assert without_shared("", texts) == ""


def test_long_message_is_cut() -> None:
    assert without_shared("x" * 10_000, []) == "x" * 1000 + "…"


def test_quote_across_texts_is_withheld() -> None:
    assert without_shared("<abcd efgh>", ["abcd", "efgh"]) == "<…>"


CONVERSATION = GenerateRequest(
    session_id="session id is logged",
    messages=[
        ai.Message(ai.Role.SYSTEM, [ai.Part(text="system words")]),
        ai.Message(
            ai.Role.USER,
            [
                ai.Part(text="user words"),
                ai.Part(image=ai.Image(data=b"image bytes!", media_type="image/png")),
                ai.Part(image=ai.Image(uri="https://example.org/private")),
            ],
            name="Ada Lovelace",
        ),
        ai.Message(
            ai.Role.ASSISTANT,
            [
                ai.Part(reasoning="thought words"),
                ai.Part(tool_call=ai.ToolCall("call-1234", "look_it_up", '{"who": "argument"}')),
            ],
        ),
        ai.Message(ai.Role.TOOL, [ai.Part(text="result words")], tool_call_id="call-1234"),
    ],
    tools=[ai.Tool("look_it_up", "tool description", '{"title": "schema words"}')],
    parameters=ai.Parameters(stop=["stop words"], reasoning_effort="unheard of"),
    response_format=ai.ResponseFormat(
        ai.ResponseFormatType.JSON_SCHEMA, '{"title": "answer schema"}'
    ),
)
WRITTEN = [
    "system words",
    "user words",
    "aW1hZ2UgYnl0ZXMh",
    "https://example.org/private",
    "Ada Lovelace",
    "thought words",
    'who": "argument',
    "call-1234",
    "look_it_up",
    "result words",
    "tool description",
    "schema words",
    "stop words",
    "unheard of",
    "answer schema",
]


@pytest.mark.parametrize("written", WRITTEN)
def test_every_text_of_a_conversation_is_the_prompt(written: str) -> None:
    for asked in (CONVERSATION, read_conversation(CONVERSATION)):
        assert without_prompt(f"value 99 <{written}>", asked) == "value 99 <…>"
        assert without_prompt("bad <session id is logged>", asked) == "bad <session id is logged>"


def test_deep_schema_is_no_recursion() -> None:
    schema: dict[str, object] = {"a": {}}
    for _ in range(100_000):
        schema = {"a": schema}
    conversation = read_conversation(CONVERSATION)
    tools = (conversation.tools[0]._replace(parameters=schema),)
    assert "a" in list(prompt_texts(conversation._replace(tools=tools)))


def raised(message: str) -> Exception:
    """Return an error that comes from another in each of three ways, all with the message."""
    try:
        try:
            try:
                raise KeyError(message)  # noqa: TRY301 - a traceback is wanted
            except KeyError as error:
                raise ExceptionGroup(message, [ValueError(message)]) from error
        except ExceptionGroup:
            raise RuntimeError(message)  # noqa: B904 - so that it has a context
    except RuntimeError as error:
        return error


def test_traceback_has_types_and_places_but_no_prompt() -> None:
    request = GenerateRequest(prompt=PROMPT)
    logged = traceback_without_prompt(raised(f"cannot read {PROMPT!r}"), request)
    assert not set(counted(logged)) & set("é日😀")
    for kind in ("KeyError", "ExceptionGroup", "ValueError", "RuntimeError"):
        assert f"\n{kind}: " in logged
    assert "in raised\n" in logged
    assert "cannot read" in logged


class WithoutMessageError(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


def test_error_without_a_message_is_logged() -> None:
    logged = traceback_without_prompt(WithoutMessageError(), GenerateRequest(prompt="x"))
    assert logged.endswith("WithoutMessageError: (it has no message)")


def test_circle_of_causes_ends() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    logged = traceback_without_prompt(one, GenerateRequest(prompt="x"))
    assert logged.count("ValueError") == 2


def test_worst_message_and_longest_prompt_hold_the_loop_only_briefly() -> None:
    """24 ms on the machine that this was written on; a loop in Python would take a second."""
    message = (as_json("é\n\\") + "%C3%A9%2525&amp;amp;" + repr(b"\xff")) * 40
    started = time.process_time()
    without_shared(message, ["x y" * (2**20 // 3)])
    assert time.process_time() - started < 0.25
