"""The page's parser of event streams beside the one that the gateway's tests use."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.browsing import Visit
from tests.support.event_stream import Parser

pytestmark = pytest.mark.browser

# What has a meaning in an event stream, what only looks so, and all else.
PIECES = [
    *("\r", "\n", "\r\n", "\n\n", "\r\r", "data", "data:", "data: ", "data:  x", "data: \xe9"),
    *("event: done", "event:", "id: 1", "id: \0", "id", "retry: 5", ": ping", ":", " ", "\ufeff"),
    *("\u2028", "\u2029", "\x85", "\x0b", "\x0c", "unknown: x", "DATA: x", " data: x"),
]
STREAMS = st.lists(
    st.one_of(
        st.sampled_from(PIECES).map(str.encode),
        st.text(max_size=3).map(str.encode),
        st.binary(max_size=3),
    ),
    max_size=30,
).map(b"".join)

# Feeds each stream whole, byte by byte, and cut in two at each byte; gives the answers that differ
# from the first, which is that of the whole stream.
FEED = """async (body) => {
    const { EventStream } = await import(new URL("static/event_stream.js", document.baseURI));
    const bytes = new Uint8Array(body);
    const fed = (...parts) => {
        const stream = new EventStream();
        return JSON.stringify(parts.flatMap((part) => stream.feed(part)));
    };
    const whole = fed(bytes);
    const others = [fed(...Array.from(bytes, (byte) => Uint8Array.of(byte)))];
    for (let at = 0; at <= bytes.length; at++) {
        others.push(fed(bytes.subarray(0, at), bytes.subarray(at)));
    }
    const empty = new Uint8Array();
    others.push(fed(...Array.from(bytes, (byte) => [Uint8Array.of(byte), empty]).flat()));
    return [JSON.parse(whole), others.filter((other) => other !== whole)];
}"""


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # the page keeps nothing
)
@given(STREAMS)
@example(b"\xef\xbb\xbfdata: after a byte order mark\n\n")
@example(b"\xef\xbb\xbf\xef\xbb\xbfdata: after two\n\n")
@example(b"data: cr\r\rdata: lf\n\ndata: crlf\r\n\r\ndata: all\r\n\n")
@example("data: one\u2028line\u2029 only\x85\n\n".encode())
@example(b": ping\n\n:\n\ndata: x\n: within\ndata: y\n\n")
@example(b"data: a\r\ndata: b\r\n\r\nevent: c\r\ndata: d\r\n\r\n")
@example(b"data\n\n")
@example(b"data: a\ndata\ndata: b\n\n")
@example(b"event: done\n\ndata: without a type\n\n")
@example(b"id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\nid: \0\ndata: d\n\n")
@example(b"data: half of \xf0\x9f\n\ndata: \x9a\x80\n\n")
@example(b"data: without an end")
def test_any_stream_cut_anywhere(opened: Visit, body: bytes) -> None:
    events, others = opened.page.evaluate(FEED, list(body))
    parser = Parser()
    expected = parser.feed(body)
    if body.endswith(b"\r"):  # which may yet become a CRLF: this parser waits for it
        expected += parser.feed(b"\n")
    assert events == [
        {"type": event.type, "data": event.data, "lastEventId": event.last_event_id}
        for event in expected
    ]
    assert others == []
