"""Mutants of what the simulation of neighbours has found."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_CODEC = "packages/grpclib-anyio/src/grpclib_anyio/betterproto/codec.py"

_RECEIVER = "packages/grpclib-anyio/src/grpclib_anyio/_connection/receiver.py"

_TEST_NEIGHBOURS = "tests/cancellation/test_neighbours.py::test_seeds"
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
            stream.fail(TerminatedError(Status.INTERNAL, "The peer broke the HTTP/2 protocol"))
""",
        wrong="""\
            self._connection.close(ErrorCodes.PROTOCOL_ERROR, b"")
""",
        tests=(_TEST_NEIGHBOURS,),
    ),
    Mutant(
        0,
        "all peers share one budget",
        _RECEIVER,
        right="""\
        self._settings = LeakyBucket(b"too_many_settings", config.max_settings)
""",
        wrong="""\
        self._settings = _ALL.setdefault(
            "settings", LeakyBucket(b"too_many_settings", config.max_settings)
        )
""",
        also=(("class Receiver:\n", "_ALL: dict[str, LeakyBucket] = {}\n\n\nclass Receiver:\n"),),
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
]
