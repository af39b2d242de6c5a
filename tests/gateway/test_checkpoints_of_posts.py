"""A POST that is ended at each of its checkpoints: held, a streamed chat, and a whole one.

As ``test_checkpoints`` does it for a GET, at the ASGI boundary. The list of models as well, which
several callers wait for.
"""

from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from harness.clock import jump, on_mock_clock
from harness.every_checkpoint import AtEachCheckpoint, Checkpoint, settled
from harness.leaks.tasks import all_tasks
from relay_gateway.relay.outcome import Cause
from relay_proto.ai import ListModelsRequest, ListModelsResponse
from relay_proto.ai import Model as ModelOfService
from tests.cancellation.forms import CHAT, CHAT_WHOLE, POST, Form, pieces_of
from tests.gateway.test_checkpoints import ENDS, Asked, End
from tests.support.asgi import Client, Exchange
from tests.support.event_stream import parse
from tests.support.gateways import gateway_to
from tests.support.models import Model, Wire
from tests.support.scripts import DEADLINE, PHASES, WHOLE, Script

pytestmark = pytest.mark.trio(run=on_mock_clock)

FORMS = {form.name: form for form in (POST, CHAT, CHAT_WHOLE)}
MODELS = "/v1/models"
#: Of the model's failures, by cause: what a response may say that became an error.
STATUSES = {
    Cause.DEADLINE: HTTPStatus.GATEWAY_TIMEOUT,
    Cause.MODEL_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
}


def exchange_of(form: Form) -> Exchange:
    method, target, body = form.request("s")
    return Exchange(target, method=method, body=body)


def check_response(exchange: Exchange, form: Form, script: Script, causes: list[Cause]) -> None:
    """See that what came is a prefix of the answer and at most one end, which fits the cause."""
    is_stream = dict(exchange.headers).get("content-type") == "text/event-stream"
    whole = b"" if is_stream else exchange.body  # which comes in one piece, before its end
    pieces = pieces_of(parse(exchange.body) if is_stream else [], whole)
    said = "".join(text for kind, text in pieces if kind == "token")
    assert "".join(script.tokens).startswith(said)
    errors = [text for kind, text in pieces if kind == "error"]
    is_done = any(kind in {"done", "finish"} for kind, _ in pieces)
    assert not (errors and is_done)
    assert len(errors) <= 1
    if is_done and (whole or pieces[-1][0] == "done"):
        assert said == "".join(script.tokens)
        assert set(causes) <= {Cause.DONE, Cause.CLIENT_DISCONNECT, Cause.SHUTDOWN}
    if errors:
        assert not form.is_streamed or is_stream or not said
        # Said to a client that leaves at that moment, or is cut off, it is not the cause.
        assert set(causes) <= {*STATUSES, Cause.CLIENT_DISCONNECT, Cause.SHUTDOWN}
    if exchange.status not in {0, HTTPStatus.OK}:
        assert exchange.status in STATUSES.values()
    if Cause.DONE in causes:
        assert is_done


async def _post_is_ended(
    script: Script, client: Client, form: Form, end: End, point: Checkpoint
) -> None:
    tasks = len(all_tasks())
    script.begin()
    asked = Asked(client)
    asked.exchange = exchange_of(form)
    with point.watched(lambda: end[0](asked, script)):
        await asked.run()
    await settled()
    script.check()
    # Cancelled before it has been read, it is no request for an answer yet.
    assert len(asked.causes) == 1 or (not asked.causes and not asked.exchange.status)
    assert set(asked.causes) <= {end[1], Cause.DONE, Cause.DEADLINE}
    check_response(asked.exchange, form, script, asked.causes)
    again = exchange_of(form)
    await client.run(again)
    if form.is_streamed:
        assert ("token", *WHOLE) in pieces_of(again.events, b"")
    else:
        assert pieces_of([], again.body) == [("token", *WHOLE), ("finish", "stop")]
    await settled()
    assert len(all_tasks()) == tasks


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("phase", ["thinking", "mid-stream", "past the deadline", "done"])
@pytest.mark.parametrize("form", FORMS)
async def test_post_is_ended(
    form: str, phase: str, end: str, at_each_checkpoint: AtEachCheckpoint
) -> None:
    """The hold is over in the midst of thinking, and the first token comes later."""
    script = Script(PHASES[phase])
    settings: dict[str, Any] = {
        "deadline_seconds": DEADLINE,
        "heartbeat_seconds": 0.75,
        "hold_seconds": 0.5,
    }
    async with gateway_to(script.model, script.wire, **settings) as client:
        await client.run(exchange_of(FORMS[form]))
        await settled()
        scenario = partial(_post_is_ended, script, client, FORMS[form], ENDS[end])
        await at_each_checkpoint(f"{form} ended, at the ASGI boundary", scenario)


# -- the list of models ----------------------------------------------------------------------------


class SlowLister(Model):
    """Takes a second to list its models."""

    def __init__(self) -> None:
        super().__init__(["x"])
        self.listing = 0

    async def list_models(self, list_models_request: ListModelsRequest) -> ListModelsResponse:
        del list_models_request
        self.listing += 1
        try:
            await trio.sleep(1.0)
        finally:
            self.listing -= 1
        return ListModelsResponse([ModelOfService("a")])


def leaves(exchange: Exchange, _: trio.CancelScope, __: Wire) -> None:
    exchange.leave()


def is_cancelled(_: Exchange, scope: trio.CancelScope, __: Wire) -> None:
    scope.cancel()


def loses_the_model(_: Exchange, __: trio.CancelScope, wire: Wire) -> None:
    for connection in wire.connections:
        stream: Any = connection.stream
        stream.reset()


def takes_too_long(_: Exchange, __: trio.CancelScope, ___: Wire) -> None:
    jump(5.0)


@pytest.mark.parametrize("end", [leaves, is_cancelled, loses_the_model, takes_too_long])
async def test_list_of_models_is_ended(
    end: Callable[[Exchange, trio.CancelScope, Wire], None], at_each_checkpoint: AtEachCheckpoint
) -> None:
    """Another caller waits for the same list: it gets it, unless it is its own end as well."""
    model, wire = SlowLister(), Wire()
    chat = CHAT_WHOLE.with_more()

    async def scenario(point: Checkpoint) -> None:
        await trio.sleep(11.0)  # what is known has to be asked again
        tasks = len(all_tasks())
        first, second, scope = Exchange(MODELS), exchange_of(chat), trio.CancelScope()

        async def ask_first() -> None:
            with scope:
                await client.run(first)

        with point.watched(lambda: end(first, scope, wire)), capture_logs() as logs:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask_first)
                nursery.start_soon(client.run, second)
        await settled()
        assert {line["log_level"] for line in logs} <= {"info"}
        assert model.listing == 0
        failed = {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
        assert first.status in {0, HTTPStatus.OK, *failed}
        is_shared = end in {loses_the_model, takes_too_long}
        assert second.status == HTTPStatus.OK or (is_shared and second.status in failed)
        await trio.sleep(11.0)
        assert (await client.send(MODELS)).status == HTTPStatus.OK
        await settled()
        assert len(all_tasks()) == tasks

    async with gateway_to(model, wire) as client:
        await client.send(MODELS)
        await settled()
        await at_each_checkpoint("list of models ended", scenario)
