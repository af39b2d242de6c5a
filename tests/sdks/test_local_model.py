"""Clients of the model that runs on this machine."""

from typing import Any

from tests.sdks.clients import Running
from tests.sdks.stages import Stage, new_mark
from tests.support.local_model import needs_local_model

pytestmark = needs_local_model

ASK = "Say hello."
#: It goes on for seconds.
LONG = "List 500 names of animals with a description of each."
SAME: dict[str, Any] = {"temperature": 0, "max_tokens": 8}
DISCONNECT = '"cause": "client_disconnect"'


def test_it_answers_the_same_streamed_and_whole(client: Running, local: Stage) -> None:
    whole = client.ask(local, ASK, **SAME).last("end")
    *pieces, end = client.ask(local, ASK, stream=True, **SAME).events()
    assert len(pieces) > 2
    assert end["text"] == whole["text"] != ""
    assert whole["usage"][1] == 8


def test_leaving_ends_it_in_mid_stream(client: Running, local: Stage) -> None:
    mark = new_mark()
    before = len(local.model.seen(DISCONNECT))
    run = client.ask(local, f"{LONG} {mark}", stream=True, temperature=0)
    run.until("text")
    client.abort()
    local.model.wait_for(DISCONNECT, nth=before + 1)
    run.last("aborted")
    # There is one place for an answer, so the next one shows that it is free.
    later = new_mark()
    client.ask(local, f"{ASK} {later}", **SAME).last("end")
    frames = local.frames(mark, before=later)
    assert [frame["event"] for frame in frames] == ["asked", "reset"]
