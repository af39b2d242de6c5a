"""Mutants of what the simulation of neighbours has found."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_CODEC = "packages/grpclib-anyio/src/grpclib_anyio/betterproto/codec.py"

_HTTP2_SERVER = "src/relay_gateway/server/http2.py"
_HTTP_CONNECTION = "src/relay_gateway/web/http_connection.py"
_ROUTES = "src/relay_gateway/web/routes.py"
_BUDGETS = "packages/grpclib-anyio/src/grpclib_anyio/_connection/budgets.py"
_RECEIVER = "packages/grpclib-anyio/src/grpclib_anyio/_connection/receiver.py"

_TEST_NEIGHBOURS = "tests/cancellation/test_neighbours.py::test_seeds"
_TEST_FOUND = "tests/cancellation/test_found.py::"
_TEST_CODEC = "packages/grpclib-anyio/tests/test_codec.py::"

MUTANTS = [
    Mutant(
        0,
        "a message of unknown fields is left to betterproto",
        _CODEC,
        right="                return self._decode_known(data)\n",
        wrong="                raise _OddError\n",
        tests=(f"{_TEST_CODEC}test_unknown_fields_by_the_million_are_no_work",),
    ),
    Mutant(
        0,
        "a long malformed message is left to betterproto",
        _CODEC,
        right="if len(data) > _MAX_ODD_SIZE:",
        wrong="if len(data) < 0:",
        tests=(f"{_TEST_CODEC}test_long_malformed_message_is_refused_at_once",),
    ),
    Mutant(
        0,
        "what is wrong with one stream ends its connection",
        _RECEIVER,
        right="""\
            stream.fail(_stream_error(event.error_code))
""",
        wrong="""\
            self._connection.close(ErrorCodes.PROTOCOL_ERROR, b"")
""",
        tests=(_TEST_NEIGHBOURS,),
    ),
    Mutant(
        0,
        "all peers share one budget",
        _BUDGETS,
        right="""\
        self._settings = LeakyBucket(b"too_many_settings", config.max_settings)
""",
        wrong="""\
        self._settings = _ALL.setdefault(
            "settings", LeakyBucket(b"too_many_settings", config.max_settings)
        )
""",
        also=(("class Budgets:\n", "_ALL: dict[str, LeakyBucket] = {}\n\n\nclass Budgets:\n"),),
        tests=(_TEST_NEIGHBOURS,),
    ),
    Mutant(
        0,
        "DATA of a stream that is over stays in the connection's window",
        _RECEIVER,
        right="""\
        size = event.flow_controlled_length
        if increment := self.window.credit(size):
""",
        wrong="""\
        size = event.flow_controlled_length
        if self._streams.get(event.stream_id) and (increment := self.window.credit(size)):
""",
        tests=(_TEST_NEIGHBOURS,),
    ),
    Mutant(
        0,
        "a request that comes with its reset stops the idle timer",
        _HTTP2_SERVER,
        right="        self._had_request = True\n",
        wrong="",
        tests=(f"{_TEST_FOUND}test_http2_connection_whose_request_comes_with_its_reset_is_closed",),
    ),
    Mutant(
        0,
        "a target that is no URL is a mistake of ours",
        _HTTP_CONNECTION,
        right="        except ValueError:",
        wrong="        except KeyError:",
        tests=(f"{_TEST_FOUND}test_odd_request_is_refused_without_a_traceback",),
    ),
    Mutant(
        0,
        "a refused WebSocket is taken for a request",
        _ROUTES,
        right="current_request.path if has_request_context() else current_websocket.path",
        wrong="current_request.path",
        tests=(f"{_TEST_FOUND}test_odd_request_is_refused_without_a_traceback",),
    ),
]
