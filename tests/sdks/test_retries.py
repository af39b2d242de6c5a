"""What libraries repeat by themselves, and what they do not."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from tests.sdks.clients import Run, Running
from tests.sdks.node_libraries import NotInstalledError
from tests.sdks.stages import Stage, new_mark


@dataclass(frozen=True)
class Repeated:
    """What was asked of a client with the library's own number of retries."""

    prompt: str
    run: Run


@pytest.fixture(scope="module")
def repeated(
    programs: Mapping[str, Running | NotInstalledError], scripted: Stage
) -> Mapping[tuple[str, str], Repeated]:
    """Ask all clients at the same time, because they pause for seconds."""
    asked: dict[tuple[str, str], Repeated] = {}
    for name, program in programs.items():
        if isinstance(program, Running) and program.client.repeats:
            for word in ("busy-once", "away-once", "broken"):
                prompt = f"{word} {new_mark()}"
                run = program.ask(scripted, prompt, retries=None)
                asked[name, word] = Repeated(prompt, run)
    return asked


def of(client: Running, word: str, repeated: Mapping[tuple[str, str], Repeated]) -> Repeated:
    if not client.client.repeats:
        pytest.skip("it never repeats a request")
    return repeated[client.client.id, word]


@pytest.mark.parametrize(("word", "text"), [("busy-once", "now free"), ("away-once", "back again")])
def test_what_has_cost_nothing_is_asked_again(
    client: Running,
    scripted: Stage,
    repeated: Mapping[tuple[str, str], Repeated],
    word: str,
    text: str,
) -> None:
    asked = of(client, word, repeated)
    assert asked.run.last("end")["text"] == text
    first, second = scripted.reported("asked", asked.prompt)
    # As the response says; the model names half a second, and HTTP has no fractions.
    assert second["at"] - first["at"] >= 1.0


def test_what_would_be_paid_for_twice_is_not_asked_again(
    client: Running, scripted: Stage, repeated: Mapping[tuple[str, str], Repeated]
) -> None:
    asked = of(client, "broken", repeated)
    assert asked.run.last("failed")["status"] == 502
    times = len(scripted.reported("asked", asked.prompt))
    assert (times == 1) is client.client.heeds_should_retry
