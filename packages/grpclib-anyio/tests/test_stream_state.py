"""A stream's state, compared with h2's own machine for every order of ends and resets."""

import ast
from collections.abc import Callable
from itertools import product
from pathlib import Path

from h2.stream import H2StreamStateMachine, StreamInputs
from h2.stream import StreamState as H2State

import grpclib_anyio
from grpclib_anyio._stream.state import StreamState

PACKAGE = Path(grpclib_anyio.__file__).parent

#: What can happen, and what h2 calls it.
TRANSITIONS: dict[str, tuple[Callable[[StreamState], bool], StreamInputs]] = {
    "we end": (StreamState.end_local, StreamInputs.SEND_END_STREAM),
    "the peer ends": (StreamState.end_remote, StreamInputs.RECV_END_STREAM),
    "we reset": (StreamState.reset, StreamInputs.SEND_RST_STREAM),
    "the peer resets": (StreamState.reset, StreamInputs.RECV_RST_STREAM),
}

#: Whether the step has been taken already.
ENDED: dict[str, Callable[[StreamState], bool]] = {
    "we end": lambda state: state.local_ended,
    "the peer ends": lambda state: state.remote_ended,
    "we reset": lambda state: state.is_reset,
    "the peer resets": lambda state: state.is_reset,
}

NAMES = {
    H2State.OPEN: "<open>",
    H2State.HALF_CLOSED_LOCAL: "<half-closed (local)>",
    H2State.HALF_CLOSED_REMOTE: "<half-closed (remote)>",
}


def opened() -> H2StreamStateMachine:
    """Return the machine of a stream whose request has been sent and answered by HEADERS."""
    machine = H2StreamStateMachine(1)
    machine.process_input(StreamInputs.SEND_HEADERS)
    machine.process_input(StreamInputs.RECV_HEADERS)
    return machine


def follow(steps: tuple[str, ...]) -> None:
    """Take the steps with both, but those that change nothing: h2 would call them an error."""
    state, machine = StreamState(), opened()
    closed_by: list[str] = []
    for step in steps:
        transition, h2_input = TRANSITIONS[step]
        was_closed, ended, before = state.is_closed, ENDED[step](state), repr(state)
        if transition(state):
            closed_by.append(step)
        if was_closed or ended:
            assert repr(state) == before
            continue
        machine.process_input(h2_input)
        assert state.is_closed == (machine.state is H2State.CLOSED)
        assert repr(state) == NAMES.get(machine.state, "<reset>" if state.is_reset else "<closed>")
        assert state.may_send == (machine.state in {H2State.OPEN, H2State.HALF_CLOSED_REMOTE})
    assert len(closed_by) == state.is_closed
    assert state.is_complete == (state.is_closed and not state.is_reset)


def test_any_order_of_ends_and_resets() -> None:
    """Closed when h2 says so, by one transition, after which nothing changes."""
    for steps in product(TRANSITIONS, repeat=4):
        follow(steps)


def test_reset_does_not_undo_an_end() -> None:
    state = StreamState()
    assert not state.end_remote()
    assert state.reset()
    assert state.remote_ended
    assert not state.is_complete


def test_headers_do_not_change_the_state() -> None:
    state = StreamState()
    before = repr(state)
    state.send_headers()
    assert (repr(state), state.headers_sent) == (before, True)


def test_only_its_own_module_changes_a_state() -> None:
    fields = set(StreamState.__slots__)
    written = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.glob("_*/*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and node.attr in fields
    }
    assert written == {"_stream/state.py"}
