"""The service as a caller sees it, over the real transport, and what the log says of each call."""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

import math
from collections.abc import AsyncGenerator, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import structlog
import trio
from google.rpc.error_details_pb2 import RetryInfo
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from trio.testing import MockClock

from grpclib_anyio.client import Channel
from grpclib_anyio.server import Server
from grpclib_anyio.testing import ChannelFor
from relay_model.admission import Admission
from relay_model.conversation import Conversation
from relay_model.errors import BackendError
from relay_model.outcome import FinishReason, Outcome, Usage
from relay_model.pieces import Reasoning, Refusal, ToolCallDelta
from relay_model.service import AiService
from relay_proto import ai as proto
from relay_proto.ai import AiServiceStub, GenerateRequest, GenerateResponse
from tests.support.scripted_backend import ScriptedBackend

PROMPT = "a secret"
FOREVER = math.inf


@asynccontextmanager
async def served(
    backend: ScriptedBackend, admission: Admission | None = None
) -> AsyncGenerator[AiServiceStub, None]:
    """Give a stub whose calls the backend answers."""
    async with anyio.create_task_group() as tasks:
        server = Server([AiService(backend, admission)])
        ((host, port),) = await tasks.start(server.serve, "127.0.0.1", 0)
        async with Channel(host, port) as channel:
            yield AiServiceStub(channel)
        tasks.cancel_scope.cancel()


async def ask(stub: AiServiceStub, prompt: str = PROMPT, **options: Any) -> list[tuple[str, bool]]:
    """Give the token and the mark of each message."""
    request = GenerateRequest(prompt=prompt, session_id="s")
    return [(message.token, message.done) async for message in stub.generate(request, **options)]


async def refusal(stub: AiServiceStub, prompt: str = PROMPT) -> tuple[Status, str | None]:
    with pytest.raises(GRPCError) as raised:
        await ask(stub, prompt)
    return raised.value.status, raised.value.message


async def until(condition: Callable[[], bool]) -> None:
    """Let the others run until something has happened that says nothing when it does."""
    with anyio.fail_after(5):
        await anyio.lowlevel.checkpoint()
        while not condition():  # noqa: ASYNC110 - the condition has no event
            await anyio.lowlevel.checkpoint()


def ended(log: list[MutableMapping[str, Any]]) -> MutableMapping[str, Any]:
    """Give the one line that says how a request ended."""
    (line,) = [event for event in log if event["event"] == "request ended"]
    assert PROMPT not in str(line)
    return line


@pytest.mark.anyio
async def test_text_is_sent_piece_by_piece_and_then_done() -> None:
    backend = ScriptedBackend("a ", "", "\n\nevent: done", "\U0001f469\u200d\U0001f680")
    async with served(backend) as stub:
        assert await ask(stub) == [
            ("a ", False),
            ("", False),
            ("\n\nevent: done", False),
            ("\U0001f469\u200d\U0001f680", False),
            ("", True),
        ]
    assert backend.conversations == [Conversation.of(PROMPT, session_id="s")]


@pytest.mark.anyio
async def test_the_last_message_says_how_the_answer_ended() -> None:
    outcome = Outcome(FinishReason.LENGTH, Usage(prompt_tokens=7, completion_tokens=2))
    async with served(ScriptedBackend("a", "b", outcome=outcome)) as stub:
        messages = [m async for m in stub.generate(GenerateRequest(prompt=PROMPT))]
    assert messages == [
        GenerateResponse("a"),
        GenerateResponse("b"),
        GenerateResponse(
            done=True,
            finish_reason=proto.FinishReason.try_value(FinishReason.LENGTH),
            usage=proto.Usage(prompt_tokens=7, completion_tokens=2),
        ),
    ]


@pytest.mark.anyio
async def test_what_is_not_known_of_the_end_is_not_sent() -> None:
    async with AiService(ScriptedBackend()).generate(GenerateRequest(prompt=PROMPT)) as answer:
        (message,) = [message async for message in answer]
    assert bytes(message) == bytes(GenerateResponse(done=True))


@pytest.mark.anyio
async def test_what_is_no_text_has_fields_of_its_own() -> None:
    backend = ScriptedBackend(
        Reasoning("Hm."), ToolCallDelta(1, "a", "time", "{}"), Refusal("No."), "x"
    )
    async with AiService(backend).generate(GenerateRequest(prompt=PROMPT)) as answer:
        messages = [message async for message in answer]
    assert messages[:-1] == [
        GenerateResponse(reasoning="Hm."),
        GenerateResponse(tool_call=proto.ToolCallDelta(1, "a", "time", "{}")),
        GenerateResponse(refusal="No."),
        GenerateResponse(token="x"),
    ]


