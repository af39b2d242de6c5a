"""An answer that is ended at each of its checkpoints: what the model says, and what has to hold."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from grpclib_anyio.testing import MemoryStream
from harness.wires import check_resets
from relay_gateway.relay.outcome import Cause
from tests.support.event_stream import parse
from tests.support.models import Model, Step, Wire

__all__ = ["DEADLINE", "PHASES", "WHOLE", "Phase", "Script", "causes_in"]

DEADLINE = 2.0
WHOLE = ["whole"]


@dataclass(frozen=True)
class Phase:
    """An answer, and how long its browser waits before it reads."""

    script: tuple[Step, ...]
    pause: float = 0.0
    #: Orders drawn by lot, beside the two that all have.
    seeds: int = 0


FLOOD: Iterable[Step] = ["x" * 200] * 8
PHASES = {
    "thinking": Phase((1.0, "one")),
    "mid-stream": Phase(("one", 0.25, "two", 0.25, "three"), seeds=1),
    "backpressured": Phase(tuple(FLOOD), pause=0.5),
    "past the deadline": Phase(("one", DEADLINE)),
    "done": Phase(("one",)),
}


class Script:
    """The model's side: one answer that is under test, and whole ones."""

    def __init__(self, phase: Phase) -> None:
        self.phase = phase
        self.model = Model(lambda: self._steps)
        self.wire = Wire()
        self.tokens = [step for step in phase.script if isinstance(step, str)]
        self._steps: Iterable[Step] = WHOLE

    @property
    def streams(self) -> list[MemoryStream]:
        return [cast("MemoryStream", connection.stream) for connection in self.wire.connections]

    def begin(self) -> None:
        """Let the next answer be the one that is under test."""
        self._steps = self.phase.script
        for connection in self.wire.connections:
            connection.sent.clear()
            connection.timed.clear()

    def check(self) -> None:
        """See that the model was stopped, by one reset at most; let the next answer be whole."""
        assert len(self.model.ended) == len(self.model.requests)
        for connection in self.wire.connections:
            check_resets(connection.sent)
        assert len(self.wire.resets) <= 1
        self._steps = WHOLE

    def check_body(self, body: bytes) -> None:
        """See that what the browser has are whole events: tokens, and at most one end."""
        assert not body or body.endswith(b"\n\n")
        events = parse(body)
        tokens = [event.data for event in events if event.type == "message"]
        assert tokens == self.tokens[: len(tokens)]
        assert all(event.type == "message" for event in events[:-1])


def causes_in(logs: Iterable[Mapping[str, Any]]) -> list[Cause]:
    """Return the causes that were recorded; no bug was."""
    assert {line["log_level"] for line in logs} <= {"info"}
    return [Cause(line["cause"]) for line in logs if line["event"] == "request ended"]
