"""Clients that leave: each way ends the model before its next token."""

import pytest

from tests.sdks.clients import Running
from tests.sdks.stages import Stage, new_mark

DISCONNECT = '"cause": "client_disconnect"'


@pytest.mark.parametrize(
    ("word", "stream", "pieces"),
    [
        pytest.param("mid-stream", True, 2, id="in mid-stream"),
        pytest.param("thinking", True, 0, id="while it thinks"),
        pytest.param("thinking", False, 0, id="while it thinks, not streamed"),
        pytest.param("mid-stream", False, 2, id="while it answers, not streamed"),
    ],
)
def test_leaving_ends_the_model_before_its_next_token(
    client: Running, scripted: Stage, word: str, pieces: int, *, stream: bool
) -> None:
    mark = new_mark()
    prompt = f"{word} {mark}"
    before = len(scripted.model.seen(DISCONNECT))
    run = client.ask(scripted, prompt, stream=stream)
    scripted.until("waits", prompt)
    if stream and pieces:
        run.until_text("two ")
    client.abort()
    ended = scripted.until("ended", prompt)
    assert (ended["outcome"], ended["pieces"]) == ("cancelled", pieces)
    assert run.last("aborted")
    scripted.model.wait_for(DISCONNECT, nth=before + 1)
    later = new_mark()
    assert client.ask(scripted, later).last("end")["text"] == later
    assert scripted.frames(mark, before=later) == [
        {"event": "asked", "mark": mark},
        {"event": "reset", "mark": mark, "code": 8},
    ]