@pytest.mark.anyio
async def test_models_are_listed_and_others_are_not_found() -> None:
    backend = ScriptedBackend("x")
    service = AiService(backend, Admission(max_concurrent=3))
    listed = await service.list_models(proto.ListModelsRequest())
    assert [model.id for model in listed.models] == ["scripted"]
    assert listed.max_concurrent == 3
    for name in ("", "scripted"):
        await messages_of(service, GenerateRequest(prompt=PROMPT, model=name))
    with pytest.raises(GRPCError) as raised:
        await messages_of(service, GenerateRequest(prompt=PROMPT, model="other"))
    assert raised.value.status is Status.NOT_FOUND
    assert len(backend.conversations) == 2


@pytest.mark.anyio
async def test_models_of_a_service_that_is_loading_are_not_known() -> None:
    with pytest.raises(GRPCError) as raised:
        await AiService().list_models(proto.ListModelsRequest())
    assert raised.value.status is Status.UNAVAILABLE


@pytest.mark.anyio
async def test_a_caller_is_told_which_field_is_wrong() -> None:
    message = proto.Message(proto.Role.try_value(proto.Role.USER), [proto.Part()])
    with pytest.raises(GRPCError) as raised:
        await messages_of(AiService(ScriptedBackend()), GenerateRequest(messages=[message]))
    details: Any = raised.value.details
    (detail,) = details
    (violation,) = detail.field_violations
    assert violation.field == "messages[0].parts[0]"
    assert violation.description == raised.value.message


def test_reasons_have_the_numbers_of_the_contract() -> None:
    contract = {str(reason.name): int(reason.value) for reason in list[Any](proto.FinishReason)}
    assert contract == {reason.name: reason.value for reason in FinishReason}


@pytest.mark.anyio
async def test_a_caller_is_told_when_to_try_again() -> None:
    busy = BackendError(Status.RESOURCE_EXHAUSTED, "Try later.", retry_after=1.5)
    async with served(ScriptedBackend(busy)) as stub:
        with pytest.raises(GRPCError) as raised:
            await ask(stub)
    (info,) = raised.value.details
    assert isinstance(info, RetryInfo)
    assert info.retry_delay.ToNanoseconds() == 1_500_000_000


@pytest.mark.anyio
async def test_an_empty_prompt_is_refused() -> None:
    backend = ScriptedBackend("x")
    async with served(backend) as stub:
        assert await refusal(stub, "") == (Status.INVALID_ARGUMENT, "The prompt is empty.")
    assert not backend.conversations


@pytest.mark.anyio
async def test_a_backends_error_is_the_callers_status() -> None:
    failure = BackendError(Status.RESOURCE_EXHAUSTED, "Try later.", detail="quota of key 4711")
    with structlog.testing.capture_logs() as log:
        async with served(ScriptedBackend("half ", failure)) as stub:
            assert await refusal(stub) == (Status.RESOURCE_EXHAUSTED, "Try later.")
    line = ended(log)
    assert (line["cause"], line["log_level"]) == ("model_error", "warning")
    assert (line["status"], line["error"]) == ("RESOURCE_EXHAUSTED", "quota of key 4711")
    assert line["tokens"] == 1


@pytest.mark.anyio
async def test_a_fault_in_a_backend_is_not_shown_to_the_caller() -> None:
    fault = ZeroDivisionError("in layer 7")
    with structlog.testing.capture_logs() as log:
        async with served(ScriptedBackend("half ", fault)) as stub:
            assert await refusal(stub) == (Status.INTERNAL, "The model failed.")
    assert ended(log)["cause"] == "model_error"
    assert ended(log)["exception"].startswith("Traceback (most recent call last):\n  File ")
    assert ended(log)["exception"].endswith("\nZeroDivisionError: in layer 7")


@pytest.mark.anyio
async def test_a_caller_that_leaves_ends_the_backends_answer() -> None:
    backend = ScriptedBackend("x", FOREVER)
    with structlog.testing.capture_logs() as log:
        async with served(backend) as stub:
            with anyio.CancelScope() as scope:
                async for message in stub.generate(GenerateRequest(prompt=PROMPT)):
                    if message.token:
                        scope.cancel()
            with anyio.fail_after(5):
                await backend.left.wait()
            assert await refusal(stub, "") == (Status.INVALID_ARGUMENT, "The prompt is empty.")
    assert [event["cause"] for event in log] == ["client_disconnect", "model_error"]


