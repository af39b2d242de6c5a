"""What RFC 9113 asks for of each frame in each state of a stream."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_TRANSPORT = "packages/grpclib-anyio/src/grpclib_anyio/"
_HTTP2 = f"{_TRANSPORT}_connection/http2.py"
_FRAME_ERRORS = f"{_TRANSPORT}_connection/frame_errors.py"
_BUDGETS = f"{_TRANSPORT}_connection/budgets.py"
_STREAM_ERRORS = f"{_TRANSPORT}_connection/stream_errors.py"
_CLOCK = f"{_TRANSPORT}_base/trio_io.py"
_SERVER_CALL = f"{_TRANSPORT}_call/server.py"

_TEST_FRAMES = (
    "packages/grpclib-anyio/tests/test_http2_frames.py::test_frame_is_answered_as_rfc_9113_asks"
)
_TEST_OVERSIZED = (
    "packages/grpclib-anyio/tests/test_http2_frames.py"
    "::test_header_list_that_is_too_large_ends_its_stream"
)
_TEST_STREAM_ERRORS = "packages/grpclib-anyio/tests/test_stream_errors.py::"
_TEST_FLOODS = "packages/grpclib-anyio/tests/test_flood_limits.py::"
_TEST_CALLBACKS = "packages/grpclib-anyio/tests/test_callbacks.py::"
_TEST_ODD = "packages/grpclib-anyio/tests/test_odd_handlers.py::"

MUTANTS = [
    Mutant(
        0,
        "headers on a closed stream end the connection",
        _HTTP2,
        right="if self._stream_closed_by(frame.stream_id) is None:",
        wrong="if frame.stream_id:",
        tests=(_TEST_FRAMES,),
    ),
    Mutant(
        0,
        "headers on a stream that was passed over are late",
        _HTTP2,
        right="if self._stream_closed_by(frame.stream_id) is None:",
        wrong="if not frame.stream_id:",
        tests=(_TEST_FRAMES,),
    ),
    Mutant(
        0,
        "a stream that h2 has closed for an error is not reset",
        _HTTP2,
        right="if machine.stream_closed_by is None:",
        wrong="if machine.state is not StreamState.CLOSED:",
        tests=(_TEST_FRAMES,),
    ),
    Mutant(
        0,
        "data on a forgotten stream is answered each time",
        _HTTP2,
        right="            self._closed_streams[stream_id] = StreamClosedBy.SEND_RST_STREAM\n",
        wrong="            pass\n",
        tests=(_TEST_FRAMES,),
    ),
    Mutant(
        0,
        "a header block that cannot be decoded is some error",
        _HTTP2,
        right="error.error_code = ErrorCodes.COMPRESSION_ERROR",
        wrong="pass",
        tests=(_TEST_FRAMES,),
    ),
    Mutant(
        0,
        "the reset of a stream that nobody has opened is ignored",
        _HTTP2,
        right="        with suppress(StreamClosedError):\n            self._get_stream_by_id",
        wrong="        with suppress(ProtocolError):\n            self._get_stream_by_id",
        tests=(_TEST_FRAMES,),
    ),
    Mutant(
        0,
        "a stream that depends on itself ends the connection",
        _HTTP2,
        right="            frame.depends_on = 0\n",
        wrong="            pass\n",
        tests=(_TEST_FRAMES,),
    ),
    Mutant(
        0,
        "a frame of a wrong size on a stream ends the connection",
        _FRAME_ERRORS,
        right="if not stream_id or len(payload) == _PRIORITY_SIZE:",
        wrong="if True:",
        tests=(_TEST_FRAMES,),
    ),
    Mutant(
        0,
        "a window that is opened by nothing ends the connection",
        _FRAME_ERRORS,
        right="or not (stream_id or increment):",
        wrong="or not increment:",
        tests=(_TEST_FRAMES,),
    ),
    Mutant(
        0,
        "a reserved bit has a meaning",
        _FRAME_ERRORS,
        right="increment = int.from_bytes(payload) % _RESERVED",
        wrong="increment = int.from_bytes(payload)",
        tests=(_TEST_FRAMES,),
    ),
    Mutant(
        0,
        "an extension that we do not have ends the connection",
        _FRAME_ERRORS,
        right="    _ALTSVC: _read_altsvc,\n",
        wrong="",
        tests=(_TEST_FRAMES,),
    ),
    Mutant(
        0,
        "any frame may stand within a header block",
        _FRAME_ERRORS,
        right="        if self._headers_buffer:\n",
        wrong="        if not odd:\n",
        tests=(_TEST_FRAMES,),
    ),
    Mutant(
        0,
        "headers that are too large are read on any stream",
        _STREAM_ERRORS,
        right="            self.state_machine.process_input(StreamInputs.RECV_HEADERS)\n",
        wrong="            pass\n",
        tests=(_TEST_OVERSIZED,),
    ),
    Mutant(
        0,
        "trailers end a message that is too short",
        _STREAM_ERRORS,
        right="                self._track_content_length(0, end_stream)\n",
        wrong="                pass\n",
        tests=(
            f"{_TEST_STREAM_ERRORS}test_a_response_of_another_length_than_it_says_fails_its_call",
        ),
    ),
    Mutant(
        0,
        "one who cancels a handler's task ends all calls",
        _SERVER_CALL,
        right="        if _is_exit(error) or is_scope_cancelled():\n",
        wrong="        if _is_exit(error) or is_cancelled():\n",
        tests=(f"{_TEST_ODD}test_task_that_somebody_cancels_is_its_calls_alone",),
    ),
    Mutant(
        0,
        "a handler that is cancelled alone says that the server stops",
        _SERVER_CALL,
        right="    if is_scope_cancelled():\n        return GRPCError",
        wrong="    if is_cancelled():\n        return GRPCError",
        tests=(f"{_TEST_ODD}test_handler_that_cancels_itself_is_its_calls_alone",),
    ),
    Mutant(
        0,
        "an odd error of a listener ends all calls",
        _SERVER_CALL,
        right="        if _is_exit(error) or is_scope_cancelled():\n            raise\n",
        wrong="        raise\n",
        tests=(f"{_TEST_ODD}test_odd_error_of_a_listener_is_its_calls_alone",),
    ),
    Mutant(
        0,
        "a call survives the end of its program",
        _SERVER_CALL,
        right="return isinstance(error, KeyboardInterrupt | SystemExit)",
        wrong="return False",
        tests=(f"{_TEST_ODD}test_error_for_the_whole_program_ends_it",),
    ),
    Mutant(
        0,
        "what crosses our resets is a flood",
        _BUDGETS,
        right="if event.is_late and self._crossing.pays(resets_sent):",
        wrong="if event is None:",
        tests=(f"{_TEST_STREAM_ERRORS}test_answers_that_cross_our_resets_are_no_flood",),
    ),
    Mutant(
        0,
        "frames on a stream that we have reset are free",
        _BUDGETS,
        right="if event.is_late and self._crossing.pays(resets_sent):",
        wrong="if event.is_late:",
        tests=(f"{_TEST_FLOODS}test_flood_from_a_server",),
    ),
    Mutant(
        0,
        "an empty end that crosses our reset is a flood",
        _HTTP2,
        right="        if frame.flow_controlled_length:\n",
        wrong="        if frame:\n",
        tests=(f"{_TEST_FLOODS}test_ends_that_cross_the_reset_of_an_early_answer_are_no_flood",),
    ),
    Mutant(
        0,
        "the clock is asked for where no task runs",
        _CLOCK,
        right="else asyncio.get_running_loop().time()",
        wrong="else anyio.current_time()",
        tests=(f"{_TEST_CALLBACKS}test_a_call_is_let_go",),
    ),
]
