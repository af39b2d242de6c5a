"""Our way to a response's headers beside h11's own."""

import h11
import h11._connection
import h11._headers
import pytest
from h11._headers import Headers, normalize_and_validate

from relay_gateway.h11_headers import install, set_comma_header

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


def test_it_is_what_h11_uses() -> None:
    install()
    assert vars(h11._connection)["set_comma_header"] is set_comma_header  # noqa: SLF001 - as above


def test_header_that_would_split_the_response_is_refused() -> None:
    install()
    server = h11.Connection(h11.SERVER)
    server.receive_data(b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n")
    server.next_event()
    with pytest.raises(h11.LocalProtocolError, match="Illegal header value"):
        server.send(h11.Response(status_code=200, headers=[(b"a", b"b\r\nc: d")]))
