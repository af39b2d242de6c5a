"""The mutants: for each trap in docs/cancellation that has a number, the code that falls into it.

In the order of the numbers. Where a trap bites in several places, each has a mutant of its own.
"""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS", "WITHOUT_MUTANT"]

#: Traps that no code of the product can fall into, and why.
WITHOUT_MUTANT = {
    22: "of Quart's test client: the tests do not use it",
}

_RELAY = "src/relay_gateway/relay/relay.py"
_HTTP_CONNECTION = "src/relay_gateway/web/http_connection.py"
_ANSWER = "src/relay_gateway/web/answer.py"
_ROUTES = "src/relay_gateway/web/routes.py"
_SSE = "src/relay_gateway/relay/sse.py"
_HYPERCORN = "src/relay_gateway/server/tcp.py"
_HTTP2_SERVER = "src/relay_gateway/server/http2.py"
_PAGE = "src/relay_gateway/web/static/answer.js"
_CONNECTION = "packages/grpclib-anyio/src/grpclib_anyio/_connection/connection.py"
_RECEIVER = "packages/grpclib-anyio/src/grpclib_anyio/_connection/receiver.py"
_SENDER = "packages/grpclib-anyio/src/grpclib_anyio/_connection/sender.py"
_STREAMS = "packages/grpclib-anyio/src/grpclib_anyio/_connection/streams.py"
_STREAM_STATE = "packages/grpclib-anyio/src/grpclib_anyio/_stream/state.py"
_CONNECTOR = "packages/grpclib-anyio/src/grpclib_anyio/_channel/connector.py"
_CLIENT_CALL = "packages/grpclib-anyio/src/grpclib_anyio/_call/client.py"
_CLIENT = "packages/grpclib-anyio/src/grpclib_anyio/client.py"
_SERVER_CALL = "packages/grpclib-anyio/src/grpclib_anyio/_call/server.py"
_MESSAGE_STREAM = "packages/grpclib-anyio/src/grpclib_anyio/_stream/stream.py"
_SLOTS = "packages/grpclib-anyio/src/grpclib_anyio/_connection/stream_limit.py"
_STUBS = "packages/grpclib-anyio/src/grpclib_anyio/betterproto/stubs.py"
_COMPAT = "packages/grpclib-anyio/src/grpclib_anyio/betterproto/handlers.py"
_KEEPALIVE = "packages/grpclib-anyio/src/grpclib_anyio/_connection/keepalive.py"
_ERRORS = "packages/grpclib-anyio/src/grpclib_anyio/_base/errors.py"
_SERVER = "packages/grpclib-anyio/src/grpclib_anyio/server.py"
_HTTP2 = "packages/grpclib-anyio/src/grpclib_anyio/_connection/http2.py"
_ON_TRIO = "packages/grpclib-anyio/src/grpclib_anyio/_fast/trio_stream.py"
_SERVICE = "src/relay_model/service.py"
_SERVING = "src/relay_model/serving.py"
_HTTP_CLIENT = "src/relay_model/backends/providers/http_client.py"
_GENERATORS = "src/relay_model/backends/providers/generators.py"
_GENERATION = "src/relay_model/backends/local/llama_answer.py"
_HEALTH = "packages/grpclib-anyio/src/grpclib_anyio/health.py"
_ASK = "src/relay_model/commands/ask.py"

