"""What is wrong with one stream ends that stream, and a handler's odd error its call."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_TRANSPORT = "packages/grpclib-anyio/src/grpclib_anyio/"
_STREAM_ERRORS = f"{_TRANSPORT}_connection/stream_errors.py"
_HTTP2 = f"{_TRANSPORT}_connection/http2.py"
_RECEIVER = f"{_TRANSPORT}_connection/receiver.py"
_DECODER = f"{_TRANSPORT}_fast/hpack_cache.py"
_SERVER_CALL = f"{_TRANSPORT}_call/server.py"

_TEST = "packages/grpclib-anyio/tests/test_stream_errors.py::"

MUTANTS = [
    Mutant(
        0,
        "malformed headers end the connection",
        _STREAM_ERRORS,
        right="""\
(0, end_stream)
        except _OF_A_STREAM as""",
        wrong="""\
(0, end_stream)
        except LookupError as""",
        tests=(f"{_TEST}test_a_malformed_request_ends_its_stream",),
    ),
    Mutant(
        0,
        "data beyond a window ends the connection",
        _STREAM_ERRORS,
        right="""\
flow_control_len)
        except _OF_A_STREAM as""",
        wrong="""\
flow_control_len)
        except LookupError as""",
        tests=(f"{_TEST}test_more_data_than_the_streams_window_ends_its_stream",),
    ),
    Mutant(
        0,
        "white space at the ends of a value is an error",
        _STREAM_ERRORS,
        right='else type(header)(name, value.strip(b" \\t"))',
        wrong="else header",
        tests=(f"{_TEST}test_white_space_at_the_ends_of_a_value_is_stripped",),
    ),
    Mutant(
        0,
        "the rest of a header block that is too large is not read",
        _DECODER,
        right="            if size > most:\n                headers.clear()\n",
        wrong="            if size > most:\n                break\n",
        tests=(f"{_TEST}test_a_header_list_that_is_too_large_ends_its_stream",),
    ),
    Mutant(
        0,
        "a header block has no bound",
        _HTTP2,
        right="if len(frame.data) > self._frames.max_block_size:",
        wrong="if not frame:",
        tests=(f"{_TEST}test_a_block_that_is_longer_than_any_list_ends_the_connection",),
    ),
    Mutant(
        0,
        "a frame after the end of its stream is not answered",
        _HTTP2,
        right="        if self._was_reset:\n            return [], []\n",
        wrong="        if stream_id:\n            return [], []\n",
        tests=(f"{_TEST}test_a_frame_after_the_end_resets_the_stream_once",),
    ),
    Mutant(
        0,
        "each frame after the end of its stream is answered",
        _HTTP2,
        right="        if self._was_reset:\n            return [], []\n",
        wrong="",
        tests=(f"{_TEST}test_a_frame_after_the_end_resets_the_stream_once",),
    ),
    Mutant(
        0,
        "what a peer makes us reset costs it nothing",
        _RECEIVER,
        right="if not event.remote_reset:  # the peer made us reset what never became a call",
        wrong="if event is None:",
        tests=(f"{_TEST}test_what_a_peer_makes_us_reset_is_counted",),
    ),
    Mutant(
        0,
        "an odd error of a handler ends all calls",
        _SERVER_CALL,
        right="            if _is_exit(error) or is_cancelled():\n                raise\n",
        wrong="            raise\n",
        tests=(
            f"{_TEST}test_a_cancellation_that_nobody_asked_for_is_its_calls_alone",
            f"{_TEST}test_an_odd_error_of_a_handler_is_its_calls_alone",
        ),
    ),
]