@pytest.mark.trio
async def test_a_deadline_ends_the_backends_answer(autojump_clock: MockClock) -> None:
    del autojump_clock
    backend = ScriptedBackend("x", FOREVER)
    with structlog.testing.capture_logs() as log:
        async with ChannelFor([AiService(backend)]) as channel:
            start = trio.current_time()
            with pytest.raises(GRPCError) as raised:
                await ask(AiServiceStub(channel), timeout=2)
            await backend.left.wait()
            assert trio.current_time() == start + 2
    assert raised.value.status is Status.DEADLINE_EXCEEDED
    assert ended(log)["cause"] == "deadline"


# -- without a transport, where time can be exact -----------------------------------------------


async def messages_of(
    service: AiService, request: GenerateRequest | None = None
) -> list[GenerateResponse]:
    asked = request or GenerateRequest(prompt=PROMPT, session_id="s")
    async with service.generate(asked) as messages:
        return [message async for message in messages]


@pytest.mark.trio
async def test_the_log_says_how_soon_and_how_fast(autojump_clock: MockClock) -> None:
    del autojump_clock
    outcome = Outcome(FinishReason.STOP, Usage(prompt_tokens=7, completion_tokens=6))
    script = (2.0, "a", 0.5, "b", 0.5, "c", 0.5, "d", 0.5, "e")
    with structlog.testing.capture_logs() as log:
        await messages_of(AiService(ScriptedBackend(*script, outcome=outcome)))
    assert ended(log) == {
        "event": "request ended",
        "log_level": "info",
        "cause": "done",
        "status": "OK",
        "session_id": "s",
        "tokens": 5,
        "seconds": 4.0,
        "first_token_seconds": 2.0,
        "tokens_per_second": 2.0,
        "finish_reason": "stop",
        "prompt_tokens": 7,
        "completion_tokens": 6,
    }


@pytest.mark.trio
async def test_the_log_says_how_long_a_request_was_queued(autojump_clock: MockClock) -> None:
    del autojump_clock
    service = AiService(ScriptedBackend(2.0, "a"), Admission(max_concurrent=1))
    with structlog.testing.capture_logs() as log:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(messages_of, service)
            tasks.start_soon(messages_of, service)
    assert [line.get("queue_seconds") for line in log] == [None, 2.0]
    assert [line["first_token_seconds"] for line in log] == [2.0, 4.0]


@pytest.mark.trio
async def test_the_log_leaves_out_what_there_was_not(autojump_clock: MockClock) -> None:
    del autojump_clock
    with structlog.testing.capture_logs() as log, trio.move_on_after(1):
        request = GenerateRequest(prompt=PROMPT, session_id="x" * 1000)
        await messages_of(AiService(ScriptedBackend(2.0, "a")), request)
    line = ended(log)
    assert (line["cause"], line["tokens"], line["seconds"]) == ("deadline", 0, 1.0)
    assert not {"first_token_seconds", "tokens_per_second"} & line.keys()
    assert line["session_id"] == "x" * 64


@pytest.mark.trio
@pytest.mark.parametrize(
    ("seconds", "cause"), [(9.8, "client_disconnect"), (9.95, "deadline"), (10.0, "deadline")]
)
async def test_reset_at_its_deadline_a_call_has_met_it(
    seconds: float, cause: str, autojump_clock: MockClock
) -> None:
    del autojump_clock

    async def answer() -> None:
        with anyio.move_on_after(10):
            await messages_of(AiService(ScriptedBackend(FOREVER)))

    with structlog.testing.capture_logs() as log:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer)
            await anyio.sleep(seconds)
            tasks.cancel_scope.cancel()
    assert ended(log)["cause"] == cause


@pytest.mark.anyio
async def test_cancelled_before_it_begins_a_call_has_met_no_deadline() -> None:
    with structlog.testing.capture_logs() as log, anyio.CancelScope() as scope:
        scope.cancel()
        await messages_of(AiService(ScriptedBackend("x")))
    assert ended(log)["cause"] == "client_disconnect"


@pytest.mark.anyio
async def test_what_cannot_be_sent_is_not_the_models_fault() -> None:
    answer = AiService(ScriptedBackend("x")).generate(GenerateRequest(prompt=PROMPT))
    with structlog.testing.capture_logs() as log, pytest.raises(GRPCError) as raised:
        async with answer:
            raise GRPCError(Status.UNAVAILABLE, "connection lost")
    assert raised.value.message == "connection lost"
    assert ended(log)["cause"] == "client_disconnect"


@pytest.mark.anyio
async def test_an_answer_that_nobody_reads_to_its_end_is_not_done() -> None:
    answer = AiService(ScriptedBackend("x")).generate(GenerateRequest(prompt=PROMPT))
    with structlog.testing.capture_logs() as log:
        async with answer:
            assert (await anext(answer)) == GenerateResponse("x")
    assert ended(log)["cause"] == "client_disconnect"


