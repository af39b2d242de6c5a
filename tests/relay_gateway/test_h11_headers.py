"""Our way to a response's headers beside h11's own."""

from typing import Any

import h11
import h11._connection
import h11._events
import h11._headers
import pytest
from h11._headers import Headers

from relay_gateway import h11_headers
from relay_gateway.h11_headers import install, normalize_and_validate, set_comma_header

SENT: list[list[tuple[bytes, bytes]]] = [
    [],
    [(b"Content-Type", b"text/event-stream"), (b"x-accel-buffering", b"no")],
    [(b"Content-Length", b"3"), (b"connection", b"Keep-Alive, close"), (b"Date", b"today")],
    [(b"transfer-encoding", b"chunked"), (b"set-cookie", b"a=b"), (b"set-cookie", b"c=d")],
]
SET: list[tuple[bytes, list[bytes]]] = [
    (b"content-length", []),
    (b"transfer-encoding", [b"chunked"]),
    (b"connection", [b"close", b"upgrade"]),
]


def contents(headers: Headers) -> tuple[list[tuple[bytes, bytes]], list[tuple[bytes, bytes]]]:
    return list(headers), headers.raw_items()


@pytest.mark.parametrize("sent", SENT)
@pytest.mark.parametrize(("name", "values"), SET)
def test_headers_are_set_as_h11_sets_them(
    sent: list[tuple[bytes, bytes]], name: bytes, values: list[bytes]
) -> None:
    headers = normalize_and_validate(sent)
    ours = set_comma_header(headers, name, values)
    assert contents(ours) == contents(h11._headers.set_comma_header(headers, name, values))  # noqa: SLF001 - h11's own


@pytest.mark.parametrize("sent", [*SENT, [[b"Date", b"today"]], [("x-text", "as well")]])
def test_headers_are_checked_as_h11_checks_them(sent: Any) -> None:  # noqa: ANN401 - what h11 takes
    for _ in range(2):  # and what is remembered stays as it is
        ours = normalize_and_validate(sent)
        assert contents(ours) == contents(h11._headers.normalize_and_validate(sent))  # noqa: SLF001 - as above
        set_comma_header(ours, b"connection", [b"close"])


def test_few_answers_are_remembered_and_no_request() -> None:
    remembered = h11_headers._check  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - its size
    before = remembered.cache_info()
    normalize_and_validate([(b"host", b"a client's choice")], _parsed=True)
    assert remembered.cache_info() == before
    for number in range(100):
        normalize_and_validate([(b"a", b"%d" % number)])
    assert remembered.cache_info().currsize == 16


def test_it_is_what_h11_uses() -> None:
    install()
    assert vars(h11._events)["normalize_and_validate"] is normalize_and_validate  # noqa: SLF001 - as above
    assert vars(h11._connection)["set_comma_header"] is set_comma_header  # noqa: SLF001 - as above


def test_header_that_would_split_the_response_is_refused() -> None:
    install()
    server = h11.Connection(h11.SERVER)
    server.receive_data(b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n")
    server.next_event()
    with pytest.raises(h11.LocalProtocolError, match="Illegal header value"):
        server.send(h11.Response(status_code=200, headers=[(b"a", b"b\r\nc: d")]))
