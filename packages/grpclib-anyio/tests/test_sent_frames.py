"""Frames sent past h2, held equal to h2: a peer reads the same, and the state is the same."""

from collections.abc import Iterable
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import Event
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from hypothesis import strategies as st

from grpclib_anyio._base.config import Configuration
from grpclib_anyio._connection.http2 import Http2
from test_fuzz import fuzzed
from test_http2 import REQUEST, RESPONSE

Headers = list[tuple[str, str]]
#: What is done, to which stream, and with what.
Step = tuple[str, int, Any]

IDS = (1, 3, 5)
_REFUSED = "not in this state"
LISTS: tuple[Headers, ...] = (
    REQUEST,
    RESPONSE,
    [("grpc-status", "0")],
    [*REQUEST, ("grpc-timeout", "1S"), ("user-agent", "x"), ("long", "y" * 40_000)],
)
SOME_ID = st.sampled_from(IDS)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(("headers", "headers and end")), SOME_ID, st.sampled_from(LISTS)),
        st.tuples(st.sampled_from(("data", "data and end")), SOME_ID, st.binary(max_size=30)),
        st.tuples(st.just("reset"), SOME_ID, st.sampled_from((0, 8))),
        st.tuples(st.just("peer resets"), SOME_ID, st.just(0)),
        st.tuples(st.just("peer's table"), SOME_ID, st.sampled_from((0, 64, 4_096))),
    ),
    max_size=20,
)


class Subject:
    """One of the two, and the peer that reads what it sends."""

    def __init__(self, *, client_side: bool, past_h2: bool) -> None:
        self.past_h2 = past_h2
        self.ours = Http2(Configuration(), client_side=client_side)
        settings = H2Configuration(client_side=not client_side, validate_inbound_headers=False)
        self.peer = H2Connection(settings)
        self.peer.initiate_connection()
        if not client_side:
            for stream_id in IDS:
                self.peer.send_headers(stream_id, REQUEST)
        self.exchange()

    def exchange(self) -> list[Any]:
        list(self.ours.receive(self.peer.data_to_send()))
        try:
            events = self.peer.receive_data(self.ours.data_to_send())
        except ProtocolError as error:
            return [type(error)]
        return [_note(event) for event in events]

    def run(self, step: Step) -> list[Any]:
        """Return what came of it."""
        try:
            (self._past_h2 if self.past_h2 else self._by_h2)(*step)
        except (ProtocolError, KeyError):  # h2 looks a stream up that never was
            return [_REFUSED]
        return [*self.exchange(), *self._state()]

    def _past_h2(self, what: str, stream_id: int, with_: Any) -> None:
        send, end = self.ours.send, what.endswith("end")
        if what.startswith("headers"):
            send.headers(stream_id, with_, end=end)
        elif what.startswith("data"):
            send.data(stream_id, with_, end=end)
        elif what == "reset":
            send.reset(stream_id, with_)
        else:
            self._by_peer(what, stream_id, with_)

    def _by_h2(self, what: str, stream_id: int, with_: Any) -> None:
        end = what.endswith("end")
        if what.startswith("headers"):
            self.ours.send_headers(stream_id, with_, end_stream=end)
        elif what.startswith("data"):
            self.ours.send_data(stream_id, with_, end_stream=end)
        elif what == "reset":
            self.ours.reset_stream(stream_id, with_)
        else:
            self._by_peer(what, stream_id, with_)

    def _by_peer(self, what: str, stream_id: int, with_: Any) -> None:
        if what == "peer resets":
            self.peer.reset_stream(stream_id)
        else:
            self.peer.update_settings({SettingCodes.HEADER_TABLE_SIZE: with_})
        self.exchange()

    def _state(self) -> list[Any]:
        streams = self.ours.streams
        return [
            self.ours.outbound_flow_control_window,
            *(
                (i, s.state_machine.state, s.outbound_flow_control_window)
                for i, s in streams.items()
            ),
        ]


def _note(event: Event) -> Any:
    return type(event), {
        k: _note(v) if isinstance(v, Event) else repr(v) for k, v in vars(event).items()
    }


def run_both(steps: Iterable[Step], *, client_side: bool) -> list[Any]:
    """Compare them step by step, until one fails; return what came of the last."""
    subject = Subject(client_side=client_side, past_h2=True)
    model = Subject(client_side=client_side, past_h2=False)
    result: list[Any] = []
    for step in steps:
        result, expected = subject.run(step), model.run(step)
        assert result == expected
        if result == [_REFUSED]:
            break
    return result


@pytest.mark.parametrize("client_side", [True, False])
@fuzzed(STEPS)
def test_same_as_h2(client_side: bool, steps: list[Step]) -> None:  # noqa: FBT001 - pytest's
    """Whatever is sent."""
    run_both(steps, client_side=client_side)


def test_headers_larger_than_a_frame_are_continued() -> None:
    """RFC 9113 § 6.10, with the end of the stream said by the first frame."""
    steps: list[Step] = [("headers", 1, LISTS[-1]), ("headers and end", 3, LISTS[-1])]
    kinds = [note[0].__name__ for note in run_both(steps, client_side=True)[:2]]
    assert kinds == ["RequestReceived", "StreamEnded"]


def test_streams_that_are_over_are_forgotten() -> None:
    """By h2, which would keep each otherwise."""
    ours = Http2(Configuration(), client_side=True)
    for stream_id in range(1, 1_001, 2):
        ours.send.headers(stream_id, REQUEST)
        ours.send.reset(stream_id, 8)
    assert len(ours.streams) <= 65


@pytest.mark.parametrize("room", [0, 3, 30, 1_000])
def test_what_is_not_written_at_once_stays_first(room: int) -> None:
    """With a reset goes what was queued before it; not a byte is lost, or written twice."""
    written: list[bytes] = []
    outputs: list[None] = []

    def write(queued: bytearray) -> int:
        written.append(bytes(queued[:room]))
        return len(written[-1])

    ours, queueing = (Http2(Configuration(), client_side=True) for _ in range(2))
    ours.try_send = write
    for one in (ours, queueing):
        one.on_output = lambda: outputs.append(None)
        one.send.headers(1, REQUEST)
        outputs.clear()
        one.send.reset(1, 8)
        assert bool(outputs) == bool(one.queued), "the writer is woken for what is left"
    assert b"".join(written) + ours.data_to_send() == queueing.data_to_send()
    assert len(written) == 1