_TEST_RELAY = "tests/gateway/test_relay.py::"
_TEST_APP = "tests/gateway/test_app.py::"
_TEST_SSE = "tests/gateway/test_sse.py::"
_TEST_HYPERCORN = "tests/gateway/test_tcp.py::"
_TEST_IDLE = "tests/gateway/test_idle_connections.py::"
_TEST_PROGRAMS = "tests/gateway/test_programs.py::"
_TEST_MATRIX = "tests/cancellation/test_matrix.py::"
_TEST_FOUND = "tests/cancellation/test_found.py::"
_TEST_PAGE = "tests/e2e/test_page.py::"
_TEST_CLIENT = "packages/grpclib-anyio/tests/test_client.py::"
_TEST_RESETS = "packages/grpclib-anyio/tests/test_resets.py::"
_TEST_CONNECTION = "packages/grpclib-anyio/tests/test_connection.py::"
_TEST_GARBAGE = "packages/grpclib-anyio/tests/test_garbage.py::"
_TEST_SERVER = "packages/grpclib-anyio/tests/test_server.py::"
_TEST_STUBS = "packages/grpclib-anyio/tests/test_stubs.py::"
_TEST_WAITS = "packages/grpclib-anyio/tests/test_waits.py::"
_TEST_FLOW = "packages/grpclib-anyio/tests/test_flow_control.py::"
_TEST_KEEPALIVE = "packages/grpclib-anyio/tests/test_keepalive.py::"
_TEST_PROVIDERS = "tests/model/providers/test_cancellation.py::"
_TEST_SERVICE = "tests/model/test_service.py::"
_TEST_SERVING = "tests/model/test_serving.py::"
_TEST_ASK = "tests/model/test_ask.py::"

