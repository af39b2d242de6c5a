"""Mutants of what the simulation of neighbours has found."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_CODEC = "packages/grpclib-anyio/src/grpclib_anyio/betterproto/codec.py"

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
]