@pytest.mark.anyio
async def test_a_complete_answer_stays_complete() -> None:
    async with AiService(ScriptedBackend()).generate(GenerateRequest(prompt=PROMPT)) as answer:
        assert [message.done async for message in answer] == [True]
        assert [message.done async for message in answer] == []


@pytest.mark.anyio
async def test_cancelled_once_stopped_the_cause_is_shutdown() -> None:
    service = AiService(ScriptedBackend(FOREVER))
    with structlog.testing.capture_logs() as log:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(messages_of, service)
            await anyio.wait_all_tasks_blocked()
            service.stop()
            tasks.cancel_scope.cancel()
    assert ended(log)["cause"] == "shutdown"


@pytest.mark.anyio
async def test_stopped_soon_a_caller_can_still_be_the_one_who_leaves() -> None:
    service = AiService(ScriptedBackend(FOREVER))
    with structlog.testing.capture_logs() as log:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(messages_of, service)
            await anyio.wait_all_tasks_blocked()
            service.stop(60)
            tasks.cancel_scope.cancel()
    assert ended(log)["cause"] == "client_disconnect"


@pytest.mark.anyio
async def test_without_a_backend_it_is_unavailable() -> None:
    service = AiService()
    with structlog.testing.capture_logs() as log:
        with pytest.raises(GRPCError) as raised:
            await messages_of(service)
        service.begin(ScriptedBackend("x"))
        assert await messages_of(service)
    assert raised.value.status is Status.UNAVAILABLE
    assert [line["cause"] for line in log] == ["model_unavailable", "done"]


@pytest.mark.anyio
async def test_every_end_is_counted() -> None:
    outcome = Outcome(FinishReason.STOP, Usage(prompt_tokens=7, completion_tokens=2))
    service = AiService(ScriptedBackend("a", "b", outcome=outcome))
    await messages_of(service)
    with pytest.raises(GRPCError):
        async with service.generate(GenerateRequest()):
            pass
    values = {
        f"{sample.name}{''.join(sample.labels.values())}": sample.value
        for metric in service.metrics.registry.collect()
        for sample in metric.samples
    }
    assert values["relay_model_requests_totaldoneOK"] == 1
    assert values["relay_model_requests_totalmodel_errorINVALID_ARGUMENT"] == 1
    assert values["relay_model_answers_in_progress"] == 0
    assert values["relay_model_requests_queued"] == 0
    assert values["relay_model_pieces_total"] == 2
    assert values["relay_model_prompt_tokens_total"] == 7
    assert values["relay_model_completion_tokens_total"] == 2
    assert values["relay_model_time_to_first_token_seconds_count"] == 1
    assert values["relay_model_queue_seconds_count"] == 1
    assert values["relay_model_request_duration_seconds_count"] == 2


@pytest.mark.anyio
async def test_a_full_queue_refuses_at_once() -> None:
    backend, admission = ScriptedBackend("x", FOREVER), Admission(1, 1)
    async with served(backend, admission) as stub, anyio.create_task_group() as tasks:
        tasks.start_soon(ask, stub)
        tasks.start_soon(ask, stub)
        await until(lambda: admission.queued == 1)
        assert await refusal(stub) == (
            Status.RESOURCE_EXHAUSTED,
            "The model is busy: try again later.",
        )
        tasks.cancel_scope.cancel()
    assert len(backend.conversations) == 1


@pytest.mark.trio
async def test_a_deadline_holds_in_the_queue(autojump_clock: MockClock) -> None:
    del autojump_clock
    backend, admission = ScriptedBackend("x", FOREVER), Admission(1, 1)
    with structlog.testing.capture_logs() as log:
        async with (
            ChannelFor([AiService(backend, admission)]) as channel,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(ask, AiServiceStub(channel))
            await anyio.wait_all_tasks_blocked()
            start = trio.current_time()
            with pytest.raises(GRPCError) as raised:
                await ask(AiServiceStub(channel), timeout=2)
            await anyio.wait_all_tasks_blocked()
            assert (admission.admitted, admission.queued) == (1, 0)
            assert trio.current_time() == start + 2
            tasks.cancel_scope.cancel()
    assert raised.value.status is Status.DEADLINE_EXCEEDED
    assert len(backend.conversations) == 1
    assert [line["cause"] for line in log] == ["deadline", "client_disconnect"]


@pytest.mark.anyio
async def test_an_answer_is_read_in_its_context() -> None:
    answer = AiService(ScriptedBackend("x")).generate(GenerateRequest(prompt=PROMPT))
    with pytest.raises(RuntimeError, match="inside its context"):
        await anext(answer)