MUTANTS = [
    # -- scopes and generators --------------------------------------------------------------------
    Mutant(
        1,
        "the body is a generator around the relay's nursery",
        _ROUTES,
        right="return Response(body, headers=_STREAM_HEADERS)",
        wrong="""\
import trio

        async def chunks():
            async with relay:
                while True:
                    try:
                        yield await relay.next_chunk()
                    except trio.EndOfChannel:
                        return

        return Response(chunks(), headers=_STREAM_HEADERS)""",
        tests=(
            f"{_TEST_APP}test_browser_that_reads_nothing_and_leaves",
            f"{_TEST_APP}test_deadline_is_recorded_for_a_browser_that_reads_nothing",
        ),
    ),
    Mutant(
        2,
        "a call holds a scope for its deadline",
        _CLIENT_CALL,
        right="""\
        \"\"\"Begin; nothing is sent yet.\"\"\"
        return self""",
        wrong="""\
        self._held = anyio.CancelScope(deadline=self._deadline or float("inf")).__enter__()
        return self""",
        tests=(
            f"{_TEST_CLIENT}test_deadline_passes_while_the_generator_is_suspended",
            f"{_TEST_CLIENT}test_deadline_while_the_server_thinks",
        ),
    ),
    Mutant(
        3,
        "a handler's generator is left to the garbage collector",
        _COMPAT,
        right="                await messages.aclose()",
        wrong="                pass",
        tests=(f"{_TEST_SERVER}test_generator_is_closed_when_the_client_resets",),
    ),
    Mutant(
        3,
        "a stub's answer that is closed keeps its call",
        _STUBS,
        right="        self._end()\n        self._call.release()\n\n    async def _start",
        wrong="        self._end()\n\n    async def _start",
        tests=(f"{_TEST_STUBS}test_left_with_aclosing", f"{_TEST_STUBS}test_left_by_break"),
    ),
    Mutant(
        4,
        "an await in __aexit__ without a shield",
        _GENERATION,
        right="with anyio.move_on_after(self._stop_seconds, shield=True):",
        wrong="with anyio.move_on_after(self._stop_seconds):",
        tests=("tests/model/test_llama_answer.py",),
    ),
    Mutant(
        4,
        "a connection that is closed in a cancelled scope sends nothing more",
        _CONNECTION,
        right="self._scope = anyio.CancelScope(shield=True)",
        wrong="self._scope = anyio.CancelScope()",
        tests=(f"{_TEST_SERVER}test_stopping_the_server_tells_its_clients",),
    ),
    Mutant(
        5,
        "async with on a channel's end",
        _RELAY,
        right="        with self._receive:\n            return await",
        wrong="        async with self._receive:\n            return await",
        tests=(f"{_TEST_RELAY}test_leaving_with_an_error_in_a_cancelled_scope_passes_it_on",),
    ),
    Mutant(
        6,
        "the heartbeat shares the reader's end of the channel",
        _RELAY,
        right="self._nursery.start_soon(self._beat, send.clone())",
        wrong="self._nursery.start_soon(self._beat, send)",
        tests=(
            f"{_TEST_RELAY}test_nothing_follows_the_last_event",
            f"{_TEST_RELAY}test_done_is_the_last_of_a_full_channel",
        ),
    ),
    Mutant(
        6,
        "the heartbeat outlives the reader",
        _RELAY,
        right="            self._silence.cancel()  # the heartbeat ends\n",
        wrong="",
        tests=(f"{_TEST_RELAY}test_after_the_last_chunk_there_is_none",),
    ),
    # -- the gRPC connection ----------------------------------------------------------------------
    Mutant(
        7,
        "a call that is left resets nothing",
        _MESSAGE_STREAM,
        right="        self._wire.reset(self, code)\n        self._inbox.clear()",
        wrong="        self._inbox.clear()",
        tests=(f"{_TEST_CLIENT}test_cancel_while_the_server_thinks",),
    ),
    Mutant(
        7,
        "a call that is left is reset with NO_ERROR",
        _MESSAGE_STREAM,
        right="def release(self, code: ErrorCodes = ErrorCodes.CANCEL)",
        wrong="def release(self, code: ErrorCodes = ErrorCodes.NO_ERROR)",
        tests=(f"{_TEST_CLIENT}test_cancel_in_mid_stream",),
    ),
    Mutant(
        7,
        "a call that is cancelled and then left gives two slots back",
        _STREAM_STATE,
        right="        self.is_reset = True\n        return True",
        wrong="        return True",
        tests=(
            f"{_TEST_CONNECTION}test_slot_of_a_call_that_is_cancelled_and_left_is_given_back_once",
        ),
    ),
    Mutant(
        8,
        "the connection's window is credited for live streams only",
        _RECEIVER,
        right="""\
        \"\"\"Take a DATA frame that h2 has not made an event of, see ``OnFrames``.\"\"\"
        if increment""",
        wrong="""\
        if self._streams.get(stream_id) and (increment""",
        also=(
            (
                """\
self.window.credit(size):
            self._h2.increment_flow_control_window(increment)
        if data and""",
                """\
self.window.credit(size)):
            self._h2.increment_flow_control_window(increment)
        if data and""",
            ),
            (
                """\
        size = event.flow_controlled_length
        if increment := self.window.credit(size):""",
                """\
        size = event.flow_controlled_length
        known = self._streams.get(event.stream_id)
        if known and (increment := self.window.credit(size)):""",
            ),
        ),
        tests=(f"{_TEST_CLIENT}test_data_that_crosses_our_reset_is_credited_to_the_connection",),
    ),
    Mutant(
        9,
        "a call writes to the socket itself",
        _MESSAGE_STREAM,
        right="        self._wire.schedule(self)\n\n    def resend",
        wrong="""\
        self._wire.schedule(self)
        self._wire._fill()
        if data := self._wire._h2.data_to_send():
            await self._wire._transport.send(data)

    def resend""",
        tests=("packages/grpclib-anyio/tests/test_checkpoints.py",),
    ),
    Mutant(
        9,
        "a reset is written into the middle of a frame",
        _ON_TRIO,
        right="        if self._is_sending:\n            return 0\n",
        wrong="",
        tests=(
            "packages/grpclib-anyio/tests/test_trio_stream.py::test_what_is_sent_by_a_plain_call",
        ),
    ),
    Mutant(
        10,
        "the reader waits until a call has taken its messages",
        _CONNECTION,
        right="                if self._h2.queued > self._config.max_write_buffer_size:\n",
        wrong="""\
                while any(len(s._inbox.messages) > 1 for s in self.streams):
                    await anyio.sleep(0.01)
                if self._h2.queued > self._config.max_write_buffer_size:
""",
        tests=(f"{_TEST_RELAY}test_one_browser_that_does_not_read_holds_up_no_other",),
    ),
    Mutant(
        11,
        "a waiter that is cancelled keeps its place in the queue",
        _SLOTS,
        right="""\
        except BaseException:
            del self._queue[turn]
            self.admit()
            raise""",
        wrong="""\
        except BaseException:
            raise""",
        tests=(f"{_TEST_CONNECTION}test_cancelled_waiter_gives_up_its_place",),
    ),
    Mutant(
        11,
        "a waiter that is cancelled as it is admitted keeps the turn",
        _SLOTS,
        right="""\
            del self._queue[turn]
            self.admit()
            raise""",
        wrong="""\
            del self._queue[turn]
            raise""",
        tests=(f"{_TEST_CONNECTION}test_waiter_cancelled_as_it_is_admitted_passes_the_turn_on",),
    ),
    Mutant(
        12,
        "a lost connection wakes no call",
        _STREAMS,
        right="stream.fail(unprocessed(error) if stream in self._unsent else error.copy())",
        wrong="stream.error = error",
        tests=(f"{_TEST_WAITS}test_client",),
    ),
    Mutant(
        12,
        "a lost connection wakes nobody who waits for a slot",
        _SLOTS,
        right="""\
        for turn in self._queue:
            turn.set()
""",
        wrong="",
        tests=(f"{_TEST_WAITS}test_client",),
    ),
    Mutant(
        12,
        "a failure wakes who receives and not who sends",
        _MESSAGE_STREAM,
        right="        self._received.notify()\n        self._sent.notify()\n",
        wrong="        self._received.notify()\n",
        tests=(f"{_TEST_WAITS}test_client", f"{_TEST_WAITS}test_server"),
    ),
    Mutant(
        13,
        "a reset at the deadline is somebody else's doing",
        _MESSAGE_STREAM,
        right="DeadlineExceededError() if self._is_late(error) else error",
        wrong="error",
        tests=(f"{_TEST_CLIENT}test_deadline_and_reset_at_one_instant",),
    ),
    Mutant(
        14,
        "a client that was told of too many pings goes on",
        _CONNECTOR,
        right="self.config = replace(self.config, keepalive_time=2 * time)",
        wrong="pass",
        tests=(f"{_TEST_KEEPALIVE}test_too_many_pings_doubles_the_interval",),
    ),
    Mutant(
        14,
        "pings without data are sent without a limit",
        _KEEPALIVE,
        right="        if self._pings_without_data == 0:\n            return True",
        wrong="        if True:\n            return True",
        tests=(f"{_TEST_KEEPALIVE}test_pings_without_data_are_limited",),
    ),
    # -- the HTTP side ----------------------------------------------------------------------------
    Mutant(
        15,
        "a write to a browser takes as long as it takes",
        _HYPERCORN,
        right="deadline = min(trio.current_time() + self.write_timeout, self._last_write_deadline)",
        wrong="deadline = inf",
        tests=(f"{_TEST_HYPERCORN}test_a_client_that_reads_nothing_loses_its_connection",),
    ),
    Mutant(
        15,
        "a write in progress holds up the shutdown",
        _HYPERCORN,
        right="            scope.deadline = min(scope.deadline, self._last_write_deadline)",
        wrong="            pass",
        tests=(f"{_TEST_HYPERCORN}test_shutdown_does_not_wait_for_a_client_that_reads_nothing",),
    ),
    Mutant(
        16,
        "a paused sender goes on although nothing was taken",
        _HTTP2_SERVER,
        right="        if len(self.buffer) < BUFFER_LOW_WATER:",
        wrong="        if True:",
        tests=(f"{_TEST_HYPERCORN}test_what_one_http2_client_does_not_read_is_bounded",),
    ),
    Mutant(
        17,
        "nobody takes note of http.disconnect",
        _HTTP_CONNECTION,
        right="self._disconnected = True",
        wrong="self._disconnected = False",
        tests=(f"{_TEST_APP}test_browser_that_leaves_is_recorded",),
    ),
    Mutant(
        18,
        "Quart's own timeout",
        _HTTP_CONNECTION,
        right=" and isinstance(response.response, AnswerBody):",
        wrong=" and response.response is None:",
        tests=(f"{_TEST_APP}test_answer_may_take_longer_than_a_minute",),
    ),
    Mutant(
        19,
        "a body that is no ResponseBody",
        _ANSWER,
        right="class AnswerBody(ResponseBody):",
        wrong="class AnswerBody:",
        tests=(f"{_TEST_APP}test_stream",),
    ),
    Mutant(
        20,
        "a failure is left to whoever reports the group",
        _RELAY,
        right="            return outcomes.INTERNAL",
        wrong="            raise",
        tests=(f"{_TEST_RELAY}test_bug_is_logged_and_ends_with_an_event",),
    ),
    Mutant(
        21,
        "a failure of the model ends the stream without an event",
        _RELAY,
        right="            return outcomes.outcome_of(error)",
        wrong="            raise",
        tests=(f"{_TEST_RELAY}test_status_becomes_a_message_for_a_person",),
    ),
    # -- what browsers and proxies add ------------------------------------------------------------
    Mutant(
        23,
        "a token with a line break is written as it is",
        _SSE,
        right='return _LINE_BREAK.sub("\\ndata: ", text)',
        wrong="return text",
        tests=(f"{_TEST_SSE}test_token_arrives_as_it_was_sent",),
    ),
    Mutant(
        23,
        "no space after the colon",
        _SSE,
        right='return f"data: {text}\\n\\n".encode()',
        wrong='return f"data:{text}\\n\\n".encode()',
        tests=(f"{_TEST_SSE}test_token_arrives_as_it_was_sent",),
    ),
    Mutant(
        24,
        "a page that asks again when an answer was lost",
        _PAGE,
        right="    controller.abort(); // whatever",
        wrong="    return ask(question, new AbortController().signal); // whatever",
        tests=(f"{_TEST_PAGE}test_lost_gateway_is_told_in_words_and_not_asked_again",),
    ),
    Mutant(
        25,
        "a page that takes the gateway's error for the connection's",
        _PAGE,
        right="throw new AnswerError(String(payloadOf(data).message));",
        wrong="throw new AnswerError(LOST);",
        tests=(f"{_TEST_PAGE}test_error_of_the_model_is_told_in_words",),
    ),
    Mutant(
        26,
        "the heartbeat begins with the first token",
        _RELAY,
        right="            while self.outcome is None:\n                due =",
        wrong="""\
            while self.first_token is None:
                await trio.sleep(0.01)
            while self.outcome is None:
                due =""",
        tests=(f"{_TEST_RELAY}test_heartbeat_begins_with_the_request",),
    ),
    Mutant(
        27,
        "a heartbeat extends the deadline",
        _RELAY,
        right="                self._put_nowait(PING, send)",
        wrong="""\
                self._put_nowait(PING, send)
            self._answer.deadline = trio.current_time() + self._limits.deadline""",
        also=(("timeout=self.started + self._limits.deadline - trio.current_time(),", ""),),
        tests=(f"{_TEST_RELAY}test_deadline_is_not_extended_by_pings",),
    ),
    Mutant(
        28,
        "a proxy may hold a stream back",
        _ROUTES,
        right='    "X-Accel-Buffering": "no",\n',
        wrong="",
        tests=(f"{_TEST_APP}test_stream",),
    ),
    Mutant(
        28,
        "a proxy may rewrite a stream",
        _ROUTES,
        right='"Cache-Control": "no-cache, no-transform"',
        wrong='"Cache-Control": "no-cache"',
        tests=(f"{_TEST_APP}test_stream",),
    ),
    Mutant(
        29,
        "the reader is a task that nobody waits for",
        _RELAY,
        right="self._nursery.start_soon(self._read, send)",
        wrong="trio.lowlevel.spawn_system_task(self._read, send)",
        tests=(f"{_TEST_RELAY}test_leaving_resets_the_model",),
    ),
    # -- found while building ---------------------------------------------------------------------
    Mutant(
        30,
        "a shield around the exit of a task group",
        _CONNECTION,
        right="""\
        self._tasks.cancel_scope.shield = True  # bounded: close has set a deadline
        # Not told of the body's exception, the task group does not wrap it in a group.
        await self._tasks.__aexit__(None, None, None)""",
        wrong="""\
        with anyio.CancelScope(shield=True):
            await self._tasks.__aexit__(None, None, None)""",
        tests=(f"{_TEST_CLIENT}test_cancelling_around_a_channel_resets_its_calls_and_says_goaway",),
    ),
    Mutant(
        31,
        "the deadline wakes the call and not who waits for the browser",
        _RELAY,
        right="trio.CancelScope(deadline=self.started + limits.deadline)",
        wrong="trio.CancelScope()",
        tests=(f"{_TEST_RELAY}test_deadline_while_the_browser_reads_nothing",),
    ),
    Mutant(
        32,
        "a handler's error beside its cancellation goes on",
        _SERVER_CALL,
        right="            raise rest or group from None",
        wrong="            raise",
        tests=(f"{_TEST_SERVER}test_handler_that_fails_while_the_server_is_stopped",),
    ),
    Mutant(
        33,
        "h2 reads all frames before the first one is handled",
        _HTTP2,
        right="                yield from self._receive_frame(frame)",
        wrong="                events.extend(self._receive_frame(frame))",
        also=(
            (
                "        buffer = self._frames\n",
                "        buffer, events = self._frames, []\n",
            ),
            (
                "            buffer.refuse_oversized()\n",
                """\
            buffer.refuse_oversized()
            yield from events
""",
            ),
        ),
        tests=(
            "packages/grpclib-anyio/tests/test_checkpoints.py",
            f"{_TEST_FLOW}test_large_message_and_a_reset_in_one_read",
        ),
    ),
    Mutant(
        34,
        "two counts of one window",
        _HTTP2,
        right="    def _handle_data_on_closed_stream(",
        wrong="    def _handle_data_on_closed_stream_by_ourselves(",
        tests=(
            f"{_TEST_FLOW}test_data_on_finished_and_on_reset_streams_leaves_the_connection_window",
        ),
    ),
    Mutant(
        35,
        "an attempt is noted before what starts it can fail",
        _CONNECTOR,
        right="        tasks = self.tasks\n        if self._attempt is None:",
        wrong="        if self._attempt is None:",
        also=(
            (
                "            tasks.start_soon(self._run,",
                "            self.tasks.start_soon(self._run,",
            ),
        ),
        tests=(f"{_TEST_CLIENT}test_channel_outside_async_with_says_so",),
    ),
    Mutant(
        36,
        "the rest of a write is cancelled",
        _HYPERCORN,
        right="with trio.CancelScope(shield=True, deadline=deadline) as scope:",
        wrong="with trio.CancelScope(deadline=deadline) as scope:",
        tests=(f"{_TEST_HYPERCORN}test_a_write_that_has_begun_is_finished_by_a_cancelled_task",),
    ),
    Mutant(
        37,
        "a write that fails leaves the reader parked",
        _HYPERCORN,
        right="            self._reading.cancel()",
        wrong="            pass",
        tests=(
            _TEST_PROGRAMS
            + "test_nothing_is_left_of_a_browser_that_left_behind_a_pipelined_request",
        ),
    ),
    Mutant(
        38,
        "a deadline on another clock than the loop's",
        _CLIENT,
        right="return current_time() + remaining",
        wrong="return time.monotonic() + remaining",
        also=(("import ssl as ssl_module\n", "import ssl as ssl_module\nimport time\n"),),
        tests=(f"{_TEST_CLIENT}test_deadline_while_the_server_thinks",),
    ),
    Mutant(
        39,
        "a channel is closed before its sender is cancelled",
        _RELAY,
        right="        self._nursery.cancel_scope.cancel()\n",
        wrong="        self._receive.close()\n        self._nursery.cancel_scope.cancel()\n",
        tests=(f"{_TEST_RELAY}test_leaving_while_the_reader_is_between_two_tokens",),
    ),
    Mutant(
        40,
        "a socket whose TLS is cancelled is left to the garbage collector",
        _HTTP_CLIENT,
        right='        elif step == "start_tls.failed":\n            await self._close()',
        wrong='        elif step == "start_tls.failed":\n            pass',
        tests=(f"{_TEST_PROVIDERS}test_while_tls_is_set_up",),
    ),
    Mutant(
        40,
        "a connection that is cancelled on its way to the pool stays in it",
        _HTTP_CLIENT,
        right="            await self._close_if_cancelled()",
        wrong="            pass",
        tests=(f"{_TEST_PROVIDERS}test_at_every_step_over_tls",),
    ),
    Mutant(
        41,
        "requests wait in the client's pool",
        _HTTP_CLIENT,
        right="max_connections=None",
        wrong="max_connections=1",
        tests=(f"{_TEST_PROVIDERS}test_others_go_on",),
    ),
    Mutant(
        42,
        "a library's generators are left to the garbage collector",
        _GENERATORS,
        right="                    await generator.aclose()",
        wrong="                    pass",
        tests=(f"{_TEST_PROVIDERS}test_with_tokens_that_nobody_has_read",),
    ),
    Mutant(
        43,
        "those who watch the health of a service hold up its drain",
        _HEALTH,
        right="""                if self._is_over:
                    return
""",
        wrong="",
        tests=(f"{_TEST_SERVING}test_a_drain_lets_answers_end_and_watchers_know",),
    ),
    Mutant(
        44,
        "a backend is cancelled together with its answers",
        _SERVING,
        right="self._backend_needed = anyio.CancelScope(shield=True)",
        wrong="self._backend_needed = anyio.CancelScope()",
        tests=(f"{_TEST_SERVING}test_cancelled_the_backend_outlives_its_answers",),
    ),
    Mutant(
        45,
        "a write that waits for its reader is waited for",
        _ASK,
        right="abandon_on_cancel=True",
        wrong="abandon_on_cancel=False",
        tests=(f"{_TEST_ASK}test_interrupted_while_its_reader_stalls_it_ends",),
    ),
    Mutant(
        46,
        "what is written past a channel overtakes what was taken from it",
        _RELAY,
        right="            return self._receive.receive_nowait()\n",
        wrong="            raise trio.WouldBlock\n",
        tests=(f"{_TEST_RELAY}test_nothing_overtakes_what_the_body_has_in_hand",),
    ),
    Mutant(
        47,
        "a task group is given tasks when it has ended",
        _SERVER,
        right="                    connection.on_request = None",
        wrong="                    pass",
        tests=(f"{_TEST_SERVER}test_request_that_comes_while_the_server_stops",),
    ),
    Mutant(
        48,
        "an error that is kept is raised itself",
        _ERRORS,
        right="    equal = error.__class__.__new__(error.__class__, *error.args)",
        wrong="    return error\n    equal = error.__class__.__new__(error.__class__, *error.args)",
        tests=(f"{_TEST_GARBAGE}test_nothing_of_a_call_is_in_a_cycle",),
    ),
    Mutant(
        48,
        "a connection that was lost holds whose turn it was to send",
        _SENDER,
        right="        self._queue.pop(stream, None)\n",
        wrong="",
        tests=(f"{_TEST_GARBAGE}test_stream_with_something_to_send_outlives_no_lost_connection",),
    ),
    Mutant(
        48,
        "a browser's connection that is over is left to the garbage collector",
        _HYPERCORN,
        right='            self.__dict__.pop("protocol", None)',
        wrong="            pass",
        tests=("tests/gateway/test_connection_garbage.py",),
    ),
    Mutant(
        49,
        "a stream whose window stays shut waits for good",
        _HTTP2_SERVER,
        right="            deadline = self._last_taken + self.write_timeout",
        wrong="            deadline = inf",
        tests=(f"{_TEST_FOUND}test_http2_stream_whose_window_stays_shut_is_reset",),
    ),
    Mutant(
        50,
        "the timer of an idle connection is restarted by a task that is cancelled",
        "src/relay_gateway/server/idle.py",
        right="        self._count_to(trio.current_time() + self._seconds)",
        wrong="""\
        await trio.lowlevel.checkpoint()
        self._count_to(trio.current_time() + self._seconds)""",
        tests=(f"{_TEST_FOUND}test_connection_that_had_a_request_is_closed_when_it_idles",),
    ),
    Mutant(
        51,
        "an error of one connection ends all",
        _HYPERCORN,
        right="        except Exception as error:  # noqa: BLE001 - a client's",
        wrong="        except ZeroDivisionError as error:  # a client's",
        also=(
            (
                "        except* Exception as errors:",
                "        except* ZeroDivisionError as errors:",
            ),
        ),
        tests=(f"{_TEST_HYPERCORN}test_error_in_one_connection_ends_that_connection_only",),
    ),
    Mutant(
        52,
        "a reader that is cancelled tells nobody of the end",
        _HYPERCORN,
        right="""\
            await self.protocol.handle(Closed())
        finally:""",
        wrong="""\
            if not self._reading.cancelled_caught:
                await self.protocol.handle(Closed())
        finally:""",
        tests=(
            _TEST_HYPERCORN
            + "test_reader_that_waits_for_an_application_tells_it_of_a_broken_connection",
        ),
    ),
    Mutant(
        53,
        "an answer is done although its last write failed",
        _RELAY,
        right="            await trio.lowlevel.checkpoint()  # noqa: ASYNC120",
        wrong="            pass  # noqa: ASYNC120",
        tests=(
            f"{_TEST_MATRIX}test_cell[last event: browser half-closes, HTTP/1.1]",
            f"{_TEST_FOUND}test_write_that_timed_out_delivers_nothing",
        ),
    ),
    Mutant(
        54,
        "TLS's good-bye takes as long as it takes",
        _HYPERCORN,
        right="""\
            with trio.move_on_after(_LAST_WRITE_SECONDS):
                await super()._close()""",
        wrong="            await super()._close()",
        tests=("tests/gateway/test_stalled_browser.py::test_good_bye_of_tls_holds_up_no_end",),
    ),
    Mutant(
        55,
        "what is cancelled before it begins is late",
        _SERVICE,
        right="if -math.inf < deadline <=",
        wrong="if deadline <=",
        tests=(f"{_TEST_SERVICE}test_cancelled_before_it_begins_a_call_has_met_no_deadline",),
    ),
    Mutant(
        56,
        "the idle timer's scope is around more than the wait for bytes",
        _HYPERCORN,
        right="                while data and not self._reading.cancel_called:\n",
        wrong="""\
                while data:
                    await trio.lowlevel.checkpoint()
""",
        tests=(f"{_TEST_IDLE}test_request_that_comes_while_the_loop_stands_still",),
    ),
    Mutant(
        56,
        "there is no last look at the socket",
        _HYPERCORN,
        right="        with trio.CancelScope() as scope:\n",
        wrong="        with trio.move_on_after(0) as scope:\n",
        tests=(f"{_TEST_IDLE}test_request_that_comes_as_the_time_is_up",),
    ),
    Mutant(
        57,
        "the model is reset when it is the reader's turn",
        _RELAY,
        right="            self._call.release()",
        wrong="            pass",
        tests=(f"{_TEST_RELAY}test_model_is_reset_before_a_task_of_the_request_runs",),
    ),
    Mutant(
        57,
        "a reset is written when it is the writer's turn",
        _HTTP2,
        right="        del queued[: self.try_send(queued)]\n",
        wrong="",
        tests=(f"{_TEST_RESETS}test_reset_is_on_the_wire_before_a_task_runs",),
    ),
    Mutant(
        57,
        "a call whose HEADERS a reset has taken along is made again",
        _SENDER,
        right="        if size:\n            self._streams.mark_sent()\n",
        wrong="",
        tests=(f"{_TEST_RESETS}test_call_that_was_sent_with_a_reset_is_not_made_again",),
    ),
    Mutant(
        57,
        "how an answer ends after its browser has left counts",
        _RELAY,
        right="        self._disconnected = self._disconnected or self.outcome is None\n",
        wrong="",
        tests=(f"{_TEST_RELAY}test_ending_after_the_browser_has_left_does_not_count",),
    ),
]
