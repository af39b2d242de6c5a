"""What a response and metadata say: all of it is read, and can be sent on."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_TRANSPORT = "packages/grpclib-anyio/"
_HEADERS = f"{_TRANSPORT}src/grpclib_anyio/_base/headers.py"
_RESPONSE = f"{_TRANSPORT}src/grpclib_anyio/_call/response.py"
_TEST = f"{_TRANSPORT}tests/test_metadata.py::"

MUTANTS = [
    Mutant(
        0,
        "joined binary values are one",
        _HEADERS,
        right='for each in value.split(","):',
        wrong="for each in [value]:",
        tests=(f"{_TEST}test_what_arrives_is_read_and_can_be_sent_on",),
    ),
    Mutant(
        0,
        "what is no base64 is half read",
        _HEADERS,
        right=", validate=True)",
        wrong=")",
        tests=(f"{_TEST}test_what_is_not_base64_is_refused",),
    ),
    Mutant(
        0,
        "text of other languages is read as latin-1",
        _HEADERS,
        right='return value.encode("latin-1").decode()',
        wrong="return value",
        tests=(f"{_TEST}test_what_arrives_is_read_and_can_be_sent_on",),
    ),
    Mutant(
        0,
        "an error quotes metadata",
        _HEADERS,
        right='f"Invalid metadata value for {key}")',
        wrong='f"Invalid metadata value for {key}: {value!r}")',
        tests=(f"{_TEST}test_what_cannot_be_sent_is_refused",),
    ),
    Mutant(
        0,
        "a call that is sent on has another one's length",
        _HEADERS,
        right='    "content-length",\n',
        wrong="",
        tests=(f"{_TEST}test_what_belongs_to_one_hop_is_not_sent_on",),
    ),
    Mutant(
        0,
        "of two statuses the first counts",
        _RESPONSE,
        right=" if len(set(values)) == 1 else None",
        wrong="",
        tests=(f"{_TEST}test_invalid_status_says_so",),
    ),
    Mutant(
        0,
        "an invalid status has no words",
        _RESPONSE,
        right="    if status is None:\n        said",
        wrong="    if status is None and details:\n        said",
        tests=(f"{_TEST}test_invalid_status_says_so",),
    ),
]
